"""ONNX export with both outputs, float32 or int8."""

from __future__ import annotations

import tempfile
from pathlib import Path

from provence_rag.errors import MissingExtraError
from provence_rag.modeling.model import ProvenceModel

try:
    import onnx
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model
    from torch import Tensor, nn
except ImportError as error:  # pragma: no cover - exercised in an environment without onnx
    raise MissingExtraError("Exporting to ONNX", "export") from error

__all__ = ["export_onnx", "quantize_onnx"]

_OPSET = 17


class _Exportable(nn.Module):
    """The model with the outputs it has, as a tuple."""

    def __init__(self, model: ProvenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(output for output in self.model(*inputs) if output is not None)


def export_onnx(model: ProvenceModel, path: str | Path) -> None:
    """Write a float32 ONNX file for the ONNX Runtime backend.

    Args:
        model: On the CPU, in float32.
        path: The file to write.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * model.uses_token_types
    config = model.provence_config
    outputs = ["ranking_logits"] * config.can_rank + ["pruning_logits"] * config.can_prune
    # Two rows of unequal length: a mask of ones only could be traced away.
    example = torch.ones(2, 16, dtype=torch.long)
    mask = example.clone()
    mask[1, 9:] = 0
    inputs = (example, mask, torch.zeros_like(example))[: len(names)]
    axes = {name: {0: "batch", 1: "tokens"} for name in [*names, "pruning_logits"]}
    axes["ranking_logits"] = {0: "batch"}
    torch.onnx.export(
        _Exportable(model.eval()),
        inputs,
        str(path),
        input_names=names,
        output_names=outputs,
        dynamic_axes={name: axis for name, axis in axes.items() if name in [*names, *outputs]},
        opset_version=_OPSET,
        dynamo=False,
    )


def quantize_onnx(source: str | Path, target: str | Path, *, num_heads: int, hidden_size: int) -> None:
    """Write an int8 version of a BERT-like float32 export.

    Attention, layer normalisation and GELU are fused first; weights, embeddings included, become 8-bit
    integers, activations are quantised as they come.

    Args:
        source: From `export_onnx`.
        target: The file to write.
        num_heads: Attention heads of the encoder.
        hidden_size: Its width.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        fused = Path(directory) / "fused.onnx"
        optimized = optimize_model(
            str(source), model_type="bert", num_heads=num_heads, hidden_size=hidden_size, opt_level=0
        )
        onnx.save(optimized.model, fused)
        # Weights of 7 bits: processors without VNNI add pairs of products in 16 bits, which would overflow.
        quantize_dynamic(
            fused, target, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8
        )
