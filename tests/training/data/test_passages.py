"""What is known of questions and sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provence_rag.chunking import Span
from provence_training.data.passages import Question, sentence_labels

# Labels


@pytest.mark.parametrize(
    ("answers", "relevance", "label"),
    [((Span(0, 3),), None, 1.0), ((), None, 0.0), (None, None, 1.0), ((), 1.0, 1.0), (None, 0.25, 0.25)],
)
def test_the_label_of_a_question(
    answers: tuple[Span, ...] | None, relevance: float | None, label: float
) -> None:
    question = Question(id="q", text="Who?", answers=answers, relevance=relevance)
    assert question.label == label
    assert replace(question, is_judged=False).label is None


@pytest.mark.parametrize(
    ("answers", "labels"),
    [
        ([], [0, 0, 0]),
        ([Span(0, 4)], [1, 0, 0]),
        ([Span(10, 11)], [1, 0, 0]),
        ([Span(11, 12)], [0, 0, 0]),  # the space between
        ([Span(10, 13)], [1, 1, 0]),
        ([Span(0, 1), Span(30, 31)], [1, 0, 1]),
        ([Span(0, 41)], [1, 1, 1]),
    ],
)
def test_sentence_labels(answers: list[Span], labels: list[int]) -> None:
    assert sentence_labels([Span(0, 11), Span(12, 29), Span(30, 41)], answers) == labels
