"""Rounding a matrix of weights so that its products change least.

Rounding each weight to the nearest step does not give the closest product: if features are correlated, the
errors of their weights can cancel out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["corrected_bias", "round_matrix"]

_Floats = NDArray[np.floating]

_BLOCK = 64
"""Rows between two updates of all later rows. It only affects speed."""

_DAMPING = 0.01
"""Added to the squares of features, as a share of their mean, since a sample says little about rare ones."""


def round_matrix(
    weights: _Floats, products: NDArray[np.float64], largest: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a matrix to integers with a scale per column by GPTQ (Frantar et al. 2023, arXiv 2210.17323).

    Rows are rounded one after another, those of the largest features first. The rows not yet rounded
    compensate for the change of the product, as far as their features are correlated.

    Args:
        weights: Shape (in, out).
        products: The sum of x_i x_j over all tokens of a sample, where x is the input; shape (in, in).
        largest: Integers are between minus this and this.

    Returns:
        The integers, shape (in, out), and the scales, shape (out,).
    """
    scale = np.abs(weights).max(axis=0) / largest  # (out,)
    scale[scale == 0] = 1.0
    squares = np.diag(products)
    order = np.argsort(-squares, kind="stable")
    damped = products[np.ix_(order, order)] + np.eye(len(order)) * (_DAMPING * squares.mean() or 1.0)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T  # (in, in), upper triangular
    left = weights[order].astype(np.float64)  # the rows to round, with compensation
    integers = np.empty_like(left)
    for start in range(0, len(left), _BLOCK):
        block = slice(start, start + _BLOCK)
        errors = np.zeros_like(left[block])
        for row, error in enumerate(errors, start):
            integers[row] = np.clip(np.round(left[row] / scale), -largest, largest)
            error[:] = (left[row] - integers[row] * scale) / factor[row, row]
            left[row + 1 : block.stop] -= np.outer(factor[row, row + 1 : block.stop], error)
        left[block.stop :] -= factor[block, block.stop :].T @ errors
    unordered = np.empty_like(integers)
    unordered[order] = integers
    return unordered.astype(np.int8), scale.astype(np.float32)


def corrected_bias(
    bias: _Floats, weights: _Floats, rounded_weights: _Floats, mean: _Floats, rounded_mean: _Floats
) -> NDArray[np.float32]:
    """Change a bias so that the mean of the output stays the same (Nagel et al. 2019, arXiv 1906.04721).

    Args:
        bias: Shape (out,).
        weights: Shape (in, out).
        rounded_weights: The weights after rounding, shape (in, out).
        mean: The mean of the inputs on a sample, shape (in,).
        rounded_mean: The mean of the rounded inputs, shape (in,).

    Returns:
        The new bias, shape (out,).
    """
    corrected = bias + mean @ weights - rounded_mean @ rounded_weights
    return np.asarray(corrected, dtype=np.float32)
