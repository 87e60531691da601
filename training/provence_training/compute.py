"""The device and the number format of a run's computations."""

from __future__ import annotations

import torch
from accelerate import PartialState

from provence_rag.errors import InvalidInputError

__all__ = ["choose_dtype", "current_device"]


def current_device() -> torch.device:
    """This process's device: a GPU if available, unless the run uses the CPU."""
    device: torch.device = PartialState().device
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Choose the number format of computations.

    Args:
        precision: A type's name, or `auto`: bfloat16 where the device multiplies it in hardware, else
            float32.
        device: The device that computes.

    Raises:
        InvalidInputError: float16 on a CPU, where training would leave its range.
    """
    if precision == "float16" and device.type == "cpu":
        raise InvalidInputError("precision float16 needs a GPU: choose auto, bfloat16 or float32 on a CPU")
    if precision != "auto":
        dtype: torch.dtype = getattr(torch, precision)
        return dtype
    return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere; older ones emulate it
    # Old releases of torch lack these functions; `bool` stands in and says no.
    told = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in told)
