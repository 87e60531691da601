"""OpenVINO export, int8: post-training quantization with NNCF."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from provence_rag.errors import InvalidInputError, MissingExtraError
from provence_rag.inference.arrays import IntArray
from provence_rag.modeling.model import ProvenceModel

try:
    import nncf
    import openvino

    from provence_rag.modeling.export import trace_onnx
except ImportError as error:
    raise MissingExtraError("Exporting to OpenVINO", "export-openvino") from error

__all__ = ["export_openvino"]

_SMOOTHING = 0.7
"""How much of the outliers of activations moves into the weights (SmoothQuant, arXiv 2211.10438). The best
for the bundled model: its keep probabilities differ from those of float32 by 0.0035; with NNCF's default of
0.95 by 0.0042, with 0.5 by 0.0077."""


def export_openvino(
    model: ProvenceModel, path: str | Path, batches: Sequence[Mapping[str, IntArray]]
) -> None:
    """Write an int8 model for the OpenVINO backend.

    The encoder's matrices and embeddings are stored as 8-bit integers with a scale per row. The activations
    that the matrices multiply have fixed scales, so a window's scores do not depend on the rest of its batch.
    The heads are small and stay float32.

    Args:
        model: The model; it stays as it is.
        path: The `.xml` file to write; the weights go into a `.bin` file beside it.
        batches: Typical inputs, on which the scales are measured: `input_ids`, `attention_mask` and
            `token_type_ids`, each of shape (B, T). Those that the model does not take are ignored.

    Raises:
        InvalidInputError: There are no batches.
        CheckpointError: The architecture cannot be exported.
    """
    if not batches:
        raise InvalidInputError("batches is empty: pass typical inputs, on which scales are measured")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(sys.stderr):  # progress bars
        traced = Path(directory) / "traced.onnx"
        trace_onnx(model, traced)
        graph = openvino.Core().read_model(traced)
        names = [port.get_any_name() for port in graph.inputs]
        quantized = nncf.quantize(
            graph,
            nncf.Dataset(batches, lambda batch: {name: batch[name] for name in names}),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=_SMOOTHING)
            ),
            ignored_scope=nncf.IgnoredScope(patterns=[_heads(model)], validate=False),
        )
        openvino.save_model(quantized, path, compress_to_fp16=False)


def _heads(model: ProvenceModel) -> str:
    """A pattern for the names of a traced graph's nodes outside the encoder; the pooler counts as a head."""
    return rf"/model/(?!transformer/{model.transformer.base_model_prefix}/(?!pooler/)).+"
