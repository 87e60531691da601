"""Figures of pruning, on handmade sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag import InvalidInputError
from provence_rag.chunking import Span
from provence_rag.config import DynamicRule
from provence_rag.testing import fake_provence
from provence_training.evaluation import JudgedSentences, PruningFigures, Scored, Topic, score_with

Passage = tuple[Sequence[float], Sequence[int]]


def judged(
    *questions: tuple[Sequence[Passage], Sequence[Sequence[int]]], language: str = "en"
) -> JudgedSentences:
    """Questions: their passages' scores and lengths, and the sentences of the first that spans touch."""
    topics, scored = [], []
    for passages, spans in questions:
        sentences = []
        for _, lengths in passages:
            ends = np.cumsum(lengths).tolist()
            sentences.append(tuple(Span(end - n, end) for end, n in zip(ends, lengths, strict=True)))
        answers = [Span(sentences[0][span[0]].start, sentences[0][span[-1]].end) for span in spans]
        topics.append(
            Topic(
                query="q",
                language=language,
                documents=("",) * len(passages),
                grades=(1, *[0] * (len(passages) - 1)),
                ideal_grades=(1,),
                first_stage=(0.0,) * len(passages),
                answers=tuple(answers),
            )
        )
        keep = tuple(np.array(scores, dtype=np.float64) for scores, _ in passages)
        scored.append(Scored(relevance=None, sentences=tuple(sentences), keep=keep))
    return JudgedSentences(topics, scored)


FOUR = judged(
    ([([0.9, 0.1, 0.6], [10, 20, 30]), ([0.9, 0.1], [10, 20])], [[0], [2]]),  # keeps 10 + 30 of 60
    ([([0.9, 0.1], [10, 20]), ([0.1], [10])], [[0], [1]]),  # one span of two; keeps 10 of 30
    ([([0.1, 0.9, 0.9], [10, 20, 30])], [[0, 1]]),  # half a span; keeps 50 of 60
    ([([0.2], [10])], [[0]]),  # keeps 0 of 10
)


def test_figures() -> None:
    assert FOUR.figures(FOUR.scores >= 0.5) == PruningFigures(
        answer_kept=0.5,
        all_kept=0.25,
        removed=pytest.approx(1 - 100 / 160),
        removed_off_topic=pytest.approx(1 - 10 / 40),
        precision=pytest.approx(4 / 5),  # of five kept sentences, the last is in no span
        recall=pytest.approx(4 / 7),
        f1=pytest.approx(2 / 3),
        f2=pytest.approx(5 * (4 / 5) * (4 / 7) / (4 * 4 / 5 + 4 / 7)),
    )


def test_everything_and_nothing() -> None:
    everything = FOUR.figures(FOUR.scores >= 0)
    assert (everything.answer_kept, everything.removed, everything.removed_off_topic) == (1, 0, 0)
    nothing = FOUR.figures(FOUR.scores > 1)
    assert (nothing.all_kept, nothing.removed, nothing.precision, nothing.recall) == (0, 1, 0, 0)
    assert (nothing.f1, nothing.f2) == (0, 0)


def test_no_other_passages() -> None:
    only = judged(([([0.9, 0.1], [10, 10])], [[0]]))
    assert only.figures(only.scores > 0.5).removed_off_topic is None


def test_best_and_ranks() -> None:
    rows = judged(([([0.2, 0.9, 0.2], [1, 1, 1]), ([], []), ([0.3, 0.4], [1, 1])], [[0]]))
    assert rows.best().tolist() == [0.9, 0.9, 0.9, 0.4, 0.4]
    assert rows.ranks().tolist() == [1, 0, 2, 1, 0]


def test_what_a_question_survives() -> None:
    assert FOUR.answer_keys(FOUR.scores, evidence="any").tolist() == [0.9, 0.9, 0.1, 0.2]
    assert FOUR.answer_keys(FOUR.scores, evidence="all").tolist() == [0.6, 0.1, 0.1, 0.2]


def test_a_span_of_white_space_cannot_be_lost() -> None:
    topic = Topic(
        query="q",
        language="en",
        documents=("One.  Two.",),
        grades=(1,),
        ideal_grades=(1,),
        first_stage=(0.0,),
        answers=(Span(4, 6), Span(6, 10)),
    )
    scored = Scored(relevance=None, sentences=((Span(0, 4), Span(6, 10)),), keep=(np.array([0.1, 0.9]),))
    rows = JudgedSentences([topic], [scored])
    assert rows.figures(rows.scores > 0.5).all_kept == 1
    assert rows.figures(rows.scores < 0.5).answer_kept == 0


def test_no_marked_answers() -> None:
    with pytest.raises(InvalidInputError) as raised:
        JudgedSentences([], [])
    assert str(raised.value) == "topics must have marked answers, and scored sentences"


def test_a_curve_removes_ever_more() -> None:
    rng = np.random.default_rng(0)
    rows = judged(*[([(rng.random(6), [10] * 6), (rng.random(4), [10] * 4)], [[0]]) for _ in range(40)])
    curve = rows.curve(rows.scores)
    removed = [point.figures.removed for point in curve]
    assert removed == pytest.approx([0.05 * step for step in range(1, 20)], abs=1 / 240)
    assert all(r <= 0.05 * step + 1e-9 for step, r in enumerate(removed, 1))
    kept = [point.figures.answer_kept for point in curve]
    assert kept == sorted(kept, reverse=True)
    for point in curve:
        assert point.figures == rows.figures(rows.scores >= point.at)


def test_a_curve_of_ties() -> None:
    rows = judged(([([0.5, 0.5, 0.9], [10, 10, 10])], [[2]]))
    assert [(p.at, p.figures.removed) for p in rows.curve(rows.scores)] == [
        (0.5, 0.0),
        (0.9, pytest.approx(2 / 3)),
    ]


WORDS = st.lists(st.sampled_from(["otters", "rivers", "snow", "sleep", "whiskers"]), min_size=1, max_size=4)


@settings(deadline=None)  # the first example pays for imports
@given(st.lists(WORDS, min_size=1, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_a_rule_keeps_what_the_dynamic_mode_keeps(
    sentences: list[list[str]], floor: float, share: float
) -> None:
    model = fake_provence()
    text = " ".join(f"{' '.join(words).capitalize()}." for words in sentences)
    topic = Topic(
        query="Where do otters sleep?",
        language="en",
        documents=(text, "Rivers freeze. Otters sleep."),
        grades=(1, 0),
        ideal_grades=(1,),
        first_stage=(0.0, 0.0),
        answers=(Span(0, 1),),
    )
    rows = JudgedSentences([topic], score_with(model, [topic]))
    found = model.process(topic.query, topic.documents)
    expected = [sentence.kept for passage in found for sentence in passage.sentences]
    assert rows.kept_by(model.config.dynamic_rule).tolist() == expected

    rule = DynamicRule(floor=floor, share=share)
    best = rows.best()
    kept = [s >= floor and s >= share * b for s, b in zip(rows.scores, best, strict=True)]
    assert rows.kept_by(lambda _: rule).tolist() == kept


def test_each_language_has_its_rule() -> None:
    english, japanese = (judged(([([0.5], [10])], [[0]]), language=code) for code in ("en", "ja"))
    rules = {"en": DynamicRule(floor=0.6, share=0.0), "ja": DynamicRule(floor=0.4, share=0.0)}
    assert english.kept_by(rules.__getitem__).tolist() == [False]
    assert japanese.kept_by(rules.__getitem__).tolist() == [True]
