"""What belongs together: links between the pieces of a text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from provence_rag.chunking.base import Span

__all__ = ["Chunks", "Link", "LinkKind"]

LinkKind = Literal["frame", "needs", "answer", "announces", "steps"]
"""Why a kept piece takes another one along.

`frame`: the text would not parse without it: the bracket around a record, the header of a table.
`needs`: it cannot be understood without it: an answer and its question, an item and its lead-in.
`answer`: it is a question, and the other one answers it. Such a pair is judged as one.
`announces`: it promises what follows: a colon its list, a heading its text.
`steps`: both are steps of one procedure; only followed for questions that ask how to do something.
"""


class Link(NamedTuple):
    """If the piece number `source` is kept, the piece number `target` is kept too."""

    source: int
    target: int
    kind: LinkKind


@dataclass(frozen=True)
class Chunks:
    """The pieces of a text and what holds them together."""

    spans: Sequence[Span] = ()
    """Where the pieces are, in order. Between two of them is white space, or what separates two records of
    structured data, such as the comma of a list."""

    links: Sequence[Link] = ()
    """Which pieces take which others along."""

    frames: frozenset[int] = field(default_factory=frozenset)
    """Numbers of the pieces that are kept for the sake of others only: brackets and tags."""

    records: frozenset[int] = field(default_factory=frozenset)
    """Numbers of the pieces that are alike and compete with each other: rows, objects of a list."""

    reading: str | None = None
    """What a model reads instead of the text, of the same length: without the tags of HTML, with the
    characters that JSON escapes, and with borders that prose does not show. None is the text itself."""

    kept_whole: str | None = None
    """Why the text cannot be pruned without breaking it; None where it can. It has one piece then."""

    def split_into(self, parts: Sequence[Span]) -> Chunks:
        """The same text in smaller pieces: each has the links of its piece, to the first parts of others."""
        starts = np.array([span.start for span in self.spans])
        piece_of = np.searchsorted(starts, [part.start for part in parts], side="right") - 1
        first = np.searchsorted(piece_of, np.arange(len(self.spans))).tolist()
        parts_of: defaultdict[int, list[int]] = defaultdict(list)
        for number, piece in enumerate(piece_of.tolist()):
            parts_of[piece].append(number)
        links = [
            Link(part, first[target], kind)
            for source, target, kind in self.links
            for part in parts_of[source]
        ]
        records = frozenset(part for record in self.records for part in parts_of[record])
        return replace(self, spans=parts, links=links, records=records)

    def needs(self) -> dict[int, tuple[int, ...]]:
        """For each piece that needs others, their numbers."""
        needs: dict[int, tuple[int, ...]] = {}
        for source, target, kind in self.links:
            if kind in ("frame", "needs"):
                needs[source] = (*needs.get(source, ()), target)
        return needs
