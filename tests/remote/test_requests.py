"""What does not fit into one request is sent in several."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provence_rag import InvalidInputError, Provence, PruningOptions, RemoteProvence
from provence_rag.inference.engine import Pair
from provence_rag.ranking import AS_GIVEN, Ranking
from provence_rag.remote.requests import Limits, Part, renumbered, requests_for

texts = st.text('ab .\n"\\éの😀\x00', max_size=30)


@given(
    groups=st.lists(st.tuples(texts.filter(str.strip), st.lists(texts, max_size=7)), max_size=5),
    max_queries=st.integers(1, 3),
    max_documents=st.integers(1, 4),
    max_body_bytes=st.integers(700, 1000),
)
def test_every_document_is_sent_once_within_the_limits(
    groups: list[tuple[str, list[str]]], max_queries: int, max_documents: int, max_body_bytes: int
) -> None:
    pairs = [[Pair(query, text) for text in documents] for query, documents in groups]
    limits = Limits(max_queries=max_queries, max_documents=max_documents, max_body_bytes=max_body_bytes)
    requests = requests_for(pairs, PruningOptions(), Ranking(top_k=2), limits)
    sent: list[list[str]] = [[] for _ in groups]
    times = [0] * len(groups)
    for request in requests:
        assert len(request.body) <= max_body_bytes
        body = json.loads(request.body)
        if len(request.parts) == 1:  # then they are no lists of one
            body |= {name: [body[name]] for name in ("query", "documents")}
        assert 1 <= len(body["query"]) == len(body["documents"]) == len(request.parts) <= max_queries
        assert sum(map(len, body["documents"])) <= max_documents
        for part, query, documents in zip(request.parts, body["query"], body["documents"], strict=True):
            assert part.start == len(sent[part.group])
            assert query == groups[part.group][0]
            assert [{"text": pair.document} for pair in part.pairs] == documents
            sent[part.group] += [one["text"] for one in documents]
            times[part.group] += 1
            is_whole = len(part.pairs) == len(groups[part.group][1])
            assert body["top_k"] == (2 if is_whole else None)
    assert sent == [documents for _, documents in groups]
    assert [bool(count) for count in times] == [bool(documents) for _, documents in groups]


def test_small_requests_are_sent_together() -> None:
    limits = Limits(max_queries=10, max_documents=10, max_body_bytes=10_000)
    pairs = [[Pair("a", "b")], [], [Pair("c", "d"), Pair("c", "e")]]
    (request,) = requests_for(pairs, PruningOptions(), AS_GIVEN, limits)
    assert json.loads(request.body)["query"] == ["a", "c"]


def test_large_requests_are_sent_in_portions_unless_a_budget_is_shared() -> None:
    limits = Limits(max_queries=10, max_documents=2000, max_body_bytes=10_000_000)
    pairs = [[Pair("a", "b" * 3_000_000), *(Pair("a", "c") for _ in range(600))]]
    requests = requests_for(pairs, PruningOptions(), Ranking(top_k=1), limits)
    assert [(part.start, len(part.pairs)) for one in requests for part in one.parts] == [
        (0, 1),
        (1, 256),
        (257, 256),
        (513, 88),
    ]
    (request,) = requests_for(pairs, PruningOptions(max_tokens=9), Ranking(top_k=1), limits)
    assert json.loads(request.body)["top_k"] == 1


SMALL: dict[str, Any] = {"max_documents": 3, "max_queries": 2, "max_body_bytes": 1500}
QUERY = "Which filter was patented?"
DOCUMENTS = [f"The filter number {n} was {'patented' * (n % 3)} once. It is round." for n in range(8)]


@pytest.fixture(scope="module")
def small(serve: Callable[..., str], fake: Provence) -> Provence:
    return Provence.from_pretrained(serve(fake, **SMALL))


@pytest.mark.parametrize(
    "ranking", [{}, {"top_k": 4}, {"reorder": True}, {"score_threshold": 0.6, "min_documents": 2}], ids=str
)
def test_results_do_not_depend_on_the_servers_limits(
    small: Provence, fake: Provence, ranking: dict[str, Any]
) -> None:
    queries = [QUERY, "What is round?", "Which number?", QUERY]
    documents = [DOCUMENTS, DOCUMENTS[:2], [], DOCUMENTS[::-1]]
    found = small.process_batch(queries, documents, **ranking)
    assert found == fake.process_batch(queries, documents, **ranking)


def test_a_budget_is_shared_by_documents_of_one_request(small: Provence, fake: Provence) -> None:
    options = PruningOptions(max_tokens=12)
    assert small.process(QUERY, DOCUMENTS[:3], options=options) == fake.process(
        QUERY, DOCUMENTS[:3], options=options
    )
    with pytest.raises(InvalidInputError) as error:
        small.process_batch([QUERY, QUERY], [DOCUMENTS[:3], DOCUMENTS], options=options)
    assert str(error.value) == (
        "documents[1] cannot share a budget, since they do not fit into one request to the server "
        "(at most 3 documents and 1,500 bytes)"
    )


def test_a_document_beyond_the_limit_is_named(small: Provence) -> None:
    with pytest.raises(InvalidInputError) as error:
        small.process(QUERY, [*DOCUMENTS, "word " * 400])
    assert str(error.value) == (
        "documents[8] takes 2,011 bytes, and the server accepts 1,500 in a request: split it"
    )


def test_limits_that_only_the_server_checks_are_its_errors(serve: Callable[..., str], fake: Provence) -> None:
    remote = RemoteProvence(serve(fake, max_document_characters=20))
    with pytest.raises(
        InvalidInputError, match=r"documents\[0\] has .* characters, and this server takes at"
    ):
        remote.process(QUERY, [DOCUMENTS[0]])


def test_errors_of_a_later_request_have_the_callers_numbers(
    serve: Callable[..., str], fake: Provence
) -> None:
    remote = RemoteProvence(serve(fake, max_documents=3, max_queries=2, max_document_characters=100))
    long = "word " * 40
    apart = [*DOCUMENTS[:7], long]  # in requests of three
    for documents, place in (
        ([apart], "documents[7]"),
        ([DOCUMENTS[:1], [], apart], "documents[2][7]"),
        ([DOCUMENTS[:1], [], [DOCUMENTS[1], long]], "documents[2][1]"),  # in one request
    ):
        with pytest.raises(InvalidInputError) as error:
            remote.process_batch([QUERY] * len(documents), documents)
        assert str(error.value) == (
            f"{place} has 200 characters, and this server takes at most 100 (--max-document-characters)"
        )


def test_messages_about_a_whole_request_stay_as_they_are() -> None:
    parts = [Part(3, 0, [Pair("a", "b")]), Part(5, 0, [Pair("a", "b")])]
    for message, expected in (
        ("query[1] has 9 characters", "query[5] has 9 characters"),
        ("documents[1][4] has 9 characters", "documents[5][4] has 9 characters"),
        ("documents has 9 documents", "documents has 9 documents"),
        ("documents[7] is unknown", "documents[7] is unknown"),
        ("the body is too large", "the body is too large"),
    ):
        assert renumbered(message, parts, is_batch=True) == expected
