"""Provence for sentence-transformers: a CrossEncoder that also prunes, and its training."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from provence_rag import MissingExtraError

try:
    import sentence_transformers  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sentence_transformers":
        raise
    raise MissingExtraError("sentence_transformers_provence", "sentence-transformers") from error

from sentence_transformers_provence.cross_encoder import PruningCrossEncoder

if TYPE_CHECKING:
    from provence_training.cross_encoder import (
        ProvenceCrossEncoderDataCollator,
        ProvenceEvaluator,
        ProvenceLoss,
    )

__all__ = [
    "CrossEncoder",
    "ProvenceCrossEncoderDataCollator",
    "ProvenceEvaluator",
    "ProvenceLoss",
    "PruningCrossEncoder",
]

CrossEncoder = PruningCrossEncoder
"""The same class, by the name of the one it extends."""


def __getattr__(name: str) -> Any:
    """Import what trains on first use: it needs the libraries of the extra `train`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module("provence_training.cross_encoder"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("provence"):
            raise
        raise MissingExtraError(f"sentence_transformers_provence.{name}", "train") from error
