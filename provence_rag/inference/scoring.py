"""From token logits to sentence scores."""

from __future__ import annotations

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
    probabilities: FloatArray, bounds: NDArray[np.int64], sentence_of: NDArray[np.int64], num_sentences: int
) -> FloatArray:
    """Mean keep probability of each sentence's tokens; the best part's for a sentence scored in parts.

    Args:
        probabilities: Of all tokens in a row, shape (N,).
        bounds: Where each unit starts, and N: shape (U + 1,). Units tile the tokens; one may be empty.
        sentence_of: Number of the sentence that each unit belongs to, shape (U,).
        num_sentences: S.

    Returns:
        Scores in [0, 1], shape (S,); 0 for a sentence without tokens.
    """
    scores = np.zeros(num_sentences)
    counts = np.diff(bounds)
    filled = counts > 0  # reduceat would return a neighbour's value for an empty unit
    if filled.any():
        sums = np.add.reduceat(probabilities, bounds[:-1][filled])
        np.maximum.at(scores, sentence_of[filled], sums / counts[filled])
    return np.clip(scores, 0.0, 1.0)


def tempered(scores: FloatArray, temperatures: float | FloatArray) -> FloatArray:
    """Divide the logits of probabilities by temperatures above 0; both of shape (S,).

    The order of scores with one temperature stays; 0, 0.5 and 1 stay what they are.
    """
    with np.errstate(divide="ignore"):
        logits = np.log(scores) - np.log1p(-scores)
    return sigmoid(logits / temperatures)
