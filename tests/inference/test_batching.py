from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag.inference.batching import TOKENS_PER_BATCH, batches

LENGTHS = st.lists(st.integers(1, 2 * TOKENS_PER_BATCH), max_size=60)


@settings(deadline=None, derandomize=True)
@given(lengths=LENGTHS, batch_size=st.none() | st.integers(1, 9))
def test_every_window_is_in_one_batch_the_longest_first(lengths: list[int], batch_size: int | None) -> None:
    found = list(batches(lengths, batch_size))
    order = [i for batch in found for i in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert order == sorted(order, key=lambda i: (-lengths[i], i))
    for batch in found:
        if batch_size is not None:
            assert len(batch) <= batch_size
        elif len(batch) > 1:
            assert len(batch) * max(lengths[i] for i in batch) <= TOKENS_PER_BATCH


def test_sizes() -> None:
    assert list(batches([])) == []
    assert list(batches([5, 7, 5], 2)) == [[1, 0], [2]]
    half = TOKENS_PER_BATCH // 2
    assert list(batches([half, half, half, half + 1])) == [[3], [0, 1], [2]]


def test_windows_share_a_batch_where_that_is_little_padding() -> None:
    assert list(batches([40, 100, 35, 98, 30])) == [[1, 3], [0, 2, 4]]
    assert list(batches([40, 100, 35, 98, 30], 3)) == [[1, 3, 0], [2, 4]]


@settings(deadline=None, derandomize=True)
@given(lengths=LENGTHS)
def test_padding_is_rare(lengths: list[int]) -> None:
    for batch in batches(lengths):
        assert sum(max(lengths[i] for i in batch) - lengths[j] for j in batch) <= 32


def test_a_window_without_tokens_is_run_as_well() -> None:
    assert list(batches([0, 0, 3], 1)) == [[2], [0], [1]]
