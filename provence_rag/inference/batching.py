"""Batches of windows of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from provence_rag.inference.arrays import IntArray
from provence_rag.inference.encoding import PairLayout, Window
from provence_rag.inference.planning import Plan

__all__ = ["TOKENS_PER_BATCH", "batches", "padded"]

TOKENS_PER_BATCH = 1024
"""Padded tokens in a batch if the caller sets no batch size: enough to keep a CPU's cores busy, and few
enough for the activations to fit its caches (with four times as many, int8 took a third longer on two
cores)."""

_TOKENS_OF_A_PASS = 32
"""The fixed cost of a forward pass, in tokens. If sharing a batch takes more padding than this, another pass
is cheaper. (Compared with batches as large as possible, questions with five passages are read 1.5 times as
fast, questions with 20 passages 1.2 times; int8 on two cores.)"""


def batches(lengths: Sequence[int], batch_size: int | None = None) -> Iterator[list[int]]:
    """Group windows of similar length, longest first, to keep padding low.

    With the longest first, memory peaks at the start and not in the middle of a long run.

    Args:
        lengths: Tokens of each window.
        batch_size: Windows per batch; None fills each batch up to `TOKENS_PER_BATCH` padded tokens, as long
            as its padding costs less than another batch.

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
    """How many of these windows, from the longest on, are faster to read in one pass than in two."""
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
    """The inputs for a batch of windows: input ids, attention mask and token types, each of shape (B, T).

    Args:
        windows: B windows.
        plans: All plans; the `document` of a window is an index into them.
        layout: The special tokens of a pair.
        pad_token_id: Fills windows of less than T tokens at their end.
        num_tokens: T; None is the length of the longest window.
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
