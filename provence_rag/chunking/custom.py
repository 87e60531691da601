"""Chunkers of the user's: any object or function that cuts a text."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from provence_rag.chunking.base import BaseChunker, Span, cut, trim
from provence_rag.errors import InvalidInputError
from provence_rag.validation import shortened

__all__ = ["as_chunker", "covering_spans"]

_METHODS = ("chunk", "split_text")


def as_chunker(obj: Any) -> BaseChunker:
    """Make a chunker of an object of the user's.

    The result keeps a chunker's contract whatever the user's code leaves out: text between two of its
    pieces joins the piece in front, text before the first joins the first.

    Args:
        obj: A `BaseChunker` (returned as it is), an object with a method `chunk(text)` or
            `split_text(text)` (a LangChain text splitter, say), or a function of a text. They return the
            pieces in order: strings, `(start, end)` character offsets, or `(string, (start, end))`.

    Raises:
        InvalidInputError: `obj` is nothing of the kind. The chunker that is returned raises it when it
            gets pieces that overlap, are out of order or out of range, or strings that the text does
            not hold.
    """
    if isinstance(obj, BaseChunker):
        return obj
    if isinstance(obj, type):
        raise InvalidInputError(f"chunker must be an instance, got the class {obj.__name__}: call it first")
    for name in _METHODS:
        if callable(getattr(obj, name, None)):
            return _CustomChunker(getattr(obj, name))
    if callable(obj):
        return _CustomChunker(obj)
    raise InvalidInputError(
        "chunker must be a BaseChunker, have a method chunk(text) or split_text(text), or be callable, "
        f"got {type(obj).__name__}"
    )


class _CustomChunker(BaseChunker):
    """Turns what a function of the user's returns into spans that cover the text."""

    def __init__(self, split: Callable[[str], Iterable[Any]]) -> None:
        self._split = split

    def spans(self, text: str) -> list[Span]:
        """Return where the pieces of the user's chunker are, together with what it left out."""
        return covering_spans(text, self._split(text))


def covering_spans(text: str, pieces: Any) -> list[Span]:
    """Turn pieces of a text into spans that keep a chunker's contract; see `as_chunker`.

    Raises:
        InvalidInputError: `pieces` is not a list, or a piece is not in the text or overlaps another.
    """
    if isinstance(pieces, (str, bytes)) or not isinstance(pieces, Iterable):
        raise InvalidInputError(f"a chunker must return a list of pieces, got {type(pieces).__name__}")
    starts: list[int] = []
    position = 0
    for number, piece in enumerate(pieces):
        span = _locate(text, piece, position, number)
        position = span.end
        content = trim(text, *span)
        if content is not None:
            starts.append(content.start)
    return cut(text, 0, len(text), starts[1:])


def _locate(text: str, piece: Any, position: int, number: int) -> Span:
    """Return where `piece` is in `text`, at `position` or behind it."""
    if isinstance(piece, str):
        return _find(text, piece, position, number)
    if isinstance(piece, tuple | list) and len(piece) == 2:
        if not isinstance(piece[0], str):
            return _check_offsets(text, piece, position, number)
        if isinstance(piece[1], tuple | list) and len(piece[1]) == 2:
            span = _check_offsets(text, piece[1], position, number)
            if piece[0].strip() != text[span.start : span.end].strip():
                raise InvalidInputError(
                    f"chunk {number}: the text at {tuple(span)} is {shortened(text[span.start : span.end])}, "
                    f"not {shortened(piece[0])}; offsets count characters, not bytes or tokens"
                )
            return span
    raise InvalidInputError(
        f"chunk {number} must be a string, (start, end) or (string, (start, end)), got {shortened(piece)}"
    )


def _find(text: str, piece: str, position: int, number: int) -> Span:
    content = piece.strip()
    start = text.find(content, position)
    if start < 0:
        raise InvalidInputError(
            f"chunk {number} is not in the text behind character {position}: {shortened(content)}; "
            "chunks must be unchanged, in order, and without overlap"
        )
    return Span(start, start + len(content))


def _check_offsets(text: str, offsets: Any, position: int, number: int) -> Span:
    try:
        span = Span(operator.index(offsets[0]), operator.index(offsets[1]))
    except TypeError:
        raise InvalidInputError(
            f"chunk {number} must have whole numbers as offsets, got {shortened(offsets)}"
        ) from None
    if not 0 <= span.start <= span.end <= len(text):
        raise InvalidInputError(
            f"chunk {number} has offsets {tuple(span)} outside the text, which has {len(text)} characters"
        )
    if span.start < position:
        raise InvalidInputError(
            f"chunk {number} begins at {span.start}, before the end of the one in front of it ({position}): "
            "chunks must be in order and must not overlap"
        )
    return span
