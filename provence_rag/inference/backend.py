"""The interface between the engine and a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from provence_rag.inference.arrays import IntArray, LogitArray

__all__ = ["Backend", "Logits"]


@dataclass(frozen=True)
class Logits:
    """The output for a batch of B windows with T tokens."""

    ranking: LogitArray | None
    """Relevance logits, shape (B,); None without a ranking head."""

    pruning: LogitArray | None
    """Drop and keep logits of every token, shape (B, T, 2); None without a pruning head."""


class Backend(Protocol):
    """Runs a checkpoint. Several threads may call it at once."""

    name: str
    """`onnx`, `torch`, ..."""

    pad_to_multiple_of: int
    """Batches are padded to a multiple of this number of tokens, up to the longest window; 1 pads to the
    longest row only."""

    @property
    def device(self) -> str:
        """Where it runs: `cpu`, `cuda:0`, ..."""
        ...

    def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
        """One forward pass; all arguments have shape (B, T)."""
        ...
