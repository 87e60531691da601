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
"""Bytes of weights in one file, since the format allows 2 GiB. More go into a second file beside it."""

_TOLERANCE = 1e-3
"""The logits of a correct export differ by about 1e-6, those of an incorrect one by much more than this."""


class _Exportable(nn.Module):
    """A float32 copy of a model on the CPU, which returns its outputs as a tuple."""

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
    """Write a float32 ONNX file for the ONNX Runtime backend, and check that its outputs are the model's.

    Attention, layer normalisation and GELU are fused into ONNX Runtime's own operators where its optimizer
    knows the architecture (BERT, RoBERTa and XLM-RoBERTa completely, others in part).

    Args:
        model: The model. It is not changed, and stays on its device and in its mode.
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
    """Write a float32 ONNX file with standard operators only, and check that its outputs are the model's.

    Args:
        model: The model. It is not changed.
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
        # The exporter warns about every Python value that it turns into a constant; `_check` tells whether
        # one of them mattered. (The newer exporter, dynamo=True, needs onnxscript, takes ten times as long,
        # and writes graphs that the optimizer does not fuse and the quantizer cannot read.)
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
    """The first `count` of ids, a mask with padding, and token types, each of shape (rows, tokens)."""
    ids = torch.arange(4, 4 + rows * tokens).reshape(rows, tokens) % 16
    mask = torch.ones_like(ids)
    mask[1:, tokens // 2 :] = 0  # a mask of ones only could be optimized away
    return (ids, mask, torch.zeros_like(ids))[:count]


def _fuse(source: Path, target: Path, config: Any, *, is_large: bool) -> None:
    options = FusionOptions("bert")
    # Embeddings are not fused, so that `quantize_onnx` can give each row a scale.
    options.enable_embed_layer_norm = False
    # The mask itself: the default counts its ones, which is right only if padding is at the end.
    options.attention_mask_format = AttentionMaskFormat.AttentionMask
    # Fused, addition and normalisation take three times as long. A bias fused with GELU takes twice as long
    # as one fused with the product before it, which is what `quantize_onnx` does.
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
    """Compare with torch, on a batch of a different shape than the traced one."""
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
                f"{path} differs from {architecture} in torch: {name} is off by up to {difference:.2g}"
            )
