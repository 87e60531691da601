"""Tensors on disk: names and shapes without the data, the data, and never any code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from provence_rag.errors import CheckpointError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["StoredTensors"]

_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"
_SAFE_TORCH = (2, 6)
"""Before this release `torch.load(weights_only=True)` could be made to run code (CVE-2025-32434)."""


@dataclass(frozen=True)
class StoredTensors:
    """The weights of a checkpoint, which may be in several folders.

    Args:
        folders: The folders, each with a prefix for the names of its tensors.
    """

    folders: tuple[tuple[Path, str], ...]

    @classmethod
    def in_directory(cls, directory: Path) -> StoredTensors:
        """The weights of a directory."""
        return cls(((directory, ""),))

    @property
    def exist(self) -> bool:
        """Whether each folder has weights in a format that can be read."""
        return all(_files(folder) for folder, _ in self.folders)

    @property
    def are_safetensors(self) -> bool:
        """Whether all weights are safetensors, so that nothing is unpickled."""
        return self.exist and all(path.suffix == ".safetensors" for path, _ in self._paths())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, read without the data.

        Raises:
            CheckpointError: There are no weights, or a file is damaged.
            MissingExtraError: They are a pickle, and torch is not installed.
        """
        return {prefix + name: shape for path, prefix in self._paths() for name, shape in _shapes(path)}

    def load(self, start: str = "") -> dict[str, Tensor]:
        """Name -> tensor, on the CPU and in the stored dtype, of all names with this `start`.

        Raises:
            CheckpointError: There are no weights, or a file is damaged.
            MissingExtraError: torch is not installed.
        """
        return {
            prefix + name: tensor
            for path, prefix in self._paths()
            for name, tensor in _tensors(path, start.removeprefix(prefix))
        }

    def is_zero(self, name: str) -> bool:
        """Whether all values of a tensor are zero."""
        return not any(
            tensor.any()
            for path, prefix in self._paths()
            if name.startswith(prefix)
            for _, tensor in _tensors(path, name.removeprefix(prefix))
        )

    def _paths(self) -> Iterator[tuple[Path, str]]:
        for folder, prefix in self.folders:
            files = _files(folder)
            if not files:
                raise CheckpointError(f"{folder} has neither {_SAFE} nor {_PICKLED}")
            yield from ((path, prefix) for path in files)


def _files(folder: Path) -> list[Path]:
    """The weights of a folder: one file, or the shards of a large model; safetensors if there are any."""
    for whole, shards in ((_SAFE, "model-*-of-*.safetensors"), (_PICKLED, "pytorch_model-*-of-*.bin")):
        if (folder / whole).is_file():
            return [folder / whole]
        if found := sorted(folder.glob(shards)):
            return found
    return []


def _shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    if path.suffix == ".bin":
        yield from ((name, tuple(tensor.shape)) for name, tensor in _unpickle(path, device="meta").items())
        return
    with _opened(path, framework="numpy") as file:
        yield from ((name, tuple(file.get_slice(name).get_shape())) for name in list(file.keys()))


def _tensors(path: Path, start: str) -> Iterator[tuple[str, Tensor]]:
    if path.suffix == ".bin":
        found = _unpickle(path, device="cpu")
        yield from ((name, tensor) for name, tensor in found.items() if name.startswith(start))
        return
    with _opened(path, framework="pt") as file:
        names = [name for name in list(file.keys()) if name.startswith(start)]
        yield from ((name, file.get_tensor(name)) for name in names)


@contextmanager
def _opened(path: Path, *, framework: str) -> Iterator[Any]:
    try:
        with safe_open(path, framework) as file:
            yield file
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"Reading {path}", "torch") from error
    except Exception as error:  # the library's exception has no public base class
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _unpickle(path: Path, *, device: str) -> dict[str, Tensor]:
    """The tensors of a pickled state dict. Anything else in it is refused, and not run."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"Reading {path}", "torch") from error
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _SAFE_TORCH:
        raise CheckpointError(
            f"{path} is a pickle, which torch {torch.__version__} cannot read safely: use torch 2.6 or newer"
        )
    try:
        found = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # whatever unpickling damaged or hostile data raises
        found = None
        reason: Exception | None = (
            error  # not shown, since torch's message suggests running what is in the file
        )
    else:
        reason = None
    if not isinstance(found, dict) or not all(isinstance(t, torch.Tensor) for t in found.values()):
        raise CheckpointError(
            f"{path} is damaged, or holds more than named tensors; no code in it was run"
        ) from reason
    return found
