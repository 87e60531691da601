"""The types of arrays: numbers are int64 and float64, except what a model gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatArray", "IntArray", "LogitArray", "Mask"]

IntArray = NDArray[np.int64]

Mask = NDArray[np.bool_]

FloatArray = NDArray[np.float64]

LogitArray = NDArray[np.float32]
"""What a model gives, in single precision."""
