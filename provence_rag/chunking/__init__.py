"""Cutting a text into sentences: spans that cover all that is not white space."""

from provence_rag.chunking.base import BaseChunker, Span
from provence_rag.chunking.custom import as_chunker
from provence_rag.chunking.english import EnglishChunker
from provence_rag.chunking.japanese import JapaneseChunker
from provence_rag.chunking.language import detect_language
from provence_rag.chunking.links import Chunks, Link
from provence_rag.chunking.markdown import MarkdownChunker, heading_level
from provence_rag.chunking.multilingual import MultilingualChunker
from provence_rag.chunking.overlong import split_overlong
from provence_rag.chunking.partners import with_partners

__all__ = [
    "BaseChunker",
    "Chunks",
    "EnglishChunker",
    "JapaneseChunker",
    "Link",
    "MarkdownChunker",
    "MultilingualChunker",
    "Span",
    "as_chunker",
    "detect_language",
    "heading_level",
    "split_overlong",
    "with_partners",
]
