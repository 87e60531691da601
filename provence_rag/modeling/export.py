"""ONNX export with both outputs, in float32."""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from provence_rag.errors import CheckpointError, MissingExtraError
from provence_rag.modeling.model import ProvenceModel

try:
    import torch
    from onnxruntime import InferenceSession, SessionOptions
    from onnxruntime.transformers.fusion_options import AttentionMaskFormat, FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model
    from torch import Tensor, nn
except ModuleNotFoundError as error:  # pragma: no cover - exercised in an environment without onnx
    raise MissingExtraError("Exporting to ONNX", "export") from error

__all__ = ["export_onnx", "trace_onnx"]

_OPSET = 17
_LARGEST_FILE = 2_000_000_000
"""Bytes of weights that one file holds: the format allows 2 GiB. More go into a second file beside it."""

_TOLERANCE = 1e-3
"""Logits of a right export differ by some 1e-6, those of a wrong one by much more than this."""


class _Exportable(nn.Module):
    """A float32 copy of a model on the CPU, with the outputs it has as a tuple."""

    def __init__(self, model: ProvenceModel) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to("cpu", torch.float32)
        # The form of attention that ONNX Runtime's optimizer recognises.
        self.model.transformer.set_attn_implementation("eager")
        self.eval()
        config = model.provence_config
        self.inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * model.uses_token_types
        self.outputs = ["ranking_logits"] * config.can_rank + ["pruning_logits"] * config.can_prune

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(output for output in self.model(*inputs) if output is not None)


def export_onnx(model: ProvenceModel, path: str | Path) -> None:
    """Write a float32 ONNX file for the ONNX Runtime backend, and check that it gives what the model gives.

    Attention, layer normalisation and GELU are fused into ONNX Runtime's own operators where its optimizer
    knows the architecture (BERT, RoBERTa and XLM-RoBERTa wholly; of others, what it finds).

    Args:
        model: The model; it stays as it is, on its device and in its mode.
        path: The file to write; weights of more than 2 GB go into `{path}.data`.

    Raises:
        CheckpointError: The architecture cannot be exported.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    exportable = _Exportable(model)
    with tempfile.TemporaryDirectory() as directory:
        traced = Path(directory) / "traced.onnx"
        _trace(exportable, traced)
        is_large = sum(4 * tensor.numel() for tensor in model.state_dict().values()) > _LARGEST_FILE
        _fuse(traced, path, model.transformer.config, is_large=is_large)
    _check(path, exportable)


def trace_onnx(model: ProvenceModel, path: Path) -> None:
    """Write a float32 ONNX file of standard operators, and check that it gives what the model gives.

    Args:
        model: The model; it stays as it is.
        path: The file to write. Weights of more than 2 GB go into files beside it.

    Raises:
        CheckpointError: The architecture cannot be exported.
    """
    exportable = _Exportable(model)
    _trace(exportable, path)
    _check(path, exportable)


def _trace(exportable: _Exportable, path: Path) -> None:
    names = [*exportable.inputs, *exportable.outputs]
    axes = {name: {0: "batch", 1: "tokens"} for name in names}
    axes["ranking_logits"] = {0: "batch"}
    with warnings.catch_warnings():
        # The exporter warns of every Python value that it takes for a constant; `_check` tells whether one
        # of them mattered. (Exporting with dynamo=True, the newer way, needs onnxscript, takes ten times
        # longer, and gives graphs that neither the optimizer fuses nor the quantizer reads.)
        warnings.simplefilter("ignore")
        torch.onnx.export(
            exportable,
            _example(2, 16, len(exportable.inputs)),
            str(path),
            input_names=exportable.inputs,
            output_names=exportable.outputs,
            dynamic_axes={name: axes[name] for name in names},
            opset_version=_OPSET,
            dynamo=False,
        )


def _example(rows: int, tokens: int, count: int) -> tuple[Tensor, ...]:
    """The first `count` inputs, each of shape (rows, tokens): ids, a mask with padding, and token types."""
    ids = torch.arange(4, 4 + rows * tokens).reshape(rows, tokens) % 16
    mask = torch.ones_like(ids)
    mask[1:, tokens // 2 :] = 0  # with a mask of ones only, its effect could be traced away
    return (ids, mask, torch.zeros_like(ids))[:count]


def _fuse(source: Path, target: Path, config: Any, *, is_large: bool) -> None:
    options = FusionOptions("bert")
    # Embeddings stay apart, for `quantize_onnx` to store them row by row.
    options.enable_embed_layer_norm = False
    # The mask as it is: the default counts its ones, which is right for padding at the end only.
    options.attention_mask_format = AttentionMaskFormat.AttentionMask
    # Fused, addition and normalisation take three times as long; a bias beside GELU, twice as long as beside
    # the product before it, where `quantize_onnx` puts it.
    options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = False
    options.enable_bias_gelu = False
    optimized = optimize_model(
        str(source),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        opt_level=0,
        optimization_options=options,
    )
    optimized.save_model_to_file(str(target), use_external_data_format=is_large)


def _check(path: Path, exportable: _Exportable) -> None:
    """Compare with torch on a batch of another shape than the one traced."""
    settings = SessionOptions()
    settings.log_severity_level = 3
    session = InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    names, outputs = exportable.inputs, exportable.outputs
    inputs = _example(3, 29, len(names))
    with torch.inference_mode():
        expected = [output.numpy() for output in exportable(*inputs)]
    found = session.run(outputs, dict(zip(names, (x.numpy() for x in inputs), strict=True)))
    inside = inputs[1].numpy() == 1
    for name, ours, theirs in zip(outputs, found, expected, strict=True):
        difference = np.abs(ours - theirs)
        difference = float(difference[inside].max() if name == "pruning_logits" else difference.max())
        if not difference <= _TOLERANCE:
            architecture = type(exportable.model.transformer).__name__
            raise CheckpointError(
                f"{path} does not give what {architecture} gives in torch: {name} differs by {difference:.2g}"
            )
