"""Provence for sentence-transformers: a CrossEncoder that also prunes."""

from __future__ import annotations

from provence_rag import MissingExtraError

try:
    import sentence_transformers  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sentence_transformers":
        raise
    raise MissingExtraError("sentence_transformers_provence", "sentence-transformers") from error

from sentence_transformers_provence.cross_encoder import PruningCrossEncoder

__all__ = ["PruningCrossEncoder"]
