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
from langchain_provence.prompt import CitationPromptValue, ProvencePrompt, context_passage

__all__ = [
    "CitationPromptValue",
    "ProvenceCompressor",
    "ProvenceCrossEncoder",
    "ProvencePrompt",
    "context_passage",
]
