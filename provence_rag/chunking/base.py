"""Spans, and what every chunker has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["BaseChunker", "Span", "cut", "trim"]


class Span(NamedTuple):
    """A piece of a text: `text[start:end]`, in characters (code points)."""

    start: int
    end: int


class BaseChunker(ABC):
    """Cuts a text into sentences.

    A subclass writes `spans`. Its spans are in order, do not overlap, are not empty, begin and end
    with something that is not white space, and together cover all that is not white space.
    """

    @abstractmethod
    def spans(self, text: str) -> list[Span]:
        """Return where the sentences of `text` are; an empty list if there is only white space."""

    def chunk(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        """Return every sentence of `text` with its `(start, end)` character offsets."""
        return [(text[start:end], (start, end)) for start, end in self.spans(text)]


def trim(text: str, start: int, end: int) -> Span | None:
    """Return `text[start:end]` without white space at its ends, or None if nothing is left."""
    piece = text[start:end]
    content = piece.lstrip()
    if not content:
        return None
    start += len(piece) - len(content)
    return Span(start, start + len(content.rstrip()))


def cut(text: str, start: int, end: int, borders: Iterable[int]) -> list[Span]:
    """Cut `text[start:end]` at `borders` and trim the parts; parts of mere white space are left out.

    Args:
        text: The whole text.
        start: Where the piece to cut begins.
        end: Where it ends.
        borders: Ascending offsets within `[start, end]`; each begins a new part.

    Returns:
        The parts, in order. They cover all of the piece that is not white space.
    """
    parts = []
    for border in (*borders, end):
        part = trim(text, start, border)
        if part is not None:
            parts.append(part)
        start = border
    return parts
