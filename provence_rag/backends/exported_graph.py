"""The inputs and outputs of an exported model, whichever backend runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from provence_rag.errors import CheckpointError
from provence_rag.inference.arrays import IntArray, LogitArray
from provence_rag.inference.backend import Logits

__all__ = ["GraphNames"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class GraphNames:
    """The inputs that a graph takes, and the outputs that are read."""

    inputs: tuple[str, ...]
    """Some of `input_ids`, `attention_mask` and `token_type_ids`, each of shape (B, T)."""

    ranking: str | None
    """`ranking_logits` (B,), or the stock reranker's `logits` (B, 1)."""

    pruning: str | None
    """`pruning_logits` (B, T, 2), or the stock token classifier's `logits` (B, T, 2)."""

    @classmethod
    def of(cls, path: Path, inputs: Sequence[str], num_axes: Mapping[str, int]) -> GraphNames:
        """Find the names.

        Args:
            path: The file, for messages.
            inputs: Names of all inputs.
            num_axes: Output -> its number of axes.

        Raises:
            CheckpointError: The graph has unknown inputs, or no outputs that can be read.
        """
        if unknown := set(inputs) - set(_INPUTS):
            raise CheckpointError(f"{path} has unknown inputs: {', '.join(sorted(unknown))}")
        stock = num_axes.get("logits")
        ranking = "ranking_logits" if "ranking_logits" in num_axes else "logits" if stock == 2 else None
        pruning = "pruning_logits" if "pruning_logits" in num_axes else "logits" if stock == 3 else None
        if ranking is None and pruning is None:
            raise CheckpointError(
                f"{path} has neither the output ranking_logits nor pruning_logits, only {', '.join(num_axes)}"
            )
        return cls(tuple(inputs), ranking, pruning)

    @property
    def outputs(self) -> list[str]:
        """The outputs that are read."""
        return [name for name in (self.ranking, self.pruning) if name is not None]

    def feed(
        self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray
    ) -> dict[str, IntArray]:
        """The inputs that the graph takes, by name; the arguments are those of `Backend.run`."""
        arrays = dict(zip(_INPUTS, (input_ids, attention_mask, token_type_ids), strict=True))
        return {name: arrays[name] for name in self.inputs}

    def logits(self, outputs: Mapping[str, LogitArray]) -> Logits:
        """The logits, from the arrays of `self.outputs`."""
        ranking = None if self.ranking is None else outputs[self.ranking]
        pruning = None if self.pruning is None else outputs[self.pruning]
        return Logits(None if ranking is None else ranking.reshape(len(ranking)), pruning)
