"""Passages as callers give them, cut into sentences that know where they are in the original document."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from provence_rag.chunking import MultilingualChunker, Span
from provence_rag.chunking.language import detect_languages
from provence_rag.errors import InvalidInputError
from provence_rag.prompting.context import CitedSpan
from provence_rag.results import PrunedPassage
from provence_rag.validation import check_count, check_number, check_rows, check_text, shortened, shown

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ContextPassage", "CutPassage", "Passage", "cut_passages"]

_BETWEEN = re.compile(r"[\s,]*")
"""What stands between two kept spans in a pruned text: white space, or the comma of structured data."""

_RECORDED = ("kept_spans", "original_length", "sentence_spans", "sentence_scores")
"""Fields of a `ContextPassage` that are in the record of how it was pruned."""


@dataclass(frozen=True, kw_only=True)
class ContextPassage:
    """A passage with what is known about it, for `build_context`; framework adapters make these."""

    text: str
    """What may be sent: a document, or what pruning has left of it."""

    id: str | int | None = None
    """The document's id; None is the passage's position in the list."""

    title: str | None = None
    """The document's title."""

    score: float | None = None
    """Its relevance: higher is better."""

    kept_spans: Sequence[Sequence[int]] | None = None
    """Character spans `[start, end]` of the original document that make up `text`, as in
    `PrunedPassage.kept_spans`; None if `text` is the document. If `text` is not made of them, because it was
    changed after pruning, it is sent and cited as a whole."""

    original_length: int | None = None
    """Length of the original document in characters: if it is that of `text`, nothing was removed."""

    sentence_spans: Sequence[Sequence[int]] | None = None
    """Character spans `[start, end]` of all sentences of the original document."""

    sentence_scores: Sequence[float | None] | None = None
    """The keep probability of each, by which a budget takes the best; None if they are unknown."""

    @classmethod
    def from_record(cls, record: object, **fields: Any) -> Self:
        """A passage whose metadata have a record of `PrunedPassage.provenance`; other records say nothing.

        Args:
            record: The record, or whatever the metadata have in its place.
            **fields: The other fields.
        """
        if not isinstance(record, Mapping) or record.get("kept_spans") is None:
            return cls(**fields)
        recorded: dict[str, Any] = {name: record.get(name) for name in _RECORDED}
        return cls(**fields, **recorded)


Passage: TypeAlias = "PrunedPassage | ContextPassage | str | tuple[str | int, str | PrunedPassage]"
"""What `build_context` takes: a passage, or `(id, passage)`."""


@dataclass(frozen=True, kw_only=True)
class CutPassage:
    """A passage cut into sentences."""

    position: int
    """Its position in the caller's list, which identifies it."""

    id: str | int

    index: int
    """What citations call its position, as in `CitedSpan.index`."""

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

    gaps: Collection[int] = ()
    """Numbers of the sentences before which sentences of the document may be missing from `text`."""

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
            for span in self.original(self.spans[run[0][1]].start, self.spans[run[-1][1]].end)
        ]
        return [
            CitedSpan(id=self.id, index=self.index, start=start, end=end, text=text)
            for start, end, text in spans
        ]

    def original(self, start: int, end: int) -> Iterator[tuple[int, int, str]]:
        """`(start, end, text)` of what the document has of a part of `text`."""
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
    rows = [
        _checked(f"passages[{position}]", row)
        for position, row in enumerate(check_rows("passages", passages, of="passages"))
    ]
    languages = iter(detect_languages([row.text for _, row in rows if isinstance(row, ContextPassage)]))
    cut = [
        _of_pruned(row, position, id_)
        if isinstance(row, PrunedPassage)
        else _of_text(row, position, id_, next(languages))
        for position, (id_, row) in enumerate(rows)
    ]
    _check_identity(cut)
    return cut


def _checked(name: str, row: Any) -> tuple[str | int | None, PrunedPassage | ContextPassage]:
    """The id that the caller has given, if any, and the passage."""
    id_ = None
    if isinstance(row, tuple) and len(row) == 2:
        id_, row = row
        if isinstance(row, ContextPassage):
            raise InvalidInputError(f"{name} is (id, ContextPassage): set ContextPassage.id instead")
        _check_id(f"{name}[0]", id_)
    if isinstance(row, PrunedPassage):
        return id_, row
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
    return row.id, _checked_record(name, row)


def _check_id(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidInputError(f"{name} must be an id, a string or an integer, got {shown(value)}")


def _check_identity(passages: Sequence[CutPassage]) -> None:
    """Refuse documents that citations could not tell apart, such as those of two `process` calls."""
    first: dict[tuple[str | int, int], CutPassage] = {}
    for passage in passages:
        if passage.document is None:
            continue
        other = first.setdefault((passage.id, passage.index), passage)
        if other.document != passage.document:
            raise InvalidInputError(
                f"passages[{other.position}] and passages[{passage.position}] are of different documents, "
                f"but citations of both would have the id {shortened(passage.id)} and the index "
                f"{passage.index}: give (id, passage) with an id of its own for each document"
            )


def _checked_record(name: str, passage: ContextPassage) -> ContextPassage:
    if passage.original_length is not None:
        check_count(f"{name}.original_length", passage.original_length, 0)
    kept_spans = _checked_spans(f"{name}.kept_spans", passage.kept_spans)
    spans = _checked_spans(f"{name}.sentence_spans", passage.sentence_spans)
    if spans is None or passage.sentence_scores is None:
        return replace(passage, kept_spans=kept_spans, sentence_spans=None, sentence_scores=None)
    scores = check_rows(
        f"{name}.sentence_scores", passage.sentence_scores, of="numbers", length=len(spans), whose="sentences"
    )
    for number, score in enumerate(scores):
        if score is not None:
            check_number(f"{name}.sentence_scores[{number}]", score)
    return replace(passage, kept_spans=kept_spans, sentence_spans=spans, sentence_scores=scores)


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
            f"{name} must be a list of [start, end] in ascending order, got {shown(spans)}"
        )
    return checked


def _of_pruned(passage: PrunedPassage, position: int, id_: str | int | None) -> CutPassage:
    sentences = passage.sentences
    scores = [sentence.score for sentence in sentences]
    return CutPassage(
        position=position,
        id=passage.index if id_ is None else id_,
        index=passage.index,
        title=passage.title,
        score=passage.score,
        text=passage.document,
        document=passage.document,
        spans=[Span(sentence.start, sentence.end) for sentence in sentences],
        kept=[number for number, sentence in enumerate(sentences) if sentence.kept],
        needs={number: sentence.needs for number, sentence in enumerate(sentences) if sentence.needs},
        scores=None if None in scores else scores,
    )


def _of_text(passage: ContextPassage, position: int, id_: str | int | None, language: str) -> CutPassage:
    text = passage.text
    kept_spans = None if _lost_nothing(passage) else passage.kept_spans
    chunks = MultilingualChunker(language).chunks(text)
    pieces = None if kept_spans is None else _places(text, kept_spans)
    is_changed = kept_spans is not None and pieces is None
    spans = chunks.spans
    needs = chunks.needs()
    if is_changed and spans:
        spans, needs = [Span(spans[0].start, spans[-1].end)], {}
    cut = CutPassage(
        position=position,
        id=position if id_ is None else id_,
        index=position,
        title=passage.title,
        score=None if passage.score is None else float(passage.score),
        text=text,
        document=text if kept_spans is None else None,
        spans=spans,
        kept=range(len(spans)),
        needs=needs,
        gaps=frozenset({0}) if is_changed else _after_gaps(spans, pieces or []),
        pieces=pieces,
        whole=kept_spans if is_changed else None,
    )
    return replace(cut, scores=_recorded_scores(cut, passage))


def _lost_nothing(passage: ContextPassage) -> bool:
    return (
        passage.kept_spans is not None
        and len(passage.kept_spans) == 1
        and passage.original_length == len(passage.text)
        and _places(passage.text, passage.kept_spans) is not None
    )


def _after_gaps(spans: Sequence[Span], pieces: Sequence[tuple[int, int, int]]) -> frozenset[int]:
    """Numbers of the sentences that begin another piece of the document than the one before them."""
    numbers = [bisect_left(pieces, span.end, key=itemgetter(0)) for span in spans]
    return frozenset(number for number, (one, other) in enumerate(pairwise([0, *numbers])) if one != other)


def _recorded_scores(cut: CutPassage, passage: ContextPassage) -> list[float | None] | None:
    """The keep probability of each sentence, the best of those of the document that are in it."""
    recorded, scores = passage.sentence_spans, passage.sentence_scores
    if recorded is None or scores is None or None in scores:
        return None
    ends = [end for _, end in recorded]
    best: list[float | None] = []
    for span in cut.spans:
        found: list[float] = []
        for start, end, _ in cut.original(span.start, span.end):
            first = bisect_right(ends, start)
            last = bisect_left(recorded, end, lo=first, key=itemgetter(0))
            found += [score for score in scores[first:last] if score is not None]
        best.append(max(found, default=0.0))
    return best


def _places(text: str, kept_spans: Sequence[Sequence[int]]) -> list[tuple[int, int, int]] | None:
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
