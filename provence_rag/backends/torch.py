"""PyTorch: GPUs, and checkpoints that have no ONNX export."""

from __future__ import annotations

from pathlib import Path

from provence_rag.backends.base import FloatArray, IntArray, Logits
from provence_rag.errors import InvalidInputError, MissingExtraError

try:
    import torch
except ImportError as error:
    raise MissingExtraError("backend='torch'", "torch") from error

from provence_rag.modeling.model import ProvenceModel

__all__ = ["TorchBackend"]

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TorchBackend:
    """Runs a `ProvenceModel`.

    Args:
        model: The model; it is moved to the device.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; None takes a GPU if there is one.
        dtype: `float32`, `float16` or `bfloat16`; None is float32, since half precision is slower on a CPU.

    Raises:
        InvalidInputError: The dtype or device is unknown here.
    """

    name = "torch"

    def __init__(self, model: ProvenceModel, *, device: str | None = None, dtype: str | None = None) -> None:
        if dtype is not None and dtype not in _DTYPES:
            raise InvalidInputError(f"dtype must be one of {', '.join(_DTYPES)}, got {dtype!r}")
        self.device = device or _default_device()
        try:
            self.model = model.eval().to(self.device, _DTYPES[dtype or "float32"])
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise InvalidInputError(f"device={device!r} cannot be used: {error}") from error

    @classmethod
    def from_directory(
        cls, directory: Path, *, device: str | None = None, dtype: str | None = None
    ) -> TorchBackend:
        """Load a checkpoint directory."""
        return cls(ProvenceModel.from_pretrained(directory), device=device, dtype=dtype)

    @torch.inference_mode()
    def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
        """One forward pass; see `Backend.run`."""
        output = self.model(
            torch.from_numpy(input_ids).to(self.device),
            torch.from_numpy(attention_mask).to(self.device),
            torch.from_numpy(token_type_ids).to(self.device) if self.model.uses_token_types else None,
        )
        return Logits(_to_numpy(output.ranking_logits), _to_numpy(output.pruning_logits))


def _default_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _to_numpy(logits: torch.Tensor | None) -> FloatArray | None:
    # numpy has no bfloat16
    return None if logits is None else logits.float().cpu().numpy()
