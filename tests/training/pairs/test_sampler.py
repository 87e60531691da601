"""Which pairs meet in a batch."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.pair_encoder import PairEncoder
from provence_training.learning.collator import Example, example_pairs
from provence_training.pairs.pair_set import PairSet
from provence_training.pairs.sampler import TokenBatchSampler

MakePairs = Callable[..., PairSet]


@pytest.fixture
def make_pairs(tokenizer: PairTokenizer) -> MakePairs:
    encoder = PairEncoder(tokenizer, ProvenceConfig(max_length=256))

    def make(lengths: Sequence[int], group: int = 1) -> PairSet:
        """Pairs with the given numbers of words; `group` consecutive pairs share a question."""
        examples = [
            Example(query=f"q {i // group}", document="cat " * length) for i, length in enumerate(lengths)
        ]
        return example_pairs(examples, encoder)

    return make


def epoch(batches: TokenBatchSampler, number: int) -> list[list[int]]:
    batches.set_epoch(number)
    return list(batches)


def random_lengths(count: int, longest: int = 100) -> list[int]:
    rng = random.Random(0)
    return [rng.randint(1, longest) for _ in range(count)]


def test_every_epoch_has_an_order_of_its_own(make_pairs: MakePairs) -> None:
    pairs = make_pairs(random_lengths(200))
    first, second = (TokenBatchSampler(pairs, 500, seed=3) for _ in range(2))
    epochs = [epoch(first, number) for number in (0, 1, 2)]
    assert [epoch(second, number) for number in (2, 1, 0)] == epochs[::-1]
    assert epochs[0] != epochs[1] != epochs[2]
    for batches in epochs:
        assert len(batches) == len(first)
        assert sorted(index for batch in batches for index in batch) == list(range(200))
    assert {tuple(sorted(b)) for b in epochs[0]} != {tuple(sorted(b)) for b in epochs[1]}
    assert epoch(TokenBatchSampler(pairs, 500, seed=4), 0) != epochs[0]


@pytest.mark.parametrize("group", [1, 3])
def test_batches_have_a_number_of_tokens(make_pairs: MakePairs, group: int) -> None:
    pairs = make_pairs(random_lengths(600), group)
    batches = epoch(TokenBatchSampler(pairs, 1000), 0)
    padded = [len(batch) * int(pairs.lengths[batch].max()) for batch in batches]
    assert max(padded) <= 1000
    assert sum(padded) / len(padded) > 800
    if group == 1:
        assert sum(padded) < 1.15 * pairs.lengths.sum()
    longest = [int(pairs.lengths[batch].max()) for batch in batches]
    assert longest != sorted(longest)


def test_what_one_question_meets_is_together(make_pairs: MakePairs) -> None:
    pairs = make_pairs(random_lengths(120), 4)
    for batch in epoch(TokenBatchSampler(pairs, 600), 1):
        assert set(Counter(pairs.groups[batch]).values()) == {4}


def test_a_group_that_does_not_fit_comes_in_parts(make_pairs: MakePairs) -> None:
    pairs = make_pairs([20] * 50, 50)
    tokens = 4 * int(pairs.lengths[0])
    batches = epoch(TokenBatchSampler(pairs, tokens), 0)
    assert sorted(map(len, batches)) == [2] + [4] * 12
    assert sorted(map(len, epoch(TokenBatchSampler(pairs, 1), 0))) == [1] * 50


@pytest.mark.parametrize("processes", [2, 3])
def test_each_process_has_a_share(make_pairs: MakePairs, processes: int) -> None:
    pairs = make_pairs(random_lengths(100))
    whole = epoch(TokenBatchSampler(pairs, 500), 1)
    shares = []
    for rank in range(processes):
        batches = TokenBatchSampler(pairs, 500, rank=rank, num_processes=processes)
        shares.append(epoch(batches, 1))
        assert len(shares[-1]) == len(batches) == -(-len(whole) // processes)
    together = [share[i] for i in range(len(shares[0])) for share in shares]
    assert together[: len(whole)] == whole
    assert together[len(whole) :] == whole[: len(together) - len(whole)]


def test_lengths_are_those_of_the_rows(make_pairs: MakePairs) -> None:
    pairs = make_pairs([3, 500, 1])
    rows = pairs.rows([0, 1, 2])
    np.testing.assert_array_equal(rows.lengths.sum(1).numpy(), pairs.lengths)
    assert rows.num_tokens == pairs.lengths.max() == 256
