"""ONNX Runtime: the default on a CPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from provence_rag.backends.exported_graph import GraphNames
from provence_rag.errors import CheckpointError
from provence_rag.inference.arrays import IntArray
from provence_rag.inference.backend import Logits
from provence_rag.inference.batching import TOKENS_PER_BATCH

__all__ = ["OnnxBackend"]

# ONNX Runtime keeps the memory of its largest pass. With this option it gives the memory back, which is used
# after passes larger than our own batches (24 windows of 512 tokens: 459 of 563 MB, for 10 % more time).
_SHRINKING = onnxruntime.RunOptions()
_SHRINKING.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")


class OnnxBackend:
    """Runs an exported checkpoint with ONNX Runtime.

    Args:
        path: An `.onnx` file with the inputs and outputs of `GraphNames`.
        threads: Threads of a forward pass; None leaves it to ONNX Runtime (one per core).

    Raises:
        CheckpointError: The file cannot be read, or is another kind of model.
    """

    name = "onnx"
    device = "cpu"
    pad_to_multiple_of = 1

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                # Fused, addition and normalisation take three times as long as apart.
                disabled_optimizers=["SkipLayerNormFusion"],
            )
        except Exception as error:  # the library's exceptions have no public base class
            raise CheckpointError(f"{path} cannot be loaded by ONNX Runtime: {error}") from error
        inputs = [node.name for node in self._session.get_inputs()]
        num_axes = {node.name: len(node.shape) for node in self._session.get_outputs()}
        self._names = GraphNames.of(path, inputs, num_axes)

    def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
        """One forward pass; see `Backend.run`."""
        names = self._names.outputs
        inputs = self._names.feed(input_ids, attention_mask, token_type_ids)
        outputs = self._session.run(names, inputs, _SHRINKING if input_ids.size > TOKENS_PER_BATCH else None)
        return self._names.logits(dict(zip(names, outputs, strict=True)))
