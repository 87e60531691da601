"""From token logits to sentence scores."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from provence_rag.inference.arrays import FloatArray, IntArray, LogitArray

__all__ = ["keep_probabilities", "sentence_scores", "sigmoid", "tempered"]


def sigmoid(x: NDArray[np.floating]) -> FloatArray:
    """The logistic function in float64, without overflow, and exact near 0 as well."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -x.astype(np.float64))))


def keep_probabilities(pruning_logits: LogitArray) -> FloatArray:
    """The keep column of the softmax over drop and keep.

    Args:
        pruning_logits: Shape (..., 2).

    Returns:
        Probabilities, shape (...).
    """
    # In float64, since half-precision logits would lose the difference between close values.
    logits = pruning_logits.astype(np.float64)
    return sigmoid(logits[..., 1] - logits[..., 0])


def sentence_scores(
    probabilities: FloatArray,
    bounds: IntArray,
    sentence_of: IntArray,
    num_sentences: int,
    rule: Literal["mean", "fraction"] = "mean",
) -> FloatArray:
    """Keep probability of each sentence from those of its tokens; of several units, that of the best.

    Args:
        probabilities: Keep probabilities of all tokens, shape (N,).
        bounds: Where each unit starts, and N: shape (U + 1,). Units tile the tokens, and may be empty.
        sentence_of: The sentence that each unit belongs to, shape (U,).
        num_sentences: S.
        rule: `ProvenceConfig.scoring`.

    Returns:
        Scores in [0, 1], shape (S,); 0 for a sentence without tokens.
    """
    scores = np.zeros(num_sentences)
    counts = np.diff(bounds)
    filled = counts > 0  # for an empty unit, reduceat would return the value of the next
    if filled.any():
        of_units = _means if rule == "mean" else _fractions
        np.maximum.at(
            scores, sentence_of[filled], of_units(probabilities, bounds[:-1][filled], counts[filled])
        )
    return np.clip(scores, 0.0, 1.0)


def _means(probabilities: FloatArray, starts: IntArray, counts: IntArray) -> FloatArray:
    return np.asarray(np.add.reduceat(probabilities, starts) / counts)


def _fractions(probabilities: FloatArray, starts: IntArray, counts: IntArray) -> FloatArray:
    """The highest threshold T of each unit at which more than a share T of its tokens are above T.

    Provence's code keeps a sentence by this rule, with one threshold for both (the paper has 0.5 for the
    share). With the n probabilities sorted from high to low, the rule holds for every T below
    min(p_k, k / n) for some k. So the largest of these is one score that decides for all thresholds.
    """
    unit_of = np.repeat(np.arange(len(counts)), counts)
    falling = probabilities[np.lexsort((-probabilities, unit_of))]
    ranks = np.arange(len(falling)) - np.repeat(starts, counts) + 1
    limits = np.maximum.reduceat(np.minimum(falling, ranks / np.repeat(counts, counts)), starts)
    # Their comparison is strict; selection also keeps a score that equals the threshold.
    return np.asarray(np.nextafter(limits, 0.0))


def tempered(scores: FloatArray, temperatures: float | FloatArray) -> FloatArray:
    """Divide the logits of probabilities by temperatures above 0; both have shape (S,).

    Scores with the same temperature keep their order; 0, 0.5 and 1 do not change.
    """
    with np.errstate(divide="ignore"):
        logits = np.log(scores) - np.log1p(-scores)
    return sigmoid(logits / temperatures)
