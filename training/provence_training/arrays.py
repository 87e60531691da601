"""The types of arrays: the library's, and those in which training data are stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from provence_rag.inference.arrays import FloatArray, IntArray

__all__ = ["Array", "BoolArray", "Float32Array", "FloatArray", "IntArray"]

Array = NDArray[Any]

BoolArray = NDArray[np.bool_]

Float32Array = NDArray[np.float32]
"""What models give, and labels and scores as they are stored."""
