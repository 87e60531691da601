"""The chunker for text of any language."""

from __future__ import annotations

from provence_rag.chunking.base import BaseChunker, Span
from provence_rag.chunking.english import PUNKT_LANGUAGES, PunktChunker
from provence_rag.chunking.japanese import CJKChunker


class MultilingualChunker(BaseChunker):
    def __init__(self, language: str = "auto") -> None:
        self.language = language

    def spans(self, text: str) -> list[Span]:
        language = self.language
        if language == "auto":
            language = "ja" if any("\u3040" <= c <= "\u30ff" for c in text) else "en"
        if language in ("ja", "zh"):
            return CJKChunker().spans(text)
        return PunktChunker(language if language in PUNKT_LANGUAGES else "en").spans(text)
