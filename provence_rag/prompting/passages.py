"""Passages as callers give them, cut into sentences that know where they are in the original document."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import Any, TypeAlias

from provence_rag.chunking import MultilingualChunker, Span
from provence_rag.errors import InvalidInputError
from provence_rag.prompting.context import CitedSpan
from provence_rag.results import PrunedPassage
from provence_rag.validation import check_number, check_rows, check_text, shown

__all__ = ["ContextPassage", "CutPassage", "Passage", "cut_passages"]

_BETWEEN = re.compile(r"[\s,]*")
"""What stands between two kept spans in a pruned text: white space, or the comma of structured data."""


@dataclass(frozen=True, kw_only=True)
class ContextPassage:
    """A passage with what is known about it, for `build_context`; framework adapters make these."""

    text: str
    """What may be sent: a document, or what pruning has left of it."""

    id: str | int | None = None
    """The document's id; None is its position in the list."""

    title: str | None = None
    """The document's title."""

    score: float | None = None
    """Its relevance: higher is better."""

    kept_spans: Sequence[Sequence[int]] | None = None
    """Character spans `[start, end]` of the original document that make up `text`, as in
    `PrunedPassage.kept_spans`; None if `text` is the document. If `text` is not made of them, because it was
    changed after pruning, it is sent and cited as a whole."""


Passage: TypeAlias = "PrunedPassage | ContextPassage | str | tuple[str | int, str | PrunedPassage]"
"""What `build_context` takes: a passage, or `(id, passage)`."""


@dataclass(frozen=True, kw_only=True)
class CutPassage:
    """A passage cut into sentences."""

    index: int
    """Its position in the caller's list."""

    id: str | int

    title: str | None

    score: float | None

    text: str
    """What the offsets of `spans` refer to."""

    document: str | None
    """The original document, if it is known."""

    spans: Sequence[Span]
    """All sentences of `text`."""

    kept: Sequence[int]
    """Numbers of the sentences that may be sent, in order."""

    needs: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """For a sentence, those without which it cannot stand."""

    scores: Sequence[float | None] | None = None
    """Keep probability of each sentence; None if they are unknown."""

    pieces: Sequence[tuple[int, int, int]] | None = None
    """`(place in text, start, end)` of each span of the document that `text` is made of, in order. None if
    `text` is the document."""

    whole: Sequence[Sequence[int]] | None = None
    """The spans of the document, where it is unknown which of them is where in `text`."""

    def cited(self, sentences: Sequence[int]) -> list[CitedSpan]:
        """Where sentences, given in order, are in the original document; neighbours are one span."""
        runs = [list(run) for _, run in groupby(enumerate(sentences), key=lambda item: item[1] - item[0])]
        spans = [
            span
            for run in runs
            for span in self._original(self.spans[run[0][1]].start, self.spans[run[-1][1]].end)
        ]
        return [
            CitedSpan(id=self.id, index=self.index, start=start, end=end, text=text)
            for start, end, text in spans
        ]

    def _original(self, start: int, end: int) -> Iterator[tuple[int, int, str]]:
        if self.whole is not None:
            # Which piece is where is unknown: the text is that of the passage.
            yield from ((first, last, self.text) for first, last in self.whole)
        elif self.pieces is None:
            yield start, end, self.text[start:end]
        else:
            number = max(0, bisect_right(self.pieces, start, key=itemgetter(0)) - 1)
            for place, first, last in islice(self.pieces, number, None):
                a, b = max(start, place), min(end, place + last - first)
                if place >= end:
                    break
                if a < b:
                    yield first + a - place, first + b - place, self.text[a:b]


def cut_passages(passages: Any) -> list[CutPassage]:
    """Check passages and cut them into sentences.

    Raises:
        InvalidInputError: Something is not a passage.
    """
    rows = check_rows("passages", passages, of="passages")
    return [_cut(f"passages[{index}]", index, row) for index, row in enumerate(rows)]


def _cut(name: str, index: int, row: Any) -> CutPassage:
    id_ = index
    if isinstance(row, tuple) and len(row) == 2:
        id_, row = row
        if isinstance(row, ContextPassage):
            raise InvalidInputError(f"{name} is (id, ContextPassage): set ContextPassage.id instead")
        _check_id(f"{name}[0]", id_)
    if isinstance(row, PrunedPassage):
        return _of_pruned(row, index, id_)
    if isinstance(row, str):
        row = ContextPassage(text=row, id=id_)
    if not isinstance(row, ContextPassage):
        raise InvalidInputError(
            f"{name} must be a PrunedPassage, a ContextPassage, a string or (id, passage), got {shown(row)}"
        )
    if row.id is not None:
        _check_id(f"{name}.id", row.id)
    if row.title is not None:
        check_text(f"{name}.title", row.title)
    if row.score is not None:
        check_number(f"{name}.score", row.score)
    check_text(f"{name}.text", row.text)
    return _of_text(row, index, index if row.id is None else row.id, _checked_spans(name, row.kept_spans))


def _check_id(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidInputError(f"{name} must be an id, a string or an integer, got {shown(value)}")


def _checked_spans(name: str, spans: Any) -> list[Span] | None:
    if spans is None:
        return None
    try:
        checked = [Span(int(start), int(end)) for start, end in spans]
        is_valid = all(0 <= span.start < span.end for span in checked) and all(
            a.end <= b.start for a, b in pairwise(checked)
        )
    except (TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise InvalidInputError(
            f"{name}.kept_spans must be a list of [start, end] in ascending order, got {shown(spans)}"
        )
    return checked


def _of_pruned(passage: PrunedPassage, index: int, id_: str | int) -> CutPassage:
    sentences = passage.sentences
    scores = [sentence.score for sentence in sentences]
    return CutPassage(
        index=index,
        id=id_,
        title=passage.title,
        score=passage.score,
        text=passage.document,
        document=passage.document,
        spans=[Span(sentence.start, sentence.end) for sentence in sentences],
        kept=[number for number, sentence in enumerate(sentences) if sentence.kept],
        needs={number: sentence.needs for number, sentence in enumerate(sentences) if sentence.needs},
        scores=None if None in scores else scores,
    )


def _of_text(
    passage: ContextPassage, index: int, id_: str | int, kept_spans: list[Span] | None
) -> CutPassage:
    text = passage.text
    chunks = MultilingualChunker().chunks(text)
    pieces = None if kept_spans is None else _places(text, kept_spans)
    is_changed = kept_spans is not None and pieces is None
    spans = chunks.spans
    needs = chunks.needs()
    if is_changed and spans:
        spans, needs = [Span(spans[0].start, spans[-1].end)], {}
    return CutPassage(
        index=index,
        id=id_,
        title=passage.title,
        score=passage.score,
        text=text,
        document=text if kept_spans is None else None,
        spans=spans,
        kept=range(len(spans)),
        needs=needs,
        pieces=pieces,
        whole=kept_spans if is_changed else None,
    )


def _places(text: str, kept_spans: Sequence[Span]) -> list[tuple[int, int, int]] | None:
    """Where each span of the document is in a text that was made of them; None if it was not."""
    at = len(text) - len(text.lstrip())  # a document that lost nothing keeps the white space around it
    places: list[tuple[int, int, int]] = []
    for start, end in kept_spans:
        if places:
            between = _BETWEEN.match(text, at)
            assert between is not None  # it may be empty
            at = between.end()
        places.append((at, start, end))
        at += end - start
    return places if at == len(text.rstrip()) else None
