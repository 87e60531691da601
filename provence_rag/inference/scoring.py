"""From token logits to sentence scores."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["keep_probabilities", "sentence_scores", "sigmoid", "tempered"]

FloatArray = NDArray[np.float64]


def sigmoid(x: NDArray[np.floating]) -> FloatArray:
    """The logistic function in float64, without overflow, and exact for scores near 0 as well."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -x.astype(np.float64))))


def keep_probabilities(pruning_logits: NDArray[np.float32]) -> FloatArray:
    """Softmax over drop and keep, keep column.

    Args:
        pruning_logits: Shape (..., 2).

    Returns:
        Probabilities, shape (...).
    """
    # Subtract in float64: half-precision logits of the same sign would lose their difference.
    logits = pruning_logits.astype(np.float64)
    return sigmoid(logits[..., 1] - logits[..., 0])


def sentence_scores(
    probabilities: FloatArray,
    bounds: NDArray[np.int64],
    sentence_of: NDArray[np.int64],
    num_sentences: int,
    rule: Literal["mean", "fraction"] = "mean",
) -> FloatArray:
    """Keep probability of each sentence, from its tokens'; the best part's for a sentence scored in parts.

    Args:
        probabilities: Of all tokens in a row, shape (N,).
        bounds: Where each unit starts, and N: shape (U + 1,). Units tile the tokens; one may be empty.
        sentence_of: Number of the sentence that each unit belongs to, shape (U,).
        num_sentences: S.
        rule: `ProvenceConfig.scoring`.

    Returns:
        Scores in [0, 1], shape (S,); 0 for a sentence without tokens.
    """
    scores = np.zeros(num_sentences)
    counts = np.diff(bounds)
    filled = counts > 0  # reduceat would return a neighbour's value for an empty unit
    if filled.any():
        of_units = _means if rule == "mean" else _fractions
        np.maximum.at(
            scores, sentence_of[filled], of_units(probabilities, bounds[:-1][filled], counts[filled])
        )
    return np.clip(scores, 0.0, 1.0)


def _means(probabilities: FloatArray, starts: NDArray[np.int64], counts: NDArray[np.int64]) -> FloatArray:
    return np.asarray(np.add.reduceat(probabilities, starts) / counts)


def _fractions(probabilities: FloatArray, starts: NDArray[np.int64], counts: NDArray[np.int64]) -> FloatArray:
    """The highest threshold T of each unit at which more than a share T of its tokens are above T.

    Provence's code keeps a sentence by this rule, with one threshold for tokens and share (the paper has
    0.5 for the share). With the n probabilities in falling order, it holds for every T below min(p_k, k / n)
    of some k: so the sentence has one score, the largest of these, that tells for all thresholds.
    """
    unit_of = np.repeat(np.arange(len(counts)), counts)
    falling = probabilities[np.lexsort((-probabilities, unit_of))]
    ranks = np.arange(len(falling)) - np.repeat(starts, counts) + 1
    limits = np.maximum.reduceat(np.minimum(falling, ranks / np.repeat(counts, counts)), starts)
    # Their comparison is strict, and selection keeps what reaches the threshold.
    return np.asarray(np.nextafter(limits, 0.0))


def tempered(scores: FloatArray, temperatures: float | FloatArray) -> FloatArray:
    """Divide the logits of probabilities by temperatures above 0; both of shape (S,).

    The order of scores with one temperature stays; 0, 0.5 and 1 stay what they are.
    """
    with np.errstate(divide="ignore"):
        logits = np.log(scores) - np.log1p(-scores)
    return sigmoid(logits / temperatures)
