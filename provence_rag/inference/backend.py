"""What the engine needs of a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Backend", "FloatArray", "IntArray", "Logits"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Logits:
    """What a batch of B windows with T tokens gives."""

    ranking: FloatArray | None
    """Relevance logits, shape (B,); None without a ranking head."""

    pruning: FloatArray | None
    """Drop and keep logits of every token, shape (B, T, 2); None without a pruning head."""


class Backend(Protocol):
    """Runs a checkpoint. May be called from several threads at once."""

    name: str
    """`onnx`, `torch`, ..."""

    pad_to_multiple_of: int
    """Batches are padded to such a number of tokens, as far as windows may be that long; 1 if any will do."""

    @property
    def device(self) -> str:
        """Where it runs: `cpu`, `cuda:0`, ..."""
        ...

    def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
        """One forward pass; all arguments have shape (B, T)."""
        ...
