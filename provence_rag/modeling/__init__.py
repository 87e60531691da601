"""The joint model in torch, for training, for GPUs, and for checkpoints without an export."""

from typing import Literal

__all__ = ["ExportFormat", "Format"]

ExportFormat = Literal["onnx", "onnx-int8", "openvino-int8"]
"""An export for a CPU: the backend that runs it, and its dtype unless that is float32."""

Format = Literal["safetensors", ExportFormat, "token-classification", "cross-encoder"]
"""A form that a checkpoint can be written in; see `provence_rag.modeling.convert`."""
