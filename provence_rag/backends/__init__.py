"""Backends: token ids in, logits out."""

from typing import Literal

__all__ = ["BackendName"]

BackendName = Literal["auto", "onnx", "openvino", "torch"]
"""What `backend` may be; `auto` chooses by the device and by the files that the checkpoint has."""
