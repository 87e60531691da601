"""Which backend runs a checkpoint."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from provence_rag.backends import BackendName
from provence_rag.errors import CheckpointError, InvalidInputError, MissingExtraError
from provence_rag.hub import EXPORTS, TORCH_WEIGHTS
from provence_rag.inference.backend import Backend

__all__ = ["fitting_backends", "load_backend", "weight_files"]

_TORCH_DTYPES = ("float32", "float16", "bfloat16")
_DTYPES = {**{name: tuple(files) for name, files in EXPORTS.items()}, "torch": _TORCH_DTYPES}
_AUTO = ("onnx", "torch")
"""What `auto` chooses from: the backend of the base install, then the one that runs every checkpoint."""


def fitting_backends(backend: str, device: str | None, dtype: str | None) -> list[str]:
    """The backends that can run a checkpoint in this way, the preferred one first.

    Raises:
        InvalidInputError: A value is unknown, or the values cannot be combined.
    """
    if backend not in get_args(BackendName):
        *others, last = map(repr, get_args(BackendName))
        raise InvalidInputError(f"backend must be {', '.join(others)} or {last}, got {backend!r}")
    if device is not None and (not isinstance(device, str) or not device):
        raise InvalidInputError(f"device must be a string such as 'cpu' or 'cuda:0', got {device!r}")
    allowed = _AUTO if backend == "auto" else (backend,)
    fitting = [name for name in allowed if dtype is None or dtype in _DTYPES[name]]
    if not fitting:
        known = dict.fromkeys(dtype for name in allowed for dtype in _DTYPES[name])
        raise InvalidInputError(
            f"dtype must be one of {', '.join(known)} for backend={backend!r}, got {dtype!r}"
        )
    if device not in (None, "cpu"):
        fitting = [name for name in fitting if name == "torch"]
    if not fitting:
        raise InvalidInputError(
            f"device={device!r} needs torch, but backend={backend!r} with dtype={dtype!r} runs on the CPU "
            f"only: use backend='torch' and one of {', '.join(_TORCH_DTYPES)}"
        )
    return fitting


def weight_files(backend: str, device: str | None, dtype: str | None) -> list[str]:
    """The weights that these backends read, as `checkpoint_directory` takes them: the preferred ones first.

    Raises:
        InvalidInputError: A value is unknown, or the values cannot be combined.
    """
    fitting = fitting_backends(backend, device, dtype)
    return [file for name in fitting for file in _files_of(name, dtype)]


def _files_of(backend: str, dtype: str | None) -> list[str]:
    if backend == "torch":
        return [TORCH_WEIGHTS]
    return [file for kind, file in EXPORTS[backend].items() if dtype in (None, kind)]


def load_backend(
    directory: Path, *, backend: str, device: str | None, dtype: str | None, threads: int | None = None
) -> Backend:
    """Load a checkpoint into a backend. The arguments are those of `Provence.from_pretrained`.

    Raises:
        InvalidInputError: A value is unknown, or the values cannot be combined.
        CheckpointError: The checkpoint has no file for the backend, or the file cannot be used.
        MissingExtraError: The backend's libraries are not installed.
    """
    files: list[str] = []
    for name in fitting_backends(backend, device, dtype):
        if name == "torch":
            return _load_torch(directory, device, dtype, threads)
        files = _files_of(name, dtype)
        exports = [directory / file for file in files if (directory / file).is_file()]
        if exports:
            return _load_export(name, exports[0], threads)
    raise CheckpointError(f"{directory} has no {' or '.join(files)}: export it, or use backend='torch'")


def _load_export(backend: str, path: Path, threads: int | None) -> Backend:
    if backend == "openvino":
        from provence_rag.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(path, threads=threads)
    from provence_rag.backends.onnx import OnnxBackend

    return OnnxBackend(path, threads=threads)


def _load_torch(directory: Path, device: str | None, dtype: str | None, threads: int | None) -> Backend:
    if find_spec("torch") is None:
        raise MissingExtraError(f"{directory} on backend='torch'", "torch")
    from provence_rag.backends.torch import TorchBackend

    return TorchBackend.from_directory(directory, device=device, dtype=dtype, threads=threads)
