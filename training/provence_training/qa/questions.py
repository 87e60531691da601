"""Questions with known answers, each with the passages that a retriever gives it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_count
from provence_training.data import Passage, Question, load_passages, sentence_labels
from provence_training.evaluation.topics import Topic, answered_topics

__all__ = ["QAQuestion", "load_questions"]

_NO_SPACE = ("ja", "zh")
"""Languages that put nothing between sentences."""


@dataclass(frozen=True, kw_only=True)
class QAQuestion:
    """A question with its answers and P passages."""

    id: str

    text: str

    language: str
    """ISO 639-1 code of the passages."""

    answers: tuple[str, ...]
    """The answers that count as right, at least one."""

    passages: tuple[str, ...]
    """In the order of the retriever, best first."""

    own: int | None = None
    """Position of the passage that is known to answer, which each context of k passages has; None if it is
    not known."""

    evidence: str | None = None
    """The sentences that answer; None if they are not known."""

    def top(self, k: int) -> list[str]:
        """The first k passages. If the one that is known to answer is not among them, it is the last."""
        first = list(self.passages[:k])
        if self.own is not None and self.own >= k:
            first[-1] = self.passages[self.own]
        return first


def load_questions(path: str | Path, *, k: int, limit: int | None = None) -> list[QAQuestion]:
    """Read questions with marked answers, in any of the shapes and formats of `load_passages`.

    Each question meets its own passage among the best BM25 passages of the file, in the same language, that
    are not known to answer it, in the order of their BM25 scores.

    Args:
        path: The file, or a directory of `datasets`.
        k: Passages of a question.
        limit: Questions, at most, in a random sample: the same each time, and a smaller one is part of a
            larger one. None takes all.

    Raises:
        InvalidInputError: A record cannot be used (the message names file and line), or no question has
            marked answers.
    """
    check_count("k", k, 1)
    if limit is not None:
        check_count("limit", limit, 1)
    passages = load_passages(path)
    asked = [(number, q) for number, p in enumerate(passages) for q in p.questions if q.answers]
    if not asked:
        raise InvalidInputError(f"{path} has no question with marked answers: no reply can be judged")
    random.Random(0).shuffle(asked)
    asked = asked[:limit]
    topics = answered_topics(passages, asked, k - 1)
    return [
        _question(passages[number], question, topic)
        for (number, question), topic in zip(asked, topics, strict=True)
    ]


def _question(passage: Passage, question: Question, topic: Topic) -> QAQuestion:
    assert question.answers is not None
    order = sorted(range(len(topic.documents)), key=lambda i: -topic.first_stage[i])
    answers = (passage.text[span.start : span.end].strip() for span in question.answers)
    return QAQuestion(
        id=question.id,
        text=question.text,
        language=topic.language,
        answers=tuple(dict.fromkeys(answer for answer in answers if answer)),
        passages=tuple(topic.documents[i] for i in order),
        own=order.index(0),
        evidence=_evidence(passage, sentence_labels(passage.sentences, question.answers)),
    )


def _evidence(passage: Passage, labels: Sequence[int]) -> str:
    """The labelled sentences, neighbours with what is between them."""
    runs = [
        list(run)
        for kept, run in groupby(zip(labels, passage.sentences, strict=True), lambda x: x[0])
        if kept
    ]
    parts = [passage.text[run[0][1].start : run[-1][1].end] for run in runs]
    return ("" if passage.language in _NO_SPACE else " ").join(parts)
