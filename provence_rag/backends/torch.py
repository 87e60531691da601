"""PyTorch: for GPUs, and for checkpoints without an ONNX export."""

from __future__ import annotations

import os
from pathlib import Path

from provence_rag.errors import InvalidInputError, MissingExtraError
from provence_rag.inference.arrays import IntArray, LogitArray
from provence_rag.inference.backend import Logits

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingExtraError("backend='torch'", "torch") from error

from provence_rag.modeling.model import ProvenceModel

__all__ = ["TorchBackend"]

_process = os.getpid()

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TorchBackend:
    """Runs a `ProvenceModel`, which other code may train, move and cast between calls.

    Args:
        model: The model. Every run puts it into evaluation mode.
        device: Where to move the model: `cpu`, `cuda`, `cuda:1`, `mps`. None leaves it where it is.
        dtype: What to cast the model to: `float32`, `float16` or `bfloat16`. None leaves it as it is.
        threads: Threads on a CPU, for all uses of torch in this process. None leaves their number as it is.

    Raises:
        InvalidInputError: The dtype is unknown, or the device cannot be used.
    """

    name = "torch"
    pad_to_multiple_of = 1

    def __init__(
        self,
        model: ProvenceModel,
        *,
        device: str | None = None,
        dtype: str | None = None,
        threads: int | None = None,
    ) -> None:
        if dtype is not None and dtype not in _DTYPES:
            raise InvalidInputError(f"dtype must be one of {', '.join(_DTYPES)}, got {dtype!r}")
        try:
            self.model = model.to(device, None if dtype is None else _DTYPES[dtype])
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise InvalidInputError(f"device={device!r} cannot be used: {error}") from error
        if threads is not None:
            torch.set_num_threads(threads)

    @classmethod
    def from_directory(
        cls,
        directory: Path,
        *,
        device: str | None = None,
        dtype: str | None = None,
        threads: int | None = None,
    ) -> TorchBackend:
        """Load a checkpoint directory.

        Args:
            directory: See `ProvenceModel.from_pretrained`.
            device: None uses a GPU if there is one.
            dtype: None is float32, since half precision is slower on a CPU.
            threads: As in the class.
        """
        model = ProvenceModel.from_pretrained(directory)
        return cls(model, device=device or _default_device(), dtype=dtype, threads=threads)

    @property
    def device(self) -> str:
        """Where the model is."""
        return str(self.model.device)

    @torch.inference_mode()
    def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
        """One forward pass; see `Backend.run`."""
        device = self.model.device
        if os.getpid() != _process:
            _start_after_fork()
        output = self.model.eval()(
            torch.from_numpy(input_ids).to(device),
            torch.from_numpy(attention_mask).to(device),
            torch.from_numpy(token_type_ids).to(device) if self.model.uses_token_types else None,
        )
        return Logits(_to_numpy(output.ranking_logits), _to_numpy(output.pruning_logits))


def _start_after_fork() -> None:
    # A forked process has its parent's memory but not its threads, and OpenMP would wait for them forever.
    # One thread needs no others. (torch itself refuses to use CUDA in a forked process.)
    global _process
    torch.set_num_threads(1)
    _process = os.getpid()


def _default_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _to_numpy(logits: torch.Tensor | None) -> LogitArray | None:
    # numpy has no bfloat16
    return None if logits is None else logits.float().cpu().numpy()
