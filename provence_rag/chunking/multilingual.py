"""The chunker for text of any language."""

from __future__ import annotations

from functools import partial
from typing import Any

from provence_rag.chunking.base import BaseChunker, Span
from provence_rag.chunking.english import PUNKT_LANGUAGES, PunktChunker
from provence_rag.chunking.japanese import CJKChunker
from provence_rag.chunking.language import detect_language
from provence_rag.chunking.links import Chunks
from provence_rag.chunking.markdown import MarkdownChunker, looks_like_markdown
from provence_rag.chunking.overlong import split_overlong
from provence_rag.chunking.partners import with_partners
from provence_rag.chunking.records import record_chunks
from provence_rag.chunking.visible import visible_borders
from provence_rag.errors import InvalidInputError
from provence_rag.languages import check_language
from provence_rag.surrogates import without_surrogates

__all__ = ["MultilingualChunker"]


class MultilingualChunker(BaseChunker):
    """Cuts text of any language into sentences, Markdown by block.

    Japanese and Chinese have rules (`CJKChunker`), `PUNKT_LANGUAGES` have Punkt. Every other language is
    cut by English Punkt, which also knows the full stops and question marks of other scripts.

    Args:
        language: "auto" to detect it for each text, or one of `LANGUAGES`; a region is ignored ("zh-TW").

    Raises:
        InvalidInputError: The language is unknown.
    """

    def __init__(self, language: str = "auto") -> None:
        self.language = check_language(language)

    def spans(self, text: str) -> list[Span]:
        """Return where the sentences of `text` are; an empty list if there is only white space."""
        return list(self.chunks(text).spans)

    def chunks(self, text: str) -> Chunks:
        """Return where the sentences and records of `text` are, with what holds them together."""
        language = detect_language(text) if self.language == "auto" else self.language
        sentences = partial(_sentences, _chunker_of(language))
        found = record_chunks(text, sentences)
        if found is not None:
            return found
        spans = sentences(text)
        return with_partners(text, Chunks(spans, reading=visible_borders(text, spans)))

    def chunk_text(
        self, text: str, language: str = "auto", tokenizer: Any = None, max_length: int | None = None
    ) -> list[tuple[str, tuple[int, int]]]:
        """Return every sentence of `text` with its `(start, end)` character offsets.

        Args:
            text: What to cut.
            language: One of `LANGUAGES`, or "auto" for this chunker's own.
            tokenizer: A `tokenizers.Tokenizer` or a fast tokenizer of transformers; needed with
                `max_length`.
            max_length: Sentences of more tokens than this, >= 1, are split. None splits none.

        Raises:
            InvalidInputError: The language is unknown, `max_length` is below 1 or comes without a
                tokenizer, or the tokenizer gives no offsets.
        """
        chunker = self if language == "auto" else MultilingualChunker(language)
        spans = chunker.spans(text)
        if max_length is not None:
            starts = _token_starts(tokenizer, text)
            spans = [part for span in spans for part in split_overlong(text, span, starts, max_length)]
        return [(text[start:end], (start, end)) for start, end in spans]


def _sentences(chunker: BaseChunker, text: str) -> list[Span]:
    return (MarkdownChunker(chunker) if looks_like_markdown(text) else chunker).spans(text)


def _chunker_of(language: str) -> BaseChunker:
    if language in ("ja", "zh"):
        return CJKChunker()
    return PunktChunker(language if language in PUNKT_LANGUAGES else "en")


def _token_starts(tokenizer: Any, text: str) -> list[int]:
    """Return where each token of the whole text begins, whatever truncation the tokenizer is set to."""
    if hasattr(tokenizer, "backend_tokenizer"):
        tokenizer = tokenizer.backend_tokenizer
    if not hasattr(tokenizer, "encode_batch"):
        raise InvalidInputError(
            "max_length needs tokenizer: a tokenizers.Tokenizer or a fast tokenizer of transformers, "
            f"got {type(tokenizer).__name__}"
        )
    if tokenizer.truncation is not None or tokenizer.padding is not None:
        tokenizer = type(tokenizer).from_str(tokenizer.to_str())
        tokenizer.no_truncation()
        tokenizer.no_padding()
    return [
        start for start, _ in tokenizer.encode(without_surrogates(text), add_special_tokens=False).offsets
    ]
