"""What is sent to a server: queries with their documents, in requests that it accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from provence_rag.errors import InvalidInputError
from provence_rag.inference.engine import Pair
from provence_rag.options import OPTIONS, PruningOptions
from provence_rag.ranking import AS_GIVEN, Ranking
from provence_rag.surrogates import without_surrogates

__all__ = ["Limits", "Part", "Request", "as_json", "renumbered", "requests_for"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server accepts in one request, as it says in `/info`."""

    max_queries: int

    max_documents: int
    """Of all its queries together."""

    max_body_bytes: int


_ENOUGH_DOCUMENTS = 256
_ENOUGH_BYTES = 1_000_000
"""A request is not made larger than this, whatever the server accepts: its answer takes seconds, and other
clients get their turn in between."""

_PLACE = re.compile(r"(query|documents)((?:\[\d+\])*)")


@dataclass(frozen=True)
class Part:
    """A query with documents that follow each other in its list: with all of them, if they fit."""

    group: int
    """The query's number."""

    start: int
    """Number of the first of these documents among the query's."""

    pairs: Sequence[Pair]
    """The query with each of the documents."""


@dataclass(frozen=True)
class Request:
    """Parts that are sent together."""

    parts: Sequence[Part]

    body: bytes
    """JSON."""


def requests_for(
    groups: Sequence[Sequence[Pair]], options: PruningOptions, ranking: Ranking, limits: Limits
) -> list[Request]:
    """Distribute queries over requests.

    A query with many or long documents is sent in several requests, which have no other query. These neither
    order nor choose documents, since the server sees only some of them at a time. Documents that share a
    budget stay together.

    Args:
        groups: The pairs of each query.
        options: How sentences are selected.
        ranking: Which documents come back.
        limits: What the server accepts.

    Returns:
        The requests; the parts of a query are in order.

    Raises:
        InvalidInputError: A document alone is too long for a request, or those of a query are that share a
            budget.
    """
    separator = _separator(groups)
    settings, apart = _settings(options, ranking, separator), _settings(options, AS_GIVEN, separator)
    portion = Limits(
        max_queries=limits.max_queries,
        max_documents=min(limits.max_documents, _ENOUGH_DOCUMENTS),
        max_body_bytes=min(limits.max_body_bytes, _ENOUGH_BYTES),
    )
    requests = []
    shared = _Draft(settings, portion)
    for group, pairs in enumerate(groups):
        if not pairs:
            continue
        query, documents = as_json(pairs[0].query), [_document(pair) for pair in pairs]
        extent = len(pairs), _size(query, documents)
        if not _Draft(settings, portion).fits(*extent):
            place = f"documents[{group}]" if len(groups) > 1 else "documents"
            ranges = [(0, len(pairs))]
            if options.mode != "budget":
                longest = max(settings, apart, key=len)  # either may be sent
                drafts = _Draft(longest, portion), _Draft(longest, limits)
                ranges = list(_ranges(query, documents, *drafts, place))
            elif not _Draft(settings, limits).fits(*extent):
                raise InvalidInputError(
                    f"{place} cannot share a budget, since they do not fit into one request to the server "
                    f"(at most {limits.max_documents:,} documents and {limits.max_body_bytes:,} bytes)"
                )
            for start, end in ranges:
                alone = _Draft(settings if len(ranges) == 1 else apart, limits)
                alone.add(Part(group, start, pairs[start:end]), query, documents[start:end])
                requests.append(alone.request())
            continue
        if not shared.fits(*extent):
            requests.append(shared.request())
            shared = _Draft(settings, portion)
        shared.add(Part(group, 0, pairs), query, documents)
    return [*requests, shared.request()] if shared.parts else requests


class _Draft:
    """A request that grows as long as the server accepts it.

    Args:
        settings: Its other fields, as a JSON object.
        limits: What the server accepts.
    """

    def __init__(self, settings: bytes, limits: Limits) -> None:
        self.parts: list[Part] = []
        self.limits = limits
        self._settings = settings
        self._queries: list[bytes] = []
        self._documents: list[bytes] = []
        self._num_documents = 0
        self._size = len(self.request().body)

    def fits(self, num_documents: int, size: int) -> bool:
        """Whether the server would still accept it with one more query, its documents, and these bytes."""
        return (
            len(self.parts) < self.limits.max_queries
            and self._num_documents + num_documents <= self.limits.max_documents
            and self._size + size <= self.limits.max_body_bytes
        )

    def add(self, part: Part, query: bytes, documents: Sequence[bytes]) -> None:
        """Add a part, whose query and documents are given as JSON."""
        self.parts.append(part)
        self._queries.append(query)
        self._documents.append(b"[%s]" % b",".join(documents))
        self._num_documents += len(documents)
        self._size += _size(query, documents)

    def request(self) -> Request:
        """What there is so far."""
        queries, documents = b",".join(self._queries), b",".join(self._documents)
        # A single query is no list of one, so that the server's messages name documents as the caller does.
        several = b'"query":[%s],"documents":[%s]'
        fields = (b'"query":%s,"documents":%s' if len(self.parts) == 1 else several) % (queries, documents)
        return Request(self.parts, b"{%s,%s}" % (self._settings[1:-1], fields))


def _ranges(
    query: bytes, documents: Sequence[bytes], draft: _Draft, largest: _Draft, place: str
) -> Iterator[tuple[int, int]]:
    """Ranges of documents that each fit into an empty draft, or of one that only fits into the largest."""
    start, size = 0, _size(query, [])
    for end, document in enumerate(documents):
        if not largest.fits(1, _size(query, [document])):
            raise InvalidInputError(
                f"{place}[{end}] takes {len(document):,} bytes, and the server accepts "
                f"{largest.limits.max_body_bytes:,} in a request: split it"
            )
        if start < end and not draft.fits(end + 1 - start, size + len(document) + 1):
            yield start, end
            start, size = end, _size(query, [])
        size += len(document) + 1
    yield start, len(documents)


def _size(query: bytes, documents: Sequence[bytes]) -> int:
    """Bytes that a query and its documents add to a request, with all brackets and commas."""
    return len(query) + sum(map(len, documents)) + len(documents) + 4


def _settings(options: PruningOptions, ranking: Ranking, separator: str) -> bytes:
    """The fields of a request other than query and documents, as a JSON object with at least one entry."""
    fields = {name: value for name in OPTIONS if (value := getattr(options, name)) is not None}
    return as_json({**fields, **asdict(ranking), "separator": separator})


def _separator(groups: Sequence[Sequence[Pair]]) -> str:
    """What joins the sentences of documents that the caller has split."""
    for pair in (pair for group in groups for pair in group):
        if pair.spans is not None and len(pair.spans) > 1:
            return pair.document[pair.spans[0].end : pair.spans[1].start]
    return " "


def _document(pair: Pair) -> bytes:
    text: Any = pair.document
    if pair.spans is not None:
        text = [pair.document[span.start : span.end] for span in pair.spans]
    return as_json({"text": text} if pair.title is None else {"text": text, "title": pair.title})


def renumbered(message: str, parts: Sequence[Part], *, is_batch: bool) -> str:
    """A server's message about a request, with the numbers of the caller's lists.

    Args:
        message: It may begin with a place: `documents[3]`, or of several queries `documents[0][3]`.
        parts: Those of the request.
        is_batch: Whether the caller has several queries.
    """
    found = _PLACE.match(message)
    if found is None:
        return message
    numbers = [int(number) for number in re.findall(r"\d+", found[2])]
    if len(parts) > 1 and not (numbers and numbers[0] < len(parts)):
        return message  # about all of them
    part = parts[numbers.pop(0) if len(parts) > 1 else 0]
    if found[1] == "documents" and numbers:
        numbers[0] += part.start
    if is_batch:
        numbers.insert(0, part.group)
    place = "".join(f"[{number}]" for number in numbers)
    return f"{found[1]}{place}{message[found.end() :]}"


def as_json(value: Any) -> bytes:
    """JSON in UTF-8, with U+FFFD for lone surrogates."""
    # Lone surrogates have no encoding. The characters in their place leave offsets as they are.
    return without_surrogates(json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()
