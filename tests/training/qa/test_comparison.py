"""Paired differences with their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from provence_training.qa.comparison import paired_difference


def test_the_interval_is_that_of_the_normal_distribution_for_many_questions() -> None:
    draws = np.random.default_rng(1)
    reference = draws.integers(0, 2, size=4000).astype(np.float64)
    values = np.where(draws.random(4000) < 0.1, 1 - reference, reference)
    difference = paired_difference(values, reference)
    apart = values - reference
    assert difference.mean == pytest.approx(apart.mean())
    half = 1.96 * apart.std() / np.sqrt(4000)
    assert difference.low == pytest.approx(apart.mean() - half, abs=half / 10)
    assert difference.high == pytest.approx(apart.mean() + half, abs=half / 10)


def test_questions_are_paired() -> None:
    """Figures that vary much and always differ by the same have an interval of no width."""
    reference = np.arange(20.0)
    difference = paired_difference(reference + 2, reference)
    assert (difference.mean, difference.low, difference.high) == (2.0, 2.0, 2.0)


def test_the_same_values_give_the_same_interval() -> None:
    values, reference = np.random.default_rng(0).random((2, 50))
    assert paired_difference(values, reference) == paired_difference(values, reference)
    assert paired_difference(values, reference) != paired_difference(values, reference, seed=1)


def test_one_question() -> None:
    difference = paired_difference(np.array([1.0]), np.array([0.0]))
    assert (difference.mean, difference.low, difference.high) == (1.0, 1.0, 1.0)
