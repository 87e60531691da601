"""Which examples meet in a batch."""

from __future__ import annotations

import random

import pytest
import torch

from provence_training.batches import StepSampler
from provence_training.collator import Example


def order(sampler: StepSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_every_epoch_has_an_order_of_its_own() -> None:
    examples = [Example(query="q", document="the cat " * (i % 7)) for i in range(42)]
    first, second = (StepSampler(examples, 8, seed=3, keep_queries=False) for _ in range(2))
    assert len(first) == 42
    torch.manual_seed(5)
    orders = [order(first, epoch) for epoch in (0, 1, 2)]
    torch.manual_seed(6)
    assert [order(second, epoch) for epoch in (2, 1, 0)] == orders[::-1]
    assert orders[0] != orders[1] != orders[2]
    assert all(sorted(each) == list(range(42)) for each in orders)
    assert order(StepSampler(examples, 8, seed=4, keep_queries=False), 0) != orders[0]


@pytest.mark.parametrize("count", [320, 1003])
def test_slices_hold_examples_of_similar_length_in_any_order(count: int) -> None:
    rng = random.Random(0)
    examples = [Example(query="q", document="猫" * rng.randint(1, 60)) for _ in range(count)]
    lengths = [len(examples[i].document) for i in StepSampler(examples, 8, seed=3, keep_queries=False)]
    slices = [lengths[i : i + 8] for i in range(0, count, 8)]
    assert sum(max(each) - min(each) for each in slices) / len(slices) < 10
    firsts = [each[0] for each in slices]
    assert firsts != sorted(firsts, reverse=True)


def test_queries_stay_together() -> None:
    examples = [Example(query=f"q{i % 20}", document="the cat " * (i % 9)) for i in range(80)]
    sampler = StepSampler(examples, 8, seed=3, keep_queries=True)
    for epoch in (0, 1):
        indices = order(sampler, epoch)
        assert sorted(indices) == list(range(80))
        for start in range(0, 80, 8):
            assert len({examples[i].query for i in indices[start : start + 8]}) == 2
