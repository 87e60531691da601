"""The joint model in torch: training, and inference where ONNX Runtime does not do."""

from typing import Literal

__all__ = ["ExportFormat", "Format"]

ExportFormat = Literal["onnx", "onnx-int8", "openvino-int8"]
"""An export that a backend for CPUs runs: its name, and its dtype if that is not float32."""

Format = Literal["safetensors", ExportFormat, "token-classification", "cross-encoder"]
"""What a checkpoint can be written as; see `provence_rag.modeling.convert`."""
