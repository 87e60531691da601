"""OpenVINO: the fastest backend on a CPU that multiplies 8-bit integers (VNNI)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provence_rag.backends.exported_graph import GraphNames
from provence_rag.errors import CheckpointError, MissingExtraError
from provence_rag.inference.arrays import IntArray
from provence_rag.inference.backend import Logits

try:
    import openvino
except ModuleNotFoundError as error:
    raise MissingExtraError("backend='openvino'", "openvino") from error

__all__ = ["OpenVinoBackend"]


class OpenVinoBackend:
    """Runs an exported checkpoint with OpenVINO.

    Args:
        path: An `.xml` file with the inputs and outputs of `GraphNames`; a `.bin` beside it has the weights.
        threads: Threads of a forward pass; None leaves it to OpenVINO (one per core).

    Raises:
        CheckpointError: The files cannot be read, or are another kind of model.
    """

    name = "openvino"
    device = "cpu"
    # Kernels are compiled for each shape, and are slower on lengths in between: padding costs less.
    pad_to_multiple_of = 16

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",  # all threads work on one batch
            "INFERENCE_PRECISION_HINT": "f32",  # not bfloat16 on CPUs that have it: results would differ
            "INFERENCE_NUM_THREADS": threads or 0,
        }
        try:
            self._model = openvino.Core().compile_model(str(path), "CPU", settings)
            inputs = [port.get_any_name() for port in self._model.inputs]
            num_axes = {
                port.get_any_name(): port.get_partial_shape().rank.get_length()
                for port in self._model.outputs
            }
        except (
            Exception
        ) as error:  # the library raises plain RuntimeError, and what its bindings turn C++ exceptions into
            raise CheckpointError(f"{path} cannot be loaded by OpenVINO: {error}") from error
        self._names = GraphNames.of(path, inputs, num_axes)
        # A request serves one caller at a time. There are as many as there were concurrent callers at most.
        self._idle: list[Any] = []

    def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
        """One forward pass; see `Backend.run`."""
        try:
            request = self._idle.pop()  # atomic, so that no lock is needed
        except IndexError:
            request = self._model.create_infer_request()
        inputs = self._names.feed(input_ids, attention_mask, token_type_ids)
        outputs = request.infer(inputs, share_outputs=False)  # copies, which the next call does not overwrite
        self._idle.append(request)
        return self._names.logits({name: outputs[name] for name in self._names.outputs})
