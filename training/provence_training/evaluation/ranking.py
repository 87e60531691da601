"""Figures of a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np

from provence_training.arrays import BoolArray, FloatArray, IntArray
from provence_training.evaluation.topics import Topic

__all__ = [
    "RankingFigures",
    "auc",
    "average_precision",
    "figures_at",
    "ndcg",
    "ranking_figures",
    "reciprocal_rank",
]


@dataclass(frozen=True, kw_only=True)
class RankingFigures:
    """Means over all questions, in [0, 1]. Among equal scores, less relevant documents come first."""

    map: float
    """Mean average precision, over the relevant documents of each list."""

    mrr: float
    """Mean reciprocal rank of the first relevant document; 0 without one."""

    ndcg: float
    """Normalised discounted cumulative gain of the first k documents, with the grades as gains."""

    auc: float | None
    """Area under the ROC curve of "does this document answer", over the scores of all questions together;
    None if all documents are relevant, or none."""


def average_precision(relevant: BoolArray) -> float:
    """Mean precision at the rank of each relevant document; 0 without one.

    Args:
        relevant: Whether each document of a ranking is relevant, best rank first, shape (D,).
    """
    ranks = np.flatnonzero(relevant) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else 0.0


def reciprocal_rank(relevant: BoolArray) -> float:
    """1 / rank of the first relevant document; 0 without one. `relevant` as above."""
    return 1.0 / (int(relevant.argmax()) + 1) if relevant.any() else 0.0


def ndcg(grades: IntArray, ideal_grades: Sequence[int], k: int) -> float:
    """Normalised discounted cumulative gain at k with linear gain, as in trec_eval.

    Järvelin and Kekäläinen 2002, doi:10.1145/582415.582418.

    Args:
        grades: Grades of the documents in the order of the ranking, shape (D,).
        ideal_grades: Grades of the best possible ranking, best first.
        k: Ranks that count.

    Returns:
        In [0, 1]; 0 if all ideal grades are 0.
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.asarray(ideal_grades[:k], dtype=np.float64)
    best = float(ideal @ discounts[: len(ideal)])
    gains = grades[:k]
    return float(gains @ discounts[: len(gains)]) / best if best > 0 else 0.0


def auc(scores: FloatArray, relevant: BoolArray) -> float | None:
    """Probability that a relevant document scores above another; ties count half. Both have shape (N,)."""
    positives = int(relevant.sum())
    negatives = len(relevant) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    above = mean_ranks[inverse][relevant].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def ranking_figures(topics: Sequence[Topic], scores: Sequence[FloatArray], *, k: int) -> RankingFigures:
    """Compute the figures of a ranking by scores.

    Args:
        topics: At least one topic.
        scores: For each topic, the scores of its documents, shape (D,).
        k: Ranks that count for nDCG.
    """
    grades = [np.array(topic.grades, dtype=np.int64) for topic in topics]
    orders = [np.lexsort((own, -s)) for own, s in zip(grades, scores, strict=True)]
    relevant = [own >= topic.relevant_grade for own, topic in zip(grades, topics, strict=True)]
    ranked = [own[order] for own, order in zip(relevant, orders, strict=True)]
    gains = [
        ndcg(own[order], topic.ideal_grades, k)
        for own, order, topic in zip(grades, orders, topics, strict=True)
    ]
    return RankingFigures(
        map=float(np.mean([average_precision(own) for own in ranked])),
        mrr=float(np.mean([reciprocal_rank(own) for own in ranked])),
        ndcg=float(np.mean(gains)),
        auc=auc(np.concatenate(scores), np.concatenate(relevant)),
    )


def figures_at(
    relevant: Sequence[BoolArray], scores: Sequence[FloatArray], cutoffs: Sequence[int]
) -> dict[str, float]:
    """Mean `map@k`, `mrr@k` and `ndcg@k` of rankings, as trec_eval computes them.

    Among documents of one score, those that are not relevant come first.

    Args:
        relevant: For each query, whether each document is relevant, shape (D,); at least one is.
        scores: For each query, the scores of its documents, shape (D,).
        cutoffs: The values of k.
    """
    qrels = {
        str(number): {str(document): int(label) for document, label in enumerate(own.tolist())}
        for number, own in enumerate(relevant)
    }
    orders = [np.lexsort((own, -s)).tolist() for own, s in zip(relevant, scores, strict=True)]
    figures: dict[str, float] = {}
    for k in cutoffs:
        run = {
            str(number): {str(document): float(-rank) for rank, document in enumerate(order[:k])}
            for number, order in enumerate(orders)
        }
        measures = {"map": ir_measures.AP @ k, "mrr": ir_measures.RR, "ndcg": ir_measures.nDCG @ k}
        means = ir_measures.calc_aggregate(list(measures.values()), qrels, run)
        figures |= {f"{name}@{k}": float(means[measure]) for name, measure in measures.items()}
    return figures
