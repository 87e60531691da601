"""Which backend runs a checkpoint."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from provence_rag.backends.base import Backend
from provence_rag.errors import CheckpointError, InvalidInputError, MissingExtraError

__all__ = ["load_backend"]

_ONNX_FILES = {"int8": "onnx/model_int8.onnx", "float32": "onnx/model.onnx"}


def load_backend(directory: Path, *, backend: str, device: str | None, dtype: str | None) -> Backend:
    """Load a checkpoint into a backend. The arguments are those of `Provence.from_pretrained`.

    Raises:
        InvalidInputError: `backend` is unknown, or does not do what `device` or `dtype` ask.
        CheckpointError: The checkpoint has no file for the backend.
        MissingExtraError: The backend's libraries are not installed.
    """
    if backend not in ("auto", "onnx", "torch"):
        raise InvalidInputError(f"backend must be 'auto', 'onnx' or 'torch', got {backend!r}")
    if backend == "onnx" and device not in (None, "cpu"):
        raise InvalidInputError(f"backend='onnx' runs on the CPU, got device={device!r}: use backend='torch'")
    if backend == "auto":
        backend = _fitting_backend(directory, device, dtype)
    if backend == "onnx":
        return _load_onnx(directory, dtype)
    if find_spec("torch") is None:
        raise MissingExtraError(f"{directory} on backend='torch'", "torch")
    from provence_rag.backends.torch import TorchBackend

    return TorchBackend.from_directory(directory, device=device, dtype=dtype)


def _fitting_backend(directory: Path, device: str | None, dtype: str | None) -> str:
    wanted = [_ONNX_FILES[dtype]] if dtype in _ONNX_FILES else _ONNX_FILES.values() if dtype is None else []
    has_export = any((directory / name).is_file() for name in wanted)
    return "onnx" if device in (None, "cpu") and has_export else "torch"


def _load_onnx(directory: Path, dtype: str | None) -> Backend:
    if dtype is not None and dtype not in _ONNX_FILES:
        raise InvalidInputError(f"dtype must be one of {', '.join(_ONNX_FILES)} for ONNX, got {dtype!r}")
    names = [_ONNX_FILES[dtype]] if dtype is not None else list(_ONNX_FILES.values())
    path = next((directory / name for name in names if (directory / name).is_file()), None)
    if path is None:
        raise CheckpointError(f"{directory} has no {' or '.join(names)}: export it, or use backend='torch'")
    from provence_rag.backends.onnx import OnnxBackend

    return OnnxBackend(path)
