"""Builds the pieces of structured data: records, and the frames around them."""

from __future__ import annotations

from collections.abc import Iterable

from provence_rag.chunking.base import Span
from provence_rag.chunking.links import Chunks, Link, LinkKind

__all__ = ["LONG", "MAX_DEPTH", "Outline"]

LONG = 400
"""Characters from which a value is worth opening: what is inside can be pruned."""

MAX_DEPTH = 12
"""Levels of nesting that are opened; what is deeper stays whole. It keeps time linear."""


class Outline:
    """Collects pieces in the order of the text.

    A record takes the opener of its container along, an opener its closer and the opener around it. So
    whatever is kept, the result has the brackets or tags it needs, and no others.
    """

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._links: list[Link] = []
        self._frames: set[int] = set()
        self._records: set[int] = set()

    def add(self, start: int, end: int, parent: int | None, *, competes: bool = False) -> int:
        """Add a piece that is kept or dropped by its score; return its number."""
        number = self._append(start, end, parent)
        if competes:
            self._records.add(number)
        return number

    def open(self, start: int, end: int, parent: int | None) -> int:
        """Add the opener of a container; return its number."""
        number = self._append(start, end, parent)
        self._frames.add(number)
        return number

    def close(self, start: int, end: int, opener: int) -> None:
        """Add the closer of a container."""
        number = self._append(start, end, opener)
        self._frames.add(number)
        self.link(opener, number)

    def link(self, source: int, target: int, kind: LinkKind = "frame") -> None:
        """Let a piece take another one along, by default one that the result needs to parse."""
        self._links.append(Link(source, target, kind))

    def extend(self, spans: Iterable[Span], offset: int, parent: int | None = None) -> None:
        """Add sentences, whose offsets count from `offset`."""
        for start, end in spans:
            self.add(offset + start, offset + end, parent)

    def chunks(self) -> Chunks:
        """Return all that was added."""
        return Chunks(self._spans, self._links, frozenset(self._frames), frozenset(self._records))

    def _append(self, start: int, end: int, parent: int | None) -> int:
        number = len(self._spans)
        self._spans.append(Span(start, end))
        if parent is not None:
            self.link(number, parent)
        return number
