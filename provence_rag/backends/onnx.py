"""ONNX Runtime: the default on a CPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from provence_rag.backends.base import IntArray, Logits
from provence_rag.errors import CheckpointError

__all__ = ["OnnxBackend"]


class OnnxBackend:
    """Runs an exported checkpoint with ONNX Runtime.

    Args:
        path: An `.onnx` file with inputs `input_ids`, `attention_mask` (and `token_type_ids`) and outputs
            `ranking_logits` and/or `pruning_logits`.
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
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library's exceptions have no public base class
            raise CheckpointError(f"{path} cannot be loaded by ONNX Runtime: {error}") from error
        self._inputs = {node.name for node in self._session.get_inputs()}
        self._outputs = [node.name for node in self._session.get_outputs()]
        if not {"ranking_logits", "pruning_logits"} & set(self._outputs):
            raise CheckpointError(f"{path} has neither ranking_logits nor pruning_logits, but {self._outputs}")

    def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
        """One forward pass; see `Backend.run`."""
        arrays = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
        }
        inputs = {name: array for name, array in arrays.items() if name in self._inputs}
        outputs = dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))
        return Logits(outputs.get("ranking_logits"), outputs.get("pruning_logits"))
