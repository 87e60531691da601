"""Structured data: recognised by a parser, cut into records that can go without breaking it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from provence_rag.chunking.base import Span, trim
from provence_rag.chunking.escapes import reading_of
from provence_rag.chunking.links import Chunks
from provence_rag.chunking.records.code import brace_code_chunks, python_code_chunks
from provence_rag.chunking.records.literals import (
    json_chunks,
    json_line_chunks,
    python_literal_chunks,
    why_unread,
)
from provence_rag.chunking.records.markup import markup_chunks
from provence_rag.chunking.records.rows import csv_chunks
from provence_rag.chunking.records.yaml import yaml_chunks

__all__ = ["record_chunks"]


def record_chunks(text: str, prose: Callable[[str], Sequence[Span]]) -> Chunks | None:
    """Cut structured data into records.

    JSON (with a lead-in and a trailer), JSON Lines, a JSON string that holds text, the repr of Python
    containers, XML, HTML, CSV, YAML with nesting, and source code. Each is recognised by a parser; a look
    at its first characters decides only whether the parser is asked. Any selection of pieces, with those
    they take along by `frame` links, parses again.

    Args:
        text: Any text.
        prose: Cuts the prose around and in structured data.

    Returns:
        None for prose. One piece, with the reason, for data that begins like JSON or XML and does not parse.
    """
    for chunks in (
        json_line_chunks(text),
        json_chunks(text, prose) if "{" in text or "[" in text or '"' in text[:100] else None,
    ):
        if chunks is not None:
            return replace(chunks, reading=reading_of(text, chunks.spans))
    found = python_literal_chunks(text, prose)
    if found is not None:
        return found
    reason = why_unread(text)
    if reason is not None:
        extent = trim(text, 0, len(text))
        assert extent is not None  # it begins with a bracket or a name
        return Chunks([extent], kept_whole=reason)
    if "<" in text and (found := markup_chunks(text, prose)) is not None:
        return found
    return csv_chunks(text) or yaml_chunks(text) or python_code_chunks(text) or brace_code_chunks(text)
