"""The sampler: which pairs are in a batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from provence_training.arrays import IntArray
from provence_training.pairs.pair_set import PairSet

__all__ = ["TokenBatchSampler"]


_PADDING = 0.1
"""Pairs of a batch may be shorter than its longest one by this share."""


class TokenBatchSampler(Sampler[list[int]]):
    """Batches of pairs of similar length, in a new order in each epoch.

    Pairs of one group are in one batch, if they fit. Every epoch has the same number of batches, and so has
    every process of a distributed run.

    Args:
        pairs: At least one pair.
        tokens: Most tokens of a batch, padding included; a pair with more is a batch by itself.
        seed: Decides the order, together with the epoch.
        rank: Number of this process.
        num_processes: Number of processes.
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
        # Shuffled first, so that neighbours in the data do not stay neighbours among groups of one length.
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
        # The same number for each process: the first batches repeat if the number does not divide.
        order = np.resize(order, len(self) * self._num_processes)
        for number in order[self._rank :: self._num_processes].tolist():
            yield np.concatenate([self._groups[group] for group in batches[number]]).tolist()


def _groups(pairs: PairSet, tokens: int) -> list[IntArray]:
    """The pairs of each group; groups that are too large for a batch are split."""
    together = np.argsort(pairs.groups, kind="stable")
    starts = np.flatnonzero(np.diff(pairs.groups[together], prepend=-1))
    parts: list[IntArray] = []
    for group in np.split(together, starts[1:]):
        most = max(1, tokens // int(pairs.lengths[group].max()))
        parts += [group] if len(group) <= most else np.split(group, range(most, len(group), most))
    return parts


def _runs(sizes: IntArray, lengths: IntArray, tokens: int) -> list[tuple[int, int, int]]:
    """Runs of groups that may share a batch, and how many of them a batch takes.

    All batches of a run but the last are full, so every epoch has the same number of them.

    Args:
        sizes: Pairs of each group, largest first.
        lengths: Tokens of each group's longest pair, longest first among groups of one size.
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
