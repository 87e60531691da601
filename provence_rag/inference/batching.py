"""Batches of windows of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from provence_rag.inference.encoding import IntArray, PairLayout, Window
from provence_rag.inference.planning import Plan

__all__ = ["TOKENS_PER_BATCH", "batches", "padded"]

TOKENS_PER_BATCH = 1024
"""Padded tokens of a batch when the caller sets no batch size: enough to fill a CPU's cores, small enough
that the activations fit its caches (with four times as many, int8 took a third longer on two cores)."""

_TOKENS_OF_A_PASS = 32
"""What another pass costs beside its tokens, in tokens: padding beyond that is not worth sharing a batch.
(Questions with five passages are read 1.5 times as fast as with batches as large as they may be, with 20 1.2
times; int8 on two cores.)"""


def batches(lengths: Sequence[int], batch_size: int | None = None) -> Iterator[list[int]]:
    """Group windows by length, longest first, so that padding is rare.

    Longest first also means that memory peaks at the start, not in the middle of a long run.

    Args:
        lengths: Tokens of each window.
        batch_size: Windows a batch; None fills each up to `TOKENS_PER_BATCH` padded tokens, as long as its
            padding costs less than another batch.

    Yields:
        Indices into `lengths`.
    """
    unsorted = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-unsorted, kind="stable")
    longest_first = unsorted[order]
    start = 0
    while start < len(order):
        size = batch_size or _worthwhile(longest_first[start:])
        yield order[start : start + size].tolist()
        start += size


def _worthwhile(lengths: IntArray) -> int:
    """How many windows, of these from the longest on, are read faster together than in two passes."""
    longest = int(lengths[0])
    most = max(1, TOKENS_PER_BATCH // max(1, longest))
    padding = np.cumsum(longest - lengths[:most])
    return int(np.searchsorted(padding, _TOKENS_OF_A_PASS, side="right"))


def padded(
    windows: Sequence[Window],
    plans: Sequence[Plan],
    layout: PairLayout,
    *,
    pad_token_id: int,
    num_tokens: int | None = None,
) -> tuple[IntArray, IntArray, IntArray]:
    """What a model reads of some windows: input ids, attention mask and token types, each of shape (B, T).

    Args:
        windows: B windows.
        plans: Those that the windows' `document` counts.
        layout: The special tokens of a pair.
        pad_token_id: Stands behind windows of less than T tokens.
        num_tokens: T; None is the longest window's.
    """
    rows = [
        np.concatenate([plans[number].head.ids, plans[number].document.tokens.ids[start:end], layout.after])
        for number, start, end in windows
    ]
    shape = (len(rows), num_tokens or max(map(len, rows)))
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    token_type_ids = np.zeros(shape, dtype=np.int64)
    for row, (window, ids) in enumerate(zip(windows, rows, strict=True)):
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
        token_type_ids[row, plans[window.document].head.passage_start : len(ids)] = layout.passage_type
    return input_ids, attention_mask, token_type_ids
