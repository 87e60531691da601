"""Windows: runs of sentences of passages, for many passages at once."""

from __future__ import annotations

import numpy as np

from provence_training.arrays import IntArray
from provence_training.pairs.pack import Pack

__all__ = ["draw_windows", "whole_windows"]


def whole_windows(pack: Pack, passages: IntArray) -> IntArray:
    """All sentences of each passage, shape (passages, 2)."""
    return np.stack([pack.passages[passages], pack.passages[passages + 1]], axis=1).astype(np.int64)


def draw_windows(
    pack: Pack, passages: IntArray, wanted: IntArray, limits: IntArray, rng: np.random.Generator
) -> IntArray:
    """Draw runs of whole sentences around wanted sentences.

    Args:
        pack: The corpus.
        passages: Numbers of N passages.
        wanted: A sentence of each passage, which its run contains, shape (N,).
        limits: Most tokens of each run, unless the wanted sentence alone has more, shape (N,).
        rng: Decides how far a run extends to either side.

    Returns:
        First sentence of each run, and the one after its last sentence, shape (N, 2).
    """
    borders = np.asarray(pack.sentences)
    whole = whole_windows(pack, passages)
    low, high = whole[:, 0], whole[:, 1]
    start, stop = borders[wanted].astype(np.int64), borders[wanted + 1].astype(np.int64)
    limits = np.maximum(limits, stop - start)
    before = np.floor(rng.random(len(wanted)) * (limits - (stop - start) + 1)).astype(np.int64)
    first = np.clip(np.searchsorted(borders, start - before, "left"), low, wanted)
    end = np.searchsorted(borders, borders[first] + limits, "right") - 1
    end = np.clip(end, wanted + 1, high)
    # Tokens left unused at the end of the passage extend the run to the front.
    earlier = np.clip(np.searchsorted(borders, borders[end] - limits, "left"), low, wanted)
    return np.stack([np.minimum(first, earlier), end], axis=1)
