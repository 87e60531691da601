"""Figures of pruning: answers kept against characters removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from provence_rag.config import DynamicRule
from provence_rag.errors import InvalidInputError
from provence_training.arrays import BoolArray, FloatArray, IntArray
from provence_training.data import sentence_labels
from provence_training.evaluation.systems import Scored
from provence_training.evaluation.topics import Topic

__all__ = ["CurvePoint", "Evidence", "JudgedSentences", "PruningFigures"]

Evidence = Literal["any", "all"]

REMOVED = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Shares of removed characters at which a curve has points."""


@dataclass(frozen=True, kw_only=True)
class PruningFigures:
    """Shares in [0, 1]: of questions, of the sentences of answering passages, or of characters."""

    answer_kept: float
    """Questions with at least one answer span that survives whole."""

    all_kept: float
    """Questions for which every sentence that an answer span touches survives."""

    removed: float
    """Characters removed from the answering passages."""

    removed_off_topic: float | None
    """Characters removed from the other passages; None without other passages."""

    precision: float
    """Share of the kept sentences of answering passages that an answer span touches."""

    recall: float
    """Share of the sentences that an answer span touches that are kept."""

    f1: float
    """Harmonic mean of precision and recall."""

    f2: float
    """The same with recall weighing twice as much as precision."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """The figures at one setting."""

    at: float
    """Smallest score of a kept sentence."""

    figures: PruningFigures


class JudgedSentences:
    """The sentences of all passages, with their scores and labels.

    Args:
        topics: Topics; those without marked answers are left out.
        scored: The scores of each topic, with `keep`.

    Raises:
        InvalidInputError: No topic has marked answers.
    """

    def __init__(self, topics: Sequence[Topic], scored: Sequence[Scored]) -> None:
        passages: list[tuple[bool, str]] = []  # whether it answers, and its language
        spans: list[list[int]] = []
        questions: list[int] = []
        scores: list[FloatArray] = []
        lengths: list[int] = []
        number = 0
        for topic, one in zip(topics, scored, strict=True):
            if topic.answers is None or one.keep is None:
                continue
            touched = [np.flatnonzero(sentence_labels(one.sentences[0], [a])) for a in topic.answers]
            found = [(sentences + len(lengths)).tolist() for sentences in touched if len(sentences)]
            spans += found  # a blank span touches no sentence, and cannot be lost
            questions += [number] * len(found)
            number += bool(found)
            for document, keep in enumerate(one.keep):
                passages.append((document == 0, topic.language))
                scores.append(keep)
                lengths += [span.end - span.start for span in one.sentences[document]]
        if not spans:
            raise InvalidInputError("topics must have marked answers, and scored sentences")
        counts = [len(own) for own in scores]
        self.scores: FloatArray = np.concatenate(scores)
        """Shape (N,)."""
        self.lengths: IntArray = np.array(lengths, dtype=np.int64)
        """In characters, shape (N,)."""
        self.passage: IntArray = np.repeat(np.arange(len(passages)), counts)
        """Number of each sentence's passage, shape (N,)."""
        self.answering: BoolArray = np.repeat([answers for answers, _ in passages], counts)
        """Whether it is in the passage that answers, shape (N,)."""
        self.languages: list[str] = [language for _, language in passages]
        """The language of each passage."""
        self.labels: BoolArray = np.zeros(len(self.scores), dtype=bool)
        """Whether an answer span touches it, shape (N,)."""
        self._members = np.concatenate([np.array(span, dtype=np.int64) for span in spans])
        self._starts = np.cumsum([0, *map(len, spans)])[:-1]
        self._questions = np.searchsorted(questions, np.arange(number))  # first span of each
        self.labels[self._members] = True

    @property
    def num_questions(self) -> int:
        """Questions with marked answers."""
        return len(self._questions)

    def best(self) -> FloatArray:
        """For each sentence, the best score in its passage, shape (N,)."""
        best = np.full(len(self.languages), -np.inf)
        np.maximum.at(best, self.passage, self.scores)
        return best[self.passage]

    def shares(self) -> FloatArray:
        """For each sentence, its score's share of the best one in its passage, shape (N,)."""
        shares: FloatArray = self.scores / np.maximum(self.best(), np.finfo(np.float64).tiny)
        return shares

    def by_language(self, value_of: Callable[[str], float]) -> FloatArray:
        """For each sentence, the value of its passage's language, shape (N,)."""
        values = {language: value_of(language) for language in set(self.languages)}
        return np.array([values[language] for language in self.languages])[self.passage]

    def with_scores(self, scores: FloatArray) -> JudgedSentences:
        """The same sentences with other scores, shape (N,)."""
        other = copy(self)
        other.scores = scores
        return other

    def ranks(self) -> IntArray:
        """For each sentence, its rank by score in its passage, from 0, shape (N,)."""
        order = np.lexsort((-self.scores, self.passage))  # stable: earlier sentences come first among equals
        starts = np.searchsorted(self.passage, np.arange(len(self.languages)))
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = np.arange(len(order)) - starts[self.passage]
        return ranks

    def kept_by(self, rule_of: Callable[[str], DynamicRule]) -> BoolArray:
        """The sentences that the `dynamic` mode keeps, with a rule for each language, shape (N,)."""
        floors = self.by_language(lambda language: rule_of(language).floor)
        shares = self.by_language(lambda language: rule_of(language).share)
        return np.asarray(self.scores >= np.maximum(floors, shares * self.best()))

    def answer_keys(self, keys: NDArray[Any], *, evidence: Evidence) -> NDArray[Any]:
        """The largest threshold at which each question keeps its answer.

        Args:
            keys: The values that the threshold is compared with, shape (N,).
            evidence: Whether one answer span must survive, or all of them.

        Returns:
            For each question with marked answers, the smallest key of a span's sentences, of its best span
            (any) or its worst (all).
        """
        spans = np.minimum.reduceat(keys[self._members], self._starts)
        reduce = np.maximum if evidence == "any" else np.minimum
        return np.asarray(reduce.reduceat(spans, self._questions))

    def figures(self, kept: BoolArray) -> PruningFigures:
        """The figures of a selection; `kept` has shape (N,)."""
        right = int((kept & self.labels).sum())
        precision = right / max(1, int((kept & self.answering).sum()))
        recall = right / int(self.labels.sum())
        return PruningFigures(
            answer_kept=float(self.answer_keys(kept, evidence="any").mean()),
            all_kept=float(self.answer_keys(kept, evidence="all").mean()),
            removed=self._removed(kept, self.answering) or 0.0,
            removed_off_topic=self._removed(kept, ~self.answering),
            precision=precision,
            recall=recall,
            f1=_f_score(precision, recall, 1.0),
            f2=_f_score(precision, recall, 2.0),
        )

    def _removed(self, kept: BoolArray, among: BoolArray) -> float | None:
        total = int(self.lengths[among].sum())
        return float(1 - self.lengths[among & kept].sum() / total) if total else None

    def curve(self, keys: FloatArray) -> list[CurvePoint]:
        """The figures at rising thresholds, which remove more and more of answering passages.

        Args:
            keys: The values that the threshold is compared with, shape (N,): scores, or their shares of the
                passage's best score.

        Returns:
            Points with at most 5 %, 10 %, ... 95 % removed, as far as ties allow, without duplicates.
        """
        order = np.flatnonzero(self.answering)[np.argsort(keys[self.answering], kind="stable")]
        gone = np.cumsum(self.lengths[order]) - self.lengths[order]  # before each sentence goes
        share = gone / self.lengths[order].sum()
        thresholds = {float(keys[order[np.searchsorted(share, r, side="right") - 1]]) for r in REMOVED}
        return [CurvePoint(at=at, figures=self.figures(keys >= at)) for at in sorted(thresholds)]


def _f_score(precision: float, recall: float, beta: float) -> float:
    """F-beta (van Rijsbergen 1979): recall counts beta times as much as precision."""
    weighted = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / weighted if weighted else 0.0
