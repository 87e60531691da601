"""Figures on judged passages made by hand, and judging by the model of words in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from provence_rag import InvalidInputError
from provence_rag.chunking import Span
from provence_rag.config import DynamicRule
from provence_rag.testing import fake_provence
from provence_training.calibration import calibrate
from provence_training.data import Passage, Question
from provence_training.evaluation import Figures, Judged, figures, judge

HALF = DynamicRule(floor=0.5, share=0.0)


def judged(
    question: str, relevance: float, scores: Sequence[float], *spans: set[int], answers: bool = True
) -> Judged:
    return Judged(
        question=question,
        answers=answers,
        relevance=relevance,
        scores=np.array(scores),
        lengths=np.array([10 * (i + 1) for i in range(len(scores))]),
        spans=tuple(frozenset(span) for span in spans),
    )


# Figures


def test_answers_kept_and_text_removed() -> None:
    result = figures(
        [
            judged("a", 0.9, [0.9, 0.1, 0.6], {0}, {2}),  # keeps 10 + 30 of 60
            judged("b", 0.9, [0.9, 0.1], {0}, {1}),  # one span of two; keeps 10 of 30
            judged("c", 0.9, [0.1, 0.9, 0.9], {0, 1}),  # half a span; keeps 50 of 60
            judged("d", 0.9, [0.2], {0}),  # keeps 0 of 10
        ],
        HALF,
    )
    assert result == Figures(
        answer_kept=0.5,
        all_kept=0.25,
        removed=pytest.approx(1 - 100 / 160),
        removed_off_topic=0.0,
        mrr=1.0,
    )


def test_ranks_and_other_passages() -> None:
    result = figures(
        [
            judged("a", 0.5, [0.9], {0}),
            judged("a", 0.7, [0.9, 0.1], answers=False),
            judged("a", 0.2, [0.1], answers=False),
            judged("b", 0.5, [0.9], {0}),
            judged("b", 0.5, [0.1], answers=False),  # a tie is no first rank
            judged("c", 0.5, [0.9], {0}),
            judged("c", 0.4, [0.1], answers=False),
        ],
        HALF,
    )
    assert result.mrr == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert result.removed_off_topic == pytest.approx(1 - 10 / 60)


@pytest.mark.parametrize(
    ("floor", "share", "kept"), [(0.0, 0.0, 3), (0.3, 0.0, 2), (0.0, 0.6, 1), (0.3, 0.5, 2), (0.9, 0.0, 0)]
)
def test_the_rule_is_that_of_the_dynamic_mode(floor: float, share: float, kept: int) -> None:
    one = replace(judged("a", 0.5, [0.8, 0.4, 0.1], {0}), lengths=np.array([1, 1, 1]))
    assert figures([one], DynamicRule(floor=floor, share=share)).removed == pytest.approx(1 - kept / 3)


def test_a_passage_without_sentences() -> None:
    result = figures([judged("a", 0.5, [], set()), judged("a", 0.1, [], answers=False)], HALF)
    assert (result.removed, result.removed_off_topic, result.mrr) == (0.0, 0.0, 1.0)


def test_no_passage_that_answers() -> None:
    with pytest.raises(InvalidInputError) as raised:
        figures([judged("a", 0.5, [0.5], answers=False)], HALF)
    assert str(raised.value) == "judged must hold passages that answer, got none"


def test_rounded_for_reports() -> None:
    result = figures([judged("a", 0.5, [0.9, 0.1], {0})], HALF)
    assert result.to_dict() == {
        "answer_kept": 1.0,
        "all_kept": 1.0,
        "removed": 0.6667,
        "removed_off_topic": 0.0,
        "mrr": 1.0,
    }


# Calibration


def test_calibration_removes_what_it_may() -> None:
    rows = [judged(str(i), 0.9, [0.9, 0.3, 0.05], {0}) for i in range(9)]
    rows += [judged("9", 0.9, [0.9, 0.3, 0.05], {1})]
    rows += [judged(str(i), 0.1, [0.2, 0.02], answers=False) for i in range(10)]
    strict = calibrate(rows, all_kept=1.0, removed_off_topic=1.0)
    assert figures(rows, strict).to_dict() == {
        "answer_kept": 1.0,
        "all_kept": 1.0,
        "removed": 0.5,  # all but the first two sentences
        "removed_off_topic": 1.0,
        "mrr": 1.0,
    }
    loose = figures(rows, calibrate(rows, all_kept=0.9, removed_off_topic=1.0))
    assert (loose.all_kept, loose.removed) == (0.9, pytest.approx(1 - 10 / 60))


def test_calibration_comes_as_near_as_it_can() -> None:
    rows = [judged("a", 0.9, [0.3], {0}), judged("a", 0.1, [0.3], answers=False)]
    reached = figures(rows, calibrate(rows, all_kept=1.0, removed_off_topic=0.4))
    assert (reached.all_kept, reached.removed_off_topic) == (1.0, 0.0)


# Judging


def make_passage(name: str, *texts: str, questions: Sequence[Question] = ()) -> Passage:
    text = " ".join(texts)
    return Passage(
        id=name,
        source="made",
        language="en",
        title="",
        text=text,
        sentences=(),  # the model cuts it
        questions=tuple(questions),
    )


OTTERS = make_passage(
    "otters",
    "Otters sleep in rivers.",
    "Their whiskers find crabs.",
    "Winter brings snow.",
    questions=[
        Question(id="q1", text="What do otters whiskers find?", answers=(Span(24, 50), Span(0, 6))),
        Question(id="q2", text="Not marked?", answers=None),
        Question(id="q3", text="Not answered?", answers=()),
    ],
)
SNOW = make_passage("snow", "Snow falls.", "Otters hide.")


def test_judging() -> None:
    own, other = judge(fake_provence(), [OTTERS], {"q1": [SNOW]})
    assert (own.question, own.answers, own.spans) == ("q1", True, (frozenset({1}), frozenset({0})))
    assert own.lengths.tolist() == [23, 26, 19]
    assert own.scores.argmax() == 1
    assert (other.question, other.answers, other.spans) == ("q1", False, ())
    assert other.lengths.tolist() == [11, 12]
    assert own.relevance > other.relevance


def test_a_limit_draws_the_same_questions_each_time() -> None:
    questions = [Question(id=str(i), text=f"Otters {i}?", answers=(Span(0, 6),)) for i in range(9)]
    passage = replace(OTTERS, questions=tuple(questions))
    nothing: dict[str, list[Passage]] = {str(i): [] for i in range(9)}
    first, second = (judge(fake_provence(), [passage], nothing, limit=4) for _ in range(2))
    assert len(first) == 4
    assert [one.question for one in first] == [one.question for one in second]


def test_equal_ids_are_refused() -> None:
    with pytest.raises(InvalidInputError) as raised:
        judge(fake_provence(), [OTTERS, replace(OTTERS, id="copy")], {"q1": []})
    assert str(raised.value) == "passages must have questions with ids of their own: some are there twice"


@pytest.mark.parametrize("head", ["can_rank", "can_prune"])
def test_both_heads_are_needed(head: str) -> None:
    with pytest.raises(InvalidInputError, match="model must rank and prune, got one of mode '"):
        judge(fake_provence(**{head: False}), [OTTERS], {"q1": []})
