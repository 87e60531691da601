"""Cutting a text into sentences: spans that cover all that is not white space."""

from provence_rag.chunking.base import BaseChunker, Span
from provence_rag.chunking.english import EnglishChunker
from provence_rag.chunking.japanese import JapaneseChunker
from provence_rag.chunking.multilingual import MultilingualChunker
