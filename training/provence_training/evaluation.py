"""What a model reaches on questions with marked answers: answers kept against characters removed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from provence_rag import InvalidInputError, Provence, PrunedPassage, PruningOptions
from provence_rag.chunking import Span
from provence_rag.config import DynamicRule
from provence_training.data import Passage, Question, sentence_labels

__all__ = ["Figures", "Judged", "figures", "judge"]


@dataclass(frozen=True)
class Judged:
    """One question with one passage, and the model's scores."""

    question: str
    """Id of the question."""
    answers: bool
    """Whether the passage is the question's own."""
    relevance: float
    """The passage's relevance score."""
    scores: NDArray[np.float64]
    """Keep probabilities, shape (sentences,)."""
    lengths: NDArray[np.int64]
    """Lengths in characters, shape (sentences,)."""
    spans: tuple[frozenset[int], ...]
    """For each answer span, the sentences that it touches."""


@dataclass(frozen=True)
class Figures:
    """Shares in [0, 1], over all questions."""

    answer_kept: float
    """Questions of which at least one answer span survives whole."""
    all_kept: float
    """Questions of which every sentence that an answer span touches survives."""
    removed: float
    """Characters removed from the answering passages."""
    removed_off_topic: float
    """Characters removed from passages of other questions."""
    mrr: float
    """Mean reciprocal rank of the answering passage among its distractors."""

    def to_dict(self) -> dict[str, float]:
        """The figures, rounded to four digits."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def judge(
    model: Provence,
    passages: Sequence[Passage],
    distractors: dict[str, list[Passage]],
    *,
    limit: int | None = None,
    show_progress: bool = False,
) -> list[Judged]:
    """Run a model on every question, with its own passage and its distractors.

    Args:
        model: The model.
        passages: Their questions with marked answers are asked. Question ids are unique among them.
        distractors: For each question id, passages that do not answer it.
        limit: Judge a random sample of so many questions.
        show_progress: Show a progress bar.

    Returns:
        For each question, its own passage and then the distractors.

    Raises:
        InvalidInputError: The model has not both heads, or two questions have one id.
    """
    if model.config.mode != "joint":
        raise InvalidInputError(f"model must rank and prune, got one of mode {model.config.mode!r}")
    asked = [(p, q) for p in passages for q in p.questions if q.answers]
    if limit is not None and limit < len(asked):
        asked = random.Random(0).sample(asked, limit)
    if len({question.id for _, question in asked}) < len(asked):
        raise InvalidInputError("passages must have questions with ids of their own: some are there twice")
    groups = [[own, *distractors[question.id]] for own, question in asked]
    results = model.process_batch(
        [q.text for _, q in asked],
        [[p.text for p in group] for group in groups],
        options=PruningOptions(mode="off"),
        show_progress=show_progress,
    )
    return [
        _judged(question, passage is own, result)
        for (own, question), group, row in zip(asked, groups, results, strict=True)
        for passage, result in zip(group, row, strict=True)
    ]


def _judged(question: Question, own: bool, passage: PrunedPassage) -> Judged:
    sentences = [Span(s.start, s.end) for s in passage.sentences]
    touched = [sentence_labels(sentences, [answer]) for answer in (question.answers or ()) if own]
    assert passage.score is not None  # judge() has checked that there are both heads
    return Judged(
        question=question.id,
        answers=own,
        relevance=passage.score,
        scores=np.array([s.score for s in passage.sentences], dtype=np.float64),
        lengths=np.array([s.end - s.start for s in sentences], dtype=np.int64),
        spans=tuple(frozenset(np.flatnonzero(labels).tolist()) for labels in touched),
    )


def figures(judged: Sequence[Judged], rule: DynamicRule) -> Figures:
    """Apply a rule to judged passages.

    Args:
        judged: What `judge` gave: at least one question with its own passage.
        rule: What is kept.

    Raises:
        InvalidInputError: There is no passage that answers.
    """
    own = {one.question: one for one in judged if one.answers}
    if not own:
        raise InvalidInputError("judged must hold passages that answer, got none")
    others = [one for one in judged if not one.answers]
    kept = {question: set(np.flatnonzero(_mask(one, rule)).tolist()) for question, one in own.items()}
    ranks = dict.fromkeys(own, 1)
    for one in others:
        if one.question in own:
            ranks[one.question] += one.relevance >= own[one.question].relevance
    return Figures(
        answer_kept=float(np.mean([any(s <= kept[q] for s in one.spans) for q, one in own.items()])),
        all_kept=float(np.mean([all(s <= kept[q] for s in one.spans) for q, one in own.items()])),
        removed=_removed(list(own.values()), rule),
        removed_off_topic=_removed(others, rule),
        mrr=float(np.mean([1 / rank for rank in ranks.values()])),
    )


def _mask(one: Judged, rule: DynamicRule) -> NDArray[np.bool_]:
    return np.asarray(one.scores >= max(rule.floor, rule.share * one.scores.max(initial=0.0)))


def _removed(judged: Sequence[Judged], rule: DynamicRule) -> float:
    """Share of all characters; 0 of nothing."""
    total = sum(int(one.lengths.sum()) for one in judged)
    kept = sum(int(one.lengths[_mask(one, rule)].sum()) for one in judged)
    return 1 - kept / total if total else 0.0
