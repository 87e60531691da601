"""What a model reaches on questions with marked answers: answers kept against characters removed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from provence_rag import Provence, PruningOptions
from provence_rag.config import DynamicRule
from provence_training.data import Passage, Question, sentence_labels

__all__ = ["Figures", "Judged", "figures", "judge"]


@dataclass(frozen=True)
class Judged:
    """One question with one passage, and the model's scores."""

    question: str
    answers: bool
    """Whether the passage is the question's own."""
    relevance: float
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
        passages: With questions whose answers are marked.
        distractors: For each question id, passages that do not answer it.
        limit: Judge a random sample of so many questions.
        show_progress: Show a progress bar.
    """
    asked = [(p, q) for p in passages for q in p.questions if q.answers]
    if limit is not None and limit < len(asked):
        asked = random.Random(0).sample(asked, limit)
    groups = [[own, *distractors[question.id]] for own, question in asked]
    results = model.process_batch(
        [q.text for _, q in asked],
        [[p.text for p in group] for group in groups],
        options=PruningOptions(mode="off"),
        show_progress=show_progress,
    )
    return [
        _judged(question, passage if passage is own else None, result)
        for (own, question), group, row in zip(asked, groups, results, strict=True)
        for passage, result in zip(group, row, strict=True)
    ]


def _judged(question: Question, own: Passage | None, result: object) -> Judged:
    from provence_rag import PrunedPassage
    from provence_rag.chunking import Span

    assert isinstance(result, PrunedPassage)
    sentences = [Span(s.start, s.end) for s in result.sentences]
    touched = []
    for answer in question.answers or () if own else ():
        labels = sentence_labels(sentences, [answer])
        touched.append(frozenset(i for i, label in enumerate(labels) if label))
    return Judged(
        question=question.id,
        answers=own is not None,
        relevance=result.score or 0.0,
        scores=np.array([s.score for s in result.sentences], dtype=np.float64),
        lengths=np.array([s.end - s.start for s in result.sentences], dtype=np.int64),
        spans=tuple(touched),
    )


def figures(judged: Sequence[Judged], rule: DynamicRule) -> Figures:
    """Apply a rule to judged passages."""
    kept_any, kept_all, lengths, off_lengths = [], [], [], []
    best_other: dict[str, list[float]] = {}
    own: dict[str, float] = {}
    for one in judged:
        mask = one.scores >= max(rule.floor, rule.share * one.scores.max(initial=0.0))
        pair = (int(one.lengths.sum()), int(one.lengths[mask].sum()))
        if one.answers:
            kept = set(np.flatnonzero(mask).tolist())
            kept_any.append(any(span <= kept for span in one.spans))
            kept_all.append(all(span <= kept for span in one.spans))
            lengths.append(pair)
            own[one.question] = one.relevance
        else:
            off_lengths.append(pair)
            best_other.setdefault(one.question, []).append(one.relevance)
    ranks = [1 + sum(x >= score for x in best_other.get(q, [])) for q, score in own.items()]
    return Figures(
        answer_kept=float(np.mean(kept_any)),
        all_kept=float(np.mean(kept_all)),
        removed=_removed(lengths),
        removed_off_topic=_removed(off_lengths),
        mrr=float(np.mean([1 / rank for rank in ranks])),
    )


def _removed(pairs: Sequence[tuple[int, int]]) -> float:
    total, kept = np.array(pairs).reshape(-1, 2).sum(0)
    return float(1 - kept / total) if total else 0.0
