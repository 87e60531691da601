"""From queries and documents to windows: every text is split and tokenized once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from provence_rag.chunking import (
    BaseChunker,
    Chunks,
    MultilingualChunker,
    Span,
    detect_language,
    with_partners,
)
from provence_rag.config import ProvenceConfig
from provence_rag.inference.arrays import IntArray
from provence_rag.inference.encoding import (
    TextTokenizer,
    TokenizedText,
    Window,
    pack_windows,
    sentence_bounds,
    split_sentences,
    split_units,
)
from provence_rag.inference.notices import (
    Notice,
    language_notice,
    long_query_notice,
    untrained_language,
    warn_of_language,
    warn_of_long_queries,
)
from provence_rag.inference.pair_encoder import PairEncoder

__all__ = ["Document", "Pair", "Plan", "Planner"]


@dataclass(frozen=True)
class Pair:
    """A query and a document, with its title if it has one."""

    query: str
    document: str
    title: str | None = None
    spans: tuple[Span, ...] | None = None
    """The document's sentences, where the caller has split it; None leaves that to the chunker."""


@dataclass(frozen=True)
class Document:
    """A document, split and tokenized once for all its queries."""

    text: str

    language: str
    """The language that the caller asked for, or the one detected (ISO 639-1)."""

    chunks: Chunks
    """Its sentences, and what holds them together."""

    tokens: TokenizedText

    bounds: IntArray
    """Token index at which each sentence starts, and the number of tokens: shape (sentences + 1,)."""

    unread: NDArray[np.bool_]
    """Which sentences are mostly of characters that the vocabulary lacks, shape (sentences,)."""

    is_unread: bool
    """Whether all of them together are."""

    @property
    def spans(self) -> Sequence[Span]:
        """Where its sentences are."""
        return self.chunks.spans


class Head(NamedTuple):
    """The tokens before the passage in each window of a pair."""

    ids: IntArray
    """Special tokens, query, special tokens, title."""

    passage_start: int
    """How many of them have the token type of the query; the title has that of the passage."""


@dataclass(frozen=True)
class Plan:
    """How a pair is read: its windows, and the groups of tokens that get a score each."""

    pair: Pair

    document: Document

    head: Head

    windows: list[Window]
    """Empty for a document without tokens, such as a blank one."""

    unit_bounds: IntArray
    """Token index at which each unit starts, and the number of tokens: shape (U + 1,)."""

    unit_sentences: IntArray
    """The sentence that each unit belongs to, shape (U,)."""

    untrained_language: str | None = None
    """As in `PrunedPassage`."""


class Planner:
    """Splits and tokenizes documents, and packs them into windows. No call changes its state.

    Args:
        tokenizer: The checkpoint's tokenizer.
        config: The checkpoint's configuration.
        chunker: Splits documents into sentences; None is the multilingual chunker.
        unknown_token_id: See `Engine`.

    Raises:
        CheckpointError: The windows are too short for the tokenizer's special tokens.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        config: ProvenceConfig,
        chunker: BaseChunker | None,
        unknown_token_id: int | None = None,
    ) -> None:
        self._unknown_token_id = unknown_token_id
        self._encoder = PairEncoder(tokenizer, config)
        self._config = config
        self._chunker = chunker

    def plans(self, pairs: Sequence[Pair], language: str, longest: int | None = None) -> list[Plan]:
        """Plan how each pair is read.

        Args:
            pairs: What to read.
            language: As in `PruningOptions`.
            longest: Maximum number of tokens in a sentence; a longer one is split.

        Raises:
            InvalidInputError: The language is unknown.
        """
        documents = self._documents(((pair.document, pair.spans) for pair in pairs), language, longest)
        heads = self._heads(pairs)
        languages = self._untrained_languages(pairs)
        return [
            replace(
                self._plan(number, pair, documents[pair.document, pair.spans], heads[pair.query, pair.title]),
                untrained_language=languages[pair.query],
            )
            for number, pair in enumerate(pairs)
        ]

    def notices(self, query: str) -> list[Notice]:
        """Why a query is not read as well as others."""
        found = []
        trained, limit = self._config.languages, self._encoder.query_limit
        if language := untrained_language(query, trained):
            found.append(language_notice(language, trained))
        if len(self._encoder.encode_queries([query])[0]) > limit:
            found.append(long_query_notice(1, limit))
        return found

    def _untrained_languages(self, pairs: Sequence[Pair]) -> dict[str, str | None]:
        trained = self._config.languages
        languages = {query: untrained_language(query, trained) for query in {pair.query for pair in pairs}}
        for language in sorted(filter(None, set(languages.values()))):
            warn_of_language(language, trained)
        return languages

    def _documents(
        self, given: Iterable[tuple[str, tuple[Span, ...] | None]], language: str, longest: int | None
    ) -> dict[tuple[str, tuple[Span, ...] | None], Document]:
        unique = list(dict.fromkeys(given))
        texts = [text for text, _ in unique]
        language = self._config.splitter_language if language == "auto" else language
        languages = [detect_language(text) if language == "auto" else language for text in texts]
        chunks = [
            self._chunks(text, own) if split is None else with_partners(text, Chunks(split))
            for (text, split), own in zip(unique, languages, strict=True)
        ]
        read = [one.reading or text for text, one in zip(texts, chunks, strict=True)]
        tokens = self._encoder.encode_documents(read, [one.spans for one in chunks])
        if longest is not None:
            chunks = [_shortened(*one, longest) for one in zip(texts, tokens, chunks, strict=True)]
        return dict(zip(unique, map(self._document, texts, languages, chunks, tokens), strict=True))

    def _document(self, text: str, language: str, chunks: Chunks, tokens: TokenizedText) -> Document:
        spans = chunks.spans
        bounds = sentence_bounds(tokens, spans)
        unread, is_unread = np.zeros(len(spans), dtype=bool), False
        is_unknown = tokens.ids == self._unknown_token_id
        if is_unknown.any():
            sizes = np.diff(tokens.offsets, axis=1)[:, 0] * is_unknown
            unknown = np.add.reduceat(np.append(sizes, 0), bounds[:-1]) * (np.diff(bounds) > 0)
            lengths = np.array([len("".join(text[span.start : span.end].split())) for span in spans])
            unread, is_unread = 2 * unknown > lengths, bool(2 * unknown.sum() > lengths.sum())
        return Document(text, language, chunks, tokens, bounds, unread, is_unread)

    def _chunks(self, text: str, language: str) -> Chunks:
        chunker = _chunker_for(language) if self._chunker is None else self._chunker
        return chunker.chunks(text)

    def _heads(self, pairs: Sequence[Pair]) -> dict[tuple[str, str | None], Head]:
        queries = list(dict.fromkeys(pair.query for pair in pairs))
        titles = list(dict.fromkeys(pair.title for pair in pairs if pair.title is not None))
        query_ids = dict(zip(queries, self._encoder.encode_queries(queries), strict=True))
        title_ids = dict(zip(titles, self._encoder.encode_titles(titles), strict=True))
        half = self._encoder.query_limit
        if too_long := sum(len(ids) > half for ids in query_ids.values()):
            warn_of_long_queries(too_long, half)
        heads = {}
        for query, title in dict.fromkeys((pair.query, pair.title) for pair in pairs):
            ids = query_ids[query][:half].tolist()
            room = self._encoder.title_limit(len(ids))
            prefix = [] if title is None else title_ids[title].tolist()
            if len(prefix) > room:  # the line still ends
                prefix = [*prefix[: room - 1], prefix[-1]] if room else []
            before = [*self._encoder.layout.before, *ids, *self._encoder.layout.between]
            heads[query, title] = Head(np.array([*before, *prefix], dtype=np.int64), len(before))
        return heads

    def _plan(self, number: int, pair: Pair, document: Document, head: Head) -> Plan:
        capacity = self._config.max_length - len(head.ids) - len(self._encoder.layout.after)
        tokens, spans, bounds = document.tokens, document.spans, document.bounds
        if not len(tokens):  # nothing to read
            return Plan(pair, document, head, [], bounds, np.arange(len(spans)))
        if len(tokens) <= capacity:
            whole = Window(number, 0, len(tokens))
            return Plan(pair, document, head, [whole], bounds, np.arange(len(spans)))
        units = split_units(document.text, tokens, spans, bounds, capacity)
        return Plan(
            pair,
            document,
            head,
            pack_windows(number, units, capacity),
            np.array([*(unit.start for unit in units), len(tokens)], dtype=np.int64),
            np.array([unit.sentence for unit in units], dtype=np.int64),
        )


def _shortened(text: str, tokens: TokenizedText, chunks: Chunks, longest: int) -> Chunks:
    """Split the sentences of prose that have more than `longest` tokens; records of data stay whole."""
    if chunks.frames or chunks.kept_whole or any(link.kind == "frame" for link in chunks.links):
        return chunks
    spans = split_sentences(text, tokens, chunks.spans, longest)
    return chunks if len(spans) == len(chunks.spans) else chunks.split_into(spans)


@lru_cache(maxsize=64)
def _chunker_for(language: str) -> MultilingualChunker:
    return MultilingualChunker(language=language)
