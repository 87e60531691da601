"""Provence for LlamaIndex: rerank and prune retrieved nodes."""

from __future__ import annotations

from provence_rag import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("llama_index", "llama_index.core"):
        raise
    raise MissingExtraError("llama_index_provence", "llama-index") from error

from llama_index_provence.postprocessor import ProvencePostprocessor
from llama_index_provence.synthesizer import ProvenceSynthesizer, cited_reply, context_passage

__all__ = ["ProvencePostprocessor", "ProvenceSynthesizer", "cited_reply", "context_passage"]
