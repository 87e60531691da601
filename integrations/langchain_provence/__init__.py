"""Provence for LangChain: rerank and prune retrieved documents."""

from __future__ import annotations

from provence_rag import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "langchain_core":
        raise
    raise MissingExtraError("langchain_provence", "langchain") from error

from langchain_provence.compressor import ProvenceCompressor
from langchain_provence.cross_encoder import ProvenceCrossEncoder

__all__ = ["ProvenceCompressor", "ProvenceCrossEncoder"]
