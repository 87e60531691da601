"""Prompts with citations: contexts of numbered sources, and what a reply cites of them."""

from provence_rag.prompting.building import Order, build_context
from provence_rag.prompting.citations import Citation, CitedReply, resolve_citations
from provence_rag.prompting.context import CitedSpan, ContextSource, PromptContext
from provence_rag.prompting.messages import PromptLanguage, citation_messages
from provence_rag.prompting.passages import ContextPassage, Passage

__all__ = [
    "Citation",
    "CitedReply",
    "CitedSpan",
    "ContextPassage",
    "ContextSource",
    "Order",
    "Passage",
    "PromptContext",
    "PromptLanguage",
    "build_context",
    "citation_messages",
    "resolve_citations",
]
