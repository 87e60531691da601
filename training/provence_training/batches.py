"""Which examples meet in a batch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

from provence_training.collator import Example

__all__ = ["StepSampler"]

_SLICES = 50
"""Examples of similar length are put together among so many slices drawn at random."""


class StepSampler(Sampler[int]):
    """Slices of examples of similar length, in an order of their own for each epoch.

    Args:
        examples: What to draw from, at least one.
        size: Examples of a slice: what one step of the optimizer sees.
        seed: Decides the order, together with the epoch.
        keep_queries: Whether examples with the same query stay together, as far as they fit into a slice.
    """

    def __init__(self, examples: Sequence[Example], size: int, *, seed: int, keep_queries: bool) -> None:
        groups: dict[str | int, list[int]] = {}
        for index, example in enumerate(examples):
            groups.setdefault(example.query if keep_queries else index, []).append(index)
        self._groups = list(groups.values())
        # In UTF-8 bytes: nearly proportional to tokens in every language.
        self._lengths = [len(e.query.encode()) + len(e.document.encode()) for e in examples]
        self._size = size
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self._seed} {self._epoch}")
        indices: list[int] = []
        pool: list[list[int]] = []
        room = self._size * _SLICES
        for group in rng.sample(self._groups, len(self._groups)):
            pool.append(group)
            room -= len(group)
            if room <= 0:
                indices += self._by_length(pool)
                pool, room = [], self._size * _SLICES
        indices += self._by_length(pool)
        slices = [indices[i : i + self._size] for i in range(0, len(indices), self._size)]
        short = slices.pop() if len(slices[-1]) < self._size else []
        rng.shuffle(slices)
        return iter([index for each in [*slices, short] for index in each])

    def _by_length(self, groups: list[list[int]]) -> list[int]:
        longest_first = sorted(groups, key=lambda group: -max(self._lengths[i] for i in group))
        return [index for group in longest_first for index in group]
