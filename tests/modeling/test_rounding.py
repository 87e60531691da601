"""Matrices rounded to few bits, by what they do to products."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from provence_rag.modeling.rounding import corrected_bias, round_matrix

Floats = NDArray[np.float64]


@pytest.fixture
def inputs() -> Floats:
    """Features that go along with each other, as those of a transformer do; shape (tokens, features)."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(2000, 24)) @ rng.normal(size=(24, 96)) + rng.normal(size=(2000, 96))


@pytest.fixture
def weights() -> Floats:
    return np.random.default_rng(1).normal(size=(96, 40))


def nearest(weights: Floats, largest: int) -> Floats:
    scale = np.abs(weights).max(axis=0) / largest
    return np.asarray(np.round(weights / scale) * scale)


@pytest.mark.parametrize("largest", [7, 64])
def test_products_stay_closer_than_with_weights_rounded_to_the_nearest(
    inputs: Floats, weights: Floats, largest: int
) -> None:
    integers, scale = round_matrix(weights, inputs.T @ inputs, largest)
    assert integers.dtype == np.int8
    assert np.abs(integers).max() <= largest
    error, plain = (
        np.square(inputs @ (found - weights)).mean()
        for found in (integers * scale, nearest(weights, largest))
    )
    assert error < 0.5 * plain


def test_inputs_that_do_not_go_along_leave_nothing_to_make_up_for(weights: Floats) -> None:
    integers, scale = round_matrix(weights, np.diag(np.linspace(1.0, 2.0, 96)), 64)
    np.testing.assert_allclose(integers * scale, nearest(weights, 64), atol=1e-6)


def test_features_and_columns_of_zeros_are_rounded_too(inputs: Floats, weights: Floats) -> None:
    inputs, weights = inputs.copy(), weights.copy()
    inputs[:, 3], weights[:, 5] = 0.0, 0.0
    integers, scale = round_matrix(weights, inputs.T @ inputs, 64)
    assert np.isfinite(scale).all()
    assert not integers[:, 5].any()
    unseen, _ = round_matrix(weights, np.zeros((96, 96)), 64)
    assert np.abs(unseen).max() == 64


def test_a_corrected_bias_keeps_the_mean(inputs: Floats, weights: Floats) -> None:
    inputs, bias = inputs + 0.3, np.linspace(-1.0, 1.0, 40)
    rounded_inputs, rounded_weights = np.clip(inputs, -3.0, 2.0), nearest(weights, 7)
    exact = inputs @ weights + bias
    assert np.abs((rounded_inputs @ rounded_weights + bias - exact).mean(axis=0)).max() > 0.1
    corrected = corrected_bias(
        bias, weights, rounded_weights, inputs.mean(axis=0), rounded_inputs.mean(axis=0)
    )
    np.testing.assert_allclose(
        (rounded_inputs @ rounded_weights + corrected - exact).mean(axis=0), 0.0, atol=1e-5
    )
