"""Differences between two ways of answering the same questions, with the bootstrap's intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from provence_training.arrays import FloatArray

__all__ = ["Difference", "paired_difference"]

_SAMPLES = 10_000
_SLICE = 1_000_000
"""Numbers drawn at a time, so that many questions need no more memory."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean difference, and its 95 % interval."""

    mean: float
    low: float
    high: float


def paired_difference(values: FloatArray, reference: FloatArray, *, seed: int = 0) -> Difference:
    """The mean of `values - reference`, with the percentile interval of a paired bootstrap.

    Questions are drawn with replacement, 10,000 times (Efron and Tibshirani 1993, An Introduction to the
    Bootstrap, chapter 13). The same values give the same interval.

    Args:
        values: A figure of each question, shape (N,), N at least 1.
        reference: The figure of the same questions answered in another way, shape (N,).
        seed: Seeds the draws.
    """
    differences = values - reference
    size = len(differences)
    draws = np.random.default_rng(seed)
    rows = max(1, _SLICE // size)
    means = np.concatenate(
        [
            differences[draws.integers(size, size=(min(rows, _SAMPLES - start), size))].mean(axis=1)
            for start in range(0, _SAMPLES, rows)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Difference(mean=float(differences.mean()), low=float(low), high=float(high))
