"""Queries and documents as callers pass them in, checked and paired."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from provence_rag.chunking import Span
from provence_rag.errors import InvalidInputError
from provence_rag.inference.engine import Pair
from provence_rag.validation import check_rows, check_text, check_texts, check_titles, shown

__all__ = ["aligned_pairs", "paired_texts", "pairs_of_query"]


def pairs_of_query(
    query: str, documents: Any, titles: Any, *, separator: str = " ", place: str = ""
) -> list[Pair]:
    """Pair a checked query with its documents.

    Args:
        query: The question.
        documents: D documents, as in `Provence.process`.
        titles: A title or None for each, or None for no titles.
        separator: Joins the sentences of documents that are split already.
        place: Position of `documents` and `titles` in the caller's lists, for messages.
    """
    rows = check_rows(f"documents{place}", documents, of="strings")
    checked = check_titles(f"titles{place}", titles, len(rows))
    names = [f"documents{place}[{number}]" for number in range(len(rows))]
    return [
        _pair(name, query, row, title, separator)
        for name, row, title in zip(names, rows, checked, strict=True)
    ]


def aligned_pairs(queries: Any, documents: Any, *, separator: str = " ") -> list[Pair]:
    """Pair each query with the document at its position."""
    texts = check_texts("queries", queries, blank=False)
    rows = check_rows("documents", documents, of="strings", length=len(texts), whose="queries")
    return [
        _pair(f"documents[{number}]", query, row, None, separator)
        for number, (query, row) in enumerate(zip(texts, rows, strict=True))
    ]


def paired_texts(name: str, row: Any) -> tuple[str, str]:
    """Return a (query, document) pair of strings."""
    texts = list(row) if isinstance(row, Iterable) and not isinstance(row, str) else []
    if len(texts) != 2:
        raise InvalidInputError(f"{name} must be a (query, document) pair, got {shown(row)}")
    return check_text(f"{name}[0]", texts[0], blank=False), check_text(f"{name}[1]", texts[1])


def _pair(name: str, query: str, document: Any, title: str | None, separator: str) -> Pair:
    if isinstance(document, str):
        return Pair(query, check_text(name, document), title)
    if isinstance(document, (bytes, Mapping, Set)) or not isinstance(document, Iterable):
        raise InvalidInputError(f"{name} must be a string or a list of its sentences, got {shown(document)}")
    sentences = check_texts(name, document)
    return Pair(query, separator.join(sentences), title, _spans(name, sentences, separator))


def _spans(name: str, sentences: Sequence[str], separator: str) -> tuple[Span, ...]:
    """Where sentences stand in the text that they are joined to."""
    spans = []
    start = 0
    for number, sentence in enumerate(sentences):
        if not sentence.strip():
            raise InvalidInputError(f"{name}[{number}] is blank ({sentence!r}): leave out empty sentences")
        spans.append(Span(start, start + len(sentence)))
        start += len(sentence) + len(separator)
    return tuple(spans)
