"""Rules for the `dynamic` mode, on scores made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from provence_rag import CheckpointError, InvalidInputError
from provence_rag.chunking import Span
from provence_rag.config import DynamicRule
from provence_rag.testing import fake_provence
from provence_training.calibration import calibrate, calibrated_rules
from provence_training.evaluation import JudgedSentences, PruningFigures, Scored, Topic, TopicSet


def judged(*questions: tuple[Sequence[Sequence[float]], Sequence[int]]) -> JudgedSentences:
    """Questions with the scores of each passage, sentences of ten characters, and those that answer."""
    topics, scored = [], []
    for passages, answers in questions:
        topics.append(
            Topic(
                query="q",
                language="en",
                documents=("",) * len(passages),
                grades=(1, *[0] * (len(passages) - 1)),
                ideal_grades=(1,),
                first_stage=(0.0,) * len(passages),
                answers=tuple(Span(10 * i, 10 * i + 10) for i in answers),
            )
        )
        scored.append(
            Scored(
                relevance=None,
                sentences=tuple(tuple(Span(10 * i, 10 * i + 10) for i in range(len(s))) for s in passages),
                keep=tuple(np.array(s) for s in passages),
            )
        )
    return JudgedSentences(topics, scored)


def reached(rows: JudgedSentences, rule: DynamicRule) -> PruningFigures:
    return rows.figures(rows.kept_by(lambda _: rule))


TEN = judged(
    *[([[0.9, 0.3, 0.05], [0.2, 0.02]], [0])] * 9,
    ([[0.9, 0.3, 0.05], [0.2, 0.02]], [1]),
)


def test_it_removes_what_it_may() -> None:
    strict = reached(TEN, calibrate(TEN, keep=1.0, removed_off_topic=1.0))
    assert (strict.answer_kept, strict.removed_off_topic) == (1.0, 1.0)
    assert strict.removed == pytest.approx(1 / 3)  # all but the first two sentences
    loose = reached(TEN, calibrate(TEN, keep=0.9, removed_off_topic=1.0))
    assert (loose.answer_kept, loose.removed) == (0.9, pytest.approx(2 / 3))


def test_one_span_or_all_of_them() -> None:
    rows = judged(([[0.9, 0.4, 0.1], [0.1]], [0, 1]))
    one = reached(rows, calibrate(rows, keep=1.0))
    assert (one.answer_kept, one.all_kept, one.removed) == (1.0, 0.0, pytest.approx(2 / 3))
    both = reached(rows, calibrate(rows, keep=1.0, evidence="all"))
    assert (both.all_kept, both.removed) == (1.0, pytest.approx(1 / 3))


def test_answers_come_before_what_is_off_topic() -> None:
    rows = judged(([[0.3], [0.3], [0.1]], [0]))
    result = reached(rows, calibrate(rows, keep=1.0, removed_off_topic=1.0))
    assert (result.answer_kept, result.removed_off_topic) == (1.0, 0.5)


def test_no_other_passages() -> None:
    rows = judged(([[0.3, 0.1]], [0]))
    assert reached(rows, calibrate(rows, keep=1.0)).removed == 0.5


def test_nothing_has_to_be_kept() -> None:
    assert reached(TEN, calibrate(TEN, keep=0.0)).removed == 1.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("keep", [0.8, 0.92, 1.0])
def test_no_rule_of_a_fine_grid_does_better(seed: int, keep: float) -> None:
    rng = np.random.default_rng(seed)
    rows = judged(
        *[
            ([np.append(0.3 + 0.7 * rng.random(1), rng.random(4)), 0.6 * rng.random(5)], [0])
            for _ in range(40)
        ]
    )
    rule = calibrate(rows, keep=keep)
    found = reached(rows, rule)
    assert found.answer_kept >= keep
    assert found.removed_off_topic is not None
    best = 0.0
    for floor in np.linspace(0, 1, 41):
        for share in np.linspace(0, 1, 41):
            other = reached(rows, DynamicRule(floor=float(floor), share=float(share)))
            if other.answer_kept >= keep:
                assert other.removed_off_topic is not None
                best = max(best, other.removed + other.removed_off_topic)
    assert found.removed + found.removed_off_topic >= best - 0.02


def test_shares_out_of_range() -> None:
    with pytest.raises(InvalidInputError) as raised:
        calibrate(TEN, keep=92)
    assert str(raised.value) == "keep must be a number between 0 and 1, got 92"
    with pytest.raises(InvalidInputError, match="removed_off_topic must be a number between 0 and 1"):
        calibrate(TEN, keep=0.9, removed_off_topic=-1)


# Of a model


def topic(language: str, query: str, *documents: str, answer: Span | None) -> Topic:
    return Topic(
        query=query,
        language=language,
        documents=documents,
        grades=(1, *[0] * (len(documents) - 1)),
        ideal_grades=(1,),
        first_stage=(0.0,) * len(documents),
        answers=None if answer is None else (answer,),
    )


SET = TopicSet(
    name="made",
    topics=(
        topic("en", "Where do otters sleep?", "Otters sleep. Snow falls.", "Snow melts.", answer=Span(0, 5)),
        topic("ja", "犬", "猫。犬小屋。", "川。", answer=Span(2, 3)),
        topic("fr", "Loutres", "Neige.", answer=None),
    ),
    first_stage="BM25",
    has_answers=True,
)


def test_a_rule_for_each_language_with_answers() -> None:
    model = fake_provence()
    rules = calibrated_rules(model, [SET], keep=1.0)
    assert list(rules) == ["default", "en", "ja"]
    for topic, rule in zip(SET.topics, (rules["en"], rules["ja"]), strict=False):
        own, *others = model.process(topic.query, topic.documents)
        best = max(s.score or 0 for s in own.sentences)
        kept = [[(s.score or 0) >= max(rule.floor, rule.share * best) for s in own.sentences]]
        kept += [[(s.score or 0) >= rule.floor for s in other.sentences] for other in others]
        assert kept == [[topic.language == "en", topic.language == "ja"], [False]]


def test_a_model_that_only_ranks() -> None:
    with pytest.raises(CheckpointError) as raised:
        calibrated_rules(fake_provence(can_prune=False), [SET], keep=0.9)
    assert str(raised.value) == "this checkpoint only ranks: it has no pruning head to calibrate"


def test_no_marked_answers() -> None:
    unmarked = replace(SET, topics=SET.topics[2:])
    with pytest.raises(InvalidInputError, match="topics must have some with marked answers"):
        calibrated_rules(fake_provence(), [unmarked], keep=0.9)
