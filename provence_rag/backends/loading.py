"""Which backend runs a checkpoint."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from provence_rag.backends.base import Backend
from provence_rag.errors import CheckpointError, InvalidInputError, MissingExtraError
from provence_rag.hub import ONNX_FILES

__all__ = ["fitting_backends", "load_backend"]

_DTYPES = {"onnx": tuple(ONNX_FILES), "torch": ("float32", "float16", "bfloat16")}


def fitting_backends(backend: str, device: str | None, dtype: str | None) -> list[str]:
    """The backends that can do what is asked of any checkpoint, the one to prefer first.

    Raises:
        InvalidInputError: A value is unknown, or they do not go together.
    """
    if backend not in ("auto", *_DTYPES):
        raise InvalidInputError(f"backend must be 'auto', 'onnx' or 'torch', got {backend!r}")
    if device is not None and (not isinstance(device, str) or not device):
        raise InvalidInputError(f"device must be a string such as 'cpu' or 'cuda:0', got {device!r}")
    allowed = [name for name in _DTYPES if backend in ("auto", name)]
    fitting = [name for name in allowed if dtype is None or dtype in _DTYPES[name]]
    if not fitting:
        known = dict.fromkeys(dtype for name in allowed for dtype in _DTYPES[name])
        raise InvalidInputError(
            f"dtype must be one of {', '.join(known)} for backend={backend!r}, got {dtype!r}"
        )
    if device not in (None, "cpu"):
        fitting = [name for name in fitting if name != "onnx"]
    if not fitting:
        raise InvalidInputError(
            f"device={device!r} needs torch, but backend={backend!r} with dtype={dtype!r} is ONNX Runtime on "
            f"the CPU: use backend='torch' and one of {', '.join(_DTYPES['torch'])}"
        )
    return fitting


def load_backend(directory: Path, *, backend: str, device: str | None, dtype: str | None) -> Backend:
    """Load a checkpoint into a backend. The arguments are those of `Provence.from_pretrained`.

    Raises:
        InvalidInputError: A value is unknown, or they do not go together.
        CheckpointError: The checkpoint has no file for the backend, or one that cannot be used.
        MissingExtraError: The backend's libraries are not installed.
    """
    fitting = fitting_backends(backend, device, dtype)
    names = [name for key, name in ONNX_FILES.items() if dtype in (None, key)]
    exports = [directory / name for name in names if (directory / name).is_file()]
    if "onnx" in fitting and exports:
        from provence_rag.backends.onnx import OnnxBackend

        return OnnxBackend(exports[0])
    if fitting == ["onnx"]:
        raise CheckpointError(f"{directory} has no {' or '.join(names)}: export it, or use backend='torch'")
    if find_spec("torch") is None:
        raise MissingExtraError(f"{directory} on backend='torch'", "torch")
    from provence_rag.backends.torch import TorchBackend

    return TorchBackend.from_directory(directory, device=device, dtype=dtype)
