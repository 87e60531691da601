"""Spans, and what every chunker has in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Self

from provence_rag.chunking.links import Chunks

__all__ = ["BaseChunker", "Span", "cut", "trim"]


class Span(NamedTuple):
    """A piece of a text: `text[start:end]`, in characters (code points)."""

    start: int
    end: int


class BaseChunker:
    """Cuts a text into sentences.

    A subclass writes one of two methods, and gets the other:

    - `chunk` returns the sentences with their offsets, `list[tuple[str, tuple[int, int]]]`. Text that it
      leaves out joins the sentence before it, so nothing is lost.
    - `spans` returns offsets alone. They are in order, do not overlap, are not empty, begin and end with
      something that is not white space, and together cover all that is not white space.

    Raises:
        TypeError: A subclass that has neither method is instantiated.
    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Refuse a class that has neither method, as an abstract method would."""
        if cls.spans is BaseChunker.spans and cls.chunk is BaseChunker.chunk:
            raise TypeError(f"{cls.__name__} cuts nothing: define chunk(text) or spans(text)")
        return super().__new__(cls)

    def spans(self, text: str) -> list[Span]:
        """Return where the sentences of `text` are; an empty list if there is only white space.

        Raises:
            InvalidInputError: `chunk` returns something else than pieces of `text` in order.
        """
        from provence_rag.chunking.custom import covering_spans  # which needs this class

        return covering_spans(text, self.chunk(text))

    def chunks(self, text: str) -> Chunks:
        """Return where the sentences of `text` are, with the links between those that belong together."""
        from provence_rag.chunking.partners import with_partners

        return with_partners(text, Chunks(self.spans(text)))

    def chunk(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        """Return every sentence of `text` with its `(start, end)` character offsets."""
        return [(text[start:end], (start, end)) for start, end in self.spans(text)]


def trim(text: str, start: int, end: int) -> Span | None:
    """Return `text[start:end]` without white space at its ends, or None if nothing is left."""
    if start < end and not (text[start].isspace() or text[end - 1].isspace()):
        return Span(start, end)
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
