"""Rounding a matrix of weights so that its products change least.

Rounding each weight to the nearest step does not keep a product closest: where features go along with each
other, the errors of their weights can cancel each other out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["corrected_bias", "round_matrix"]

_Floats = NDArray[np.floating]

_BLOCK = 64
"""Rows between two updates of all rows that follow. It changes speed alone."""

_DAMPING = 0.01
"""Added to the squares of features, as a share of their mean: a sample tells little about rare ones."""


def round_matrix(
    weights: _Floats, products: NDArray[np.float64], largest: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a matrix to integers with a scale a column by GPTQ (Frantar et al. 2023, arXiv 2210.17323).

    Rows are rounded one after the other, those of the largest features first; what rounding a row changes in
    the product is made up for by the rows that are still to be rounded, as far as their features go along.

    Args:
        weights: Shape (in, out).
        products: Of the inputs on a sample: the sum over all tokens of x_i x_j, shape (in, in).
        largest: Integers lie within plus and minus this.

    Returns:
        The integers, shape (in, out), and the scales, shape (out,).
    """
    scale = np.abs(weights).max(axis=0) / largest  # (out,)
    scale[scale == 0] = 1.0
    squares = np.diag(products)
    order = np.argsort(-squares, kind="stable")
    damped = products[np.ix_(order, order)] + np.eye(len(order)) * (_DAMPING * squares.mean() or 1.0)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T  # (in, in), upper triangular
    left = weights[order].astype(np.float64)  # what is to be rounded, with what is made up for
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
    """Move a bias so that the mean of the sum is what it was (Nagel et al. 2019, arXiv 1906.04721).

    Args:
        bias: Shape (out,).
        weights: Shape (in, out).
        rounded_weights: What they became, shape (in, out).
        mean: Of the inputs on a sample, shape (in,).
        rounded_mean: Of what the inputs became, shape (in,).

    Returns:
        Shape (out,).
    """
    corrected = bias + mean @ weights - rounded_mean @ rounded_weights
    return np.asarray(corrected, dtype=np.float32)
