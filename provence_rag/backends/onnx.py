"""ONNX Runtime: the default on a CPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from provence_rag.backends.base import IntArray, Logits
from provence_rag.errors import CheckpointError

__all__ = ["OnnxBackend"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OnnxBackend:
    """Runs an exported checkpoint with ONNX Runtime.

    Args:
        path: An `.onnx` file with some of the inputs `input_ids`, `attention_mask` and `token_type_ids`, and
            with the outputs `ranking_logits` (B,) or `pruning_logits` (B, T, 2) or both. The one output
            `logits` of stock exports is read as well: (B, 1) of a reranker, (B, T, 2) of a token classifier.
        threads: Threads of one pass; None leaves it to ONNX Runtime (one a core).

    Raises:
        CheckpointError: The file cannot be read, or is no such model.
    """

    name = "onnx"
    device = "cpu"

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                # What it fuses addition and normalisation into takes three times as long as the two.
                disabled_optimizers=["SkipLayerNormFusion"],
            )
        except Exception as error:  # the library's exceptions have no public base class
            raise CheckpointError(f"{path} cannot be loaded by ONNX Runtime: {error}") from error
        self._inputs = [node.name for node in self._session.get_inputs()]
        if unknown := set(self._inputs) - set(_INPUTS):
            raise CheckpointError(f"{path} has inputs that are unknown here: {', '.join(sorted(unknown))}")
        num_axes = {node.name: len(node.shape) for node in self._session.get_outputs()}
        stock = num_axes.get("logits")
        self._ranking = "ranking_logits" if "ranking_logits" in num_axes else "logits" if stock == 2 else None
        self._pruning = "pruning_logits" if "pruning_logits" in num_axes else "logits" if stock == 3 else None
        if self._ranking is None and self._pruning is None:
            raise CheckpointError(
                f"{path} has neither ranking_logits nor pruning_logits, but {', '.join(num_axes)}"
            )

    def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
        """One forward pass; see `Backend.run`."""
        arrays = dict(zip(_INPUTS, (input_ids, attention_mask, token_type_ids), strict=True))
        names = [name for name in (self._ranking, self._pruning) if name is not None]
        outputs = self._session.run(names, {name: arrays[name] for name in self._inputs})
        logits = dict(zip(names, outputs, strict=True))
        return Logits(
            None if self._ranking is None else logits[self._ranking].reshape(len(input_ids)),
            None if self._pruning is None else logits[self._pruning],
        )
