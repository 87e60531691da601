"""The joint model in torch: training, and inference where ONNX Runtime does not do."""

from typing import Literal

__all__ = ["Format"]

Format = Literal["safetensors", "onnx", "onnx-int8", "token-classification", "cross-encoder"]
"""What a checkpoint can be written as; see `provence_rag.modeling.convert`."""
