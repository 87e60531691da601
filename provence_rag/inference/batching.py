"""Batches of windows of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["TOKENS_PER_BATCH", "batches"]

TOKENS_PER_BATCH = 4096
"""Padded tokens of a batch when the caller sets no batch size: enough to fill a CPU's cores, small enough
that the activations stay near its caches."""


def batches(lengths: Sequence[int], batch_size: int | None = None) -> Iterator[list[int]]:
    """Group windows by length, longest first, so that padding is rare.

    Longest first also means that memory peaks at the start, not in the middle of a long run.

    Args:
        lengths: Tokens of each window.
        batch_size: Windows a batch; None fills each up to `TOKENS_PER_BATCH` padded tokens.

    Yields:
        Indices into `lengths`.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    start = 0
    while start < len(order):
        size = batch_size or max(1, TOKENS_PER_BATCH // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size
