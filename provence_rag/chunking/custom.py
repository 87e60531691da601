"""Chunkers of the user's: any object or function that cuts a text."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from provence_rag.chunking.base import BaseChunker, Span, cut, trim
from provence_rag.errors import InvalidInputError
from provence_rag.validation import shortened

__all__ = ["as_chunker", "covering_spans"]

_METHODS = ("chunk", "split_text")
_WHITE_SPACE = re.compile(r"\s*")


def as_chunker(obj: Any) -> BaseChunker:
    """Make a chunker of an object of the user's.

    The result keeps a chunker's contract whatever the user's code leaves out or repeats: text between two
    pieces joins the first of them, text before the first piece joins that piece, and of two pieces that
    overlap, as those of many text splitters do, the first ends where the second begins.

    Args:
        obj: A `BaseChunker` (returned as it is), an object with a method `chunk(text)` or
            `split_text(text)` (a LangChain text splitter, say), or a function of a text. They return the
            pieces in order: strings, `(start, end)` character offsets, or `(string, (start, end))`.

    Raises:
        InvalidInputError: `obj` is nothing of the kind. The chunker that is returned raises it when it
            gets pieces that are out of order or out of range, or strings that the text does not hold.
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
        InvalidInputError: `pieces` is not a list, or a piece is not in the text or out of order.
    """
    if isinstance(pieces, (str, bytes)) or not isinstance(pieces, Iterable):
        raise InvalidInputError(f"a chunker must return a list of pieces, got {type(pieces).__name__}")
    starts: list[int] = []
    span = Span(0, 0)
    for number, piece in enumerate(pieces):
        span = _locate(text, piece, span, number)
        content = trim(text, *span)
        if content is not None:
            starts.append(content.start)
    return cut(text, 0, len(text), starts[1:])


def _locate(text: str, piece: Any, before: Span, number: int) -> Span:
    """Return where `piece` is in `text`; the piece before it is at `before`."""
    if isinstance(piece, str):
        return _find(text, piece, before, number)
    if isinstance(piece, tuple | list) and len(piece) == 2:
        if not isinstance(piece[0], str):
            return _check_offsets(text, piece, before, number)
        if isinstance(piece[1], tuple | list) and len(piece[1]) == 2:
            span = _check_offsets(text, piece[1], before, number)
            if piece[0].strip() != text[span.start : span.end].strip():
                raise InvalidInputError(
                    f"chunk {number}: the text at {tuple(span)} is {shortened(text[span.start : span.end])}, "
                    f"not {shortened(piece[0])}; offsets count characters, not bytes or tokens"
                )
            return span
    raise InvalidInputError(
        f"chunk {number} must be a string, (start, end) or (string, (start, end)), got {shortened(piece)}"
    )


def _find(text: str, piece: str, before: Span, number: int) -> Span:
    """Return where a string is: next to the piece before it, across its end, or further on."""
    content = piece.strip()
    if not content:
        return before
    white_space = _WHITE_SPACE.match(text, before.end)
    start = white_space.end() if white_space else before.end
    if not text.startswith(content, start):
        # An overlapping piece begins within the one before and goes on after it; nothing else is looked at,
        # so that finding all pieces takes linear time.
        first = max(before.start + 1, before.end - len(content) + 1)
        overlapping = text.find(content, first, before.end + len(content) - 1)
        start = overlapping if overlapping >= 0 else text.find(content, before.end)
    if start < 0:  # text that repeats itself was found too far on
        start = text.find(content, before.start)
    if start < 0:
        raise InvalidInputError(
            f"chunk {number} is not in the text after character {before.start}: {shortened(content)}; "
            "chunks must be unchanged and in order"
        )
    return Span(start, start + len(content))


def _check_offsets(text: str, offsets: Any, before: Span, number: int) -> Span:
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
    if span.start < before.start:
        raise InvalidInputError(
            f"chunk {number} begins at {span.start}, before the one that precedes it ({before.start}): "
            "chunks must be in order"
        )
    return span
