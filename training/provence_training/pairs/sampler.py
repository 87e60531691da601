"""Which pairs meet in a batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from provence_training.pairs.pair_set import PairSet

__all__ = ["TokenBatchSampler"]

IntArray = NDArray[np.int64]

_PADDING = 0.1
"""Pairs meet in random batches with all that are not shorter by more than this share."""


class TokenBatchSampler(Sampler[list[int]]):
    """Batches of pairs of similar length, in an order of their own for each epoch.

    Pairs of one group are in one batch, if they fit into it. Every epoch has as many batches, and each
    process of a distributed run takes as many of them.

    Args:
        pairs: What to draw from, at least one.
        tokens: Most tokens of a batch, padding included; a pair that has more is a batch of its own.
        seed: Decides the order, together with the epoch.
        rank: Which process this is.
        num_processes: Of how many.
    """

    def __init__(
        self,
        pairs: PairSet,
        tokens: int,
        *,
        seed: int = 0,
        rank: int = 0,
        num_processes: int = 1,
    ) -> None:
        self._groups = _groups(pairs, tokens)
        longest = np.array([pairs.lengths[group].max() for group in self._groups])
        sizes = np.array([len(group) for group in self._groups])
        # Shuffled before: groups that are alike are no neighbours for being neighbours in the data.
        order = np.random.default_rng(seed).permutation(len(sizes))
        self._order = order[np.lexsort((-longest[order], -sizes[order]))]
        self._runs = _runs(sizes[self._order], longest[self._order], tokens)
        self._count = sum(-(-(end - start) // size) for start, end, size in self._runs)
        self._seed = seed
        self._rank, self._num_processes = rank, num_processes
        self._epoch = 0

    def __len__(self) -> int:
        return -(-self._count // self._num_processes)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self._seed, self._epoch])
        batches: list[IntArray] = []
        for start, end, size in self._runs:
            groups = rng.permutation(self._order[start:end])
            batches += [groups[i : i + size] for i in range(0, len(groups), size)]
        order = rng.permutation(len(batches))
        # As many for each process: those at the start come twice where they do not divide.
        order = np.resize(order, len(self) * self._num_processes)
        for number in order[self._rank :: self._num_processes].tolist():
            yield np.concatenate([self._groups[group] for group in batches[number]]).tolist()


def _groups(pairs: PairSet, tokens: int) -> list[IntArray]:
    """The pairs of each group; groups that are too large for a batch in parts."""
    together = np.argsort(pairs.groups, kind="stable")
    starts = np.flatnonzero(np.diff(pairs.groups[together], prepend=-1))
    parts: list[IntArray] = []
    for group in np.split(together, starts[1:]):
        most = max(1, tokens // int(pairs.lengths[group].max()))
        parts += [group] if len(group) <= most else np.split(group, range(most, len(group), most))
    return parts


def _runs(sizes: IntArray, lengths: IntArray, tokens: int) -> list[tuple[int, int, int]]:
    """Runs of groups that may meet, and how many a batch takes of each.

    All batches of a run are full, as far as there are groups left; so there are as many in every epoch.

    Args:
        sizes: Pairs of each group, largest first.
        lengths: Tokens of each group's longest pair, longest first among those of a size.
        tokens: Most tokens of a batch.
    """
    runs: list[tuple[int, int, int]] = []
    start = 0
    while start < len(lengths):
        size = max(1, tokens // int(lengths[start] * sizes[start]))
        last = int(np.searchsorted(-sizes, -sizes[start], "right"))
        shortest = (1 - _PADDING) * lengths[start]
        similar = int(np.searchsorted(-lengths[start:last], -shortest, "right"))
        end = min(start + -(-similar // size) * size, last)
        runs.append((start, end, size))
        start = end
    return runs
