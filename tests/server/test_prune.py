"""`POST /v1/prune`: what the library returns, over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from provence_rag import Provence, PruningOptions

from .conftest import Connect, slow_model

QUERY = "When was the tower finished?"
TOWER = "The tower was finished in 1889. My cat sleeps all day."
TEA = "Tea is hot. The tower sells tea."


def test_results_are_those_of_process(client: TestClient, model: Provence) -> None:
    documents = [TEA, TOWER, ""]
    body = {"query": QUERY, "documents": documents, "reorder": True, "threshold": 0.3, "context_after": 1}
    answer = client.post("/v1/prune", json=body).json()
    options = PruningOptions(threshold=0.3, context_after=1)
    expected = model.process(QUERY, documents, options=options, reorder=True)
    assert answer["results"] == [passage.to_dict() for passage in expected]
    tokens, kept = (sum(getattr(p, name) for p in expected) for name in ("num_tokens", "num_kept_tokens"))
    assert answer["usage"] == {"tokens_in": tokens, "tokens_out": kept, "tokens_saved": tokens - kept}
    assert 0 < kept < tokens
    assert answer["model"] == "provence"


def test_documents_with_id_title_metadata_and_sentences(client: TestClient, model: Provence) -> None:
    sentences = ["The tower was finished in 1889.", "My cat sleeps."]
    documents: list[Any] = [
        {"text": TEA, "id": 7, "metadata": {"page": [1, None]}},
        {"text": sentences, "title": "Tower", "id": "b"},
        TOWER,
    ]
    body = {"query": QUERY, "documents": documents, "top_k": 2, "separator": "\n"}
    results = client.post("/v1/prune", json=body).json()["results"]
    texts = [TEA, sentences, TOWER]
    expected = model.process(QUERY, texts, titles=[None, "Tower", None], separator="\n", top_k=2)
    assert [{k: v for k, v in r.items() if k not in ("id", "metadata")} for r in results] == [
        passage.to_dict() for passage in expected
    ]
    for result in results:
        given = documents[result["index"]]
        for key in ("id", "metadata"):
            assert result.get(key) == (given.get(key) if isinstance(given, dict) else None)


def test_tokens_of_documents_that_do_not_come_back_are_saved(client: TestClient, model: Provence) -> None:
    usage = client.post("/v1/prune", json={"query": QUERY, "documents": [TEA, TOWER], "top_k": 1}).json()[
        "usage"
    ]
    (best,) = model.process(QUERY, [TEA, TOWER], top_k=1)
    assert usage["tokens_in"] == sum(p.num_tokens for p in model.process(QUERY, [TEA, TOWER]))
    assert usage["tokens_out"] == best.num_kept_tokens


def test_several_queries_at_once_and_line_by_line(client: TestClient, model: Provence) -> None:
    queries, documents = [QUERY, "Is tea hot?", "cats"], [[TOWER, TEA], [TEA], []]
    body = {"query": queries, "documents": documents}
    expected = [[p.to_dict() for p in passages] for passages in model.process_batch(queries, documents)]
    answer = client.post("/v1/prune", json=body).json()
    assert answer["results"] == expected
    with client.stream("POST", "/v1/prune", json=body, headers={"Accept": "application/x-ndjson"}) as stream:
        assert stream.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in stream.iter_lines()]
    assert [line["results"] for line in lines] == expected
    assert [line["index"] for line in lines] == [0, 1, 2]
    for key, value in answer["usage"].items():
        assert sum(line["usage"][key] for line in lines) == value


def test_sentences_can_be_left_out(client: TestClient) -> None:
    (result,) = client.post(
        "/v1/prune", json={"query": QUERY, "documents": [TOWER], "return_sentences": False}
    ).json()["results"]
    assert "sentences" not in result
    assert result["kept_spans"] == [[0, 31]]


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "query", "query is missing (and 1 more)"),
        ({"query": 1, "documents": []}, "query", "query must be a string or a list of strings, got 1"),
        ({"query": "a", "documents": "b"}, "documents", 'documents must be a list, got "b"'),
        (
            {"query": "a", "documents": [{"text": 1}]},
            "documents[0].text",
            "documents[0].text must be a string or a list of strings, got 1",
        ),
        (
            {"query": "a", "documents": ["b", {"text": ["c", 1]}]},
            "documents[1].text[1]",
            "must be a string, got 1",
        ),
        ({"query": ["a"], "documents": [["b"], []]}, "documents", "for each of the 1 queries, got 2"),
        ({"query": ["a"], "documents": ["b"]}, "documents[0]", "documents[0] must be a list"),
        ({"query": "a", "documents": [{"text": "b", "url": "c"}]}, "documents[0].url", "GET /docs lists"),
        (
            {"query": "a", "documents": ["b"], "model": "/etc"},
            "model",
            "model is not a field of this request",
        ),
        ({"query": "a", "documents": ["b"], "top_k": "3"}, "top_k", 'top_k must be an integer, got "3"'),
        (
            {"query": "a", "documents": ["b"], "threshold": 3},
            "threshold",
            "threshold must be a number between 0",
        ),
        ({"query": "a", "documents": ["b"], "top_k": 0}, "top_k", "top_k must be an integer >= 1, got 0"),
        ({"query": "a", "documents": ["b"], "max_tokens": 0}, "max_tokens", "max_tokens must be"),
        (
            {"query": "a", "documents": ["b"], "min_documents": 2, "top_k": 1},
            "min_documents",
            "more than top_k=1",
        ),
        (
            {"query": "a", "documents": ["b"], "keep_answers": 0.999},
            "keep_answers",
            "than this checkpoint promises",
        ),
        (
            {"query": "a", "documents": ["b"], "language": "xx"},
            "language",
            "language must be 'auto' or one of",
        ),
        ({"query": " ", "documents": ["b"]}, "query", "query is blank (' '): a query needs words"),
        ({"query": ["a", ""], "documents": [[], []]}, "query[1]", "query[1] is blank"),
        (
            {"query": ["a"], "documents": [[{"text": ["b", " "]}]]},
            "documents[0][0].text[1]",
            "documents[0][0].text[1] is blank: leave out empty sentences",
        ),
        (
            {"query": "a", "documents": [{"text": ["", "b"]}]},
            "documents[0].text[0]",
            "documents[0].text[0] is blank",
        ),
        (
            {"query": "a", "documents": [1]},
            "documents[0]",
            "documents[0] must be a string or an object, got 1",
        ),
        (
            {"query": "a", "documents": [["b"]]},
            "documents[0]",
            'documents[0] must be a string or an object, got ["b"]',
        ),
        (
            {"query": "a", "documents": [{"text": None}]},
            "documents[0].text",
            "documents[0].text must be a string or a list of strings, got null",
        ),
        (
            {"query": "a", "documents": [{"text": "b", "id": True}]},
            "documents[0].id",
            "documents[0].id must be a string or an integer, got true",
        ),
        (
            {"query": "a", "documents": ["b"], "min_sentences": None},
            "min_sentences",
            "min_sentences must be an integer, got null",
        ),
        (
            {"query": "a", "documents": ["b"], "reorder": {"a": [None]}},
            "reorder",
            'reorder must be true or false, got {"a": [null]}',
        ),
        ({"query": [" "], "documents": [[]]}, "query[0]", "query[0] is blank"),
        ([], None, "the body must be an object, got []"),
    ],
)
def test_what_cannot_be_used_is_named(client: TestClient, body: Any, field: str | None, message: str) -> None:
    response = client.post("/v1/prune", json=body)
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["type"] == "invalid_input"
    assert error["field"] == field
    assert message in error["message"]


@pytest.mark.parametrize(
    "more",
    [
        {"language": "x" * 100_000},
        {"mode": "x" * 100_000},
        {"x" * 100_000: 1},
        {"top_k": ["x"] * 100_000},
        {"max_tokens": 10**4000, "mode": "off"},
        {"top_k": 1, "min_documents": 10**4000},
        {"documents": [{"text": "b", "metadata": {"x" * 100_000: float("inf")}}]},
    ],
    ids=lambda more: next(iter(more))[:20],
)
def test_long_values_are_cut_in_messages(client: TestClient, more: dict[str, Any]) -> None:
    content = json.dumps({"query": "a", "documents": ["b"], **more})
    response = client.post("/v1/prune", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert len(response.text) < 700
    assert len(response.json()["error"]["field"]) < 100


@pytest.mark.filterwarnings("ignore:1 query is longer than half of the window")
def test_a_query_of_which_only_the_beginning_is_read(client: TestClient) -> None:
    long = "tower " * 300
    expected = {
        "type": "long_query",
        "message": "1 query is longer than half of the window: only the first 256 tokens are read. "
        "Shorten the query, or raise max_length",
    }
    answer = client.post("/v1/prune", json={"query": long, "documents": [TOWER]}).json()
    assert answer["warnings"] == [{**expected, "field": "query"}]
    batch = {"query": [QUERY, long], "documents": [[TOWER], [TOWER]]}
    assert client.post("/v1/prune", json=batch).json()["warnings"] == [{**expected, "field": "query[1]"}]
    headers = {"Accept": "application/x-ndjson"}
    for query, documents, field in ((long, [TOWER], "query"), ([long], [[TOWER]], "query[0]")):
        one = {"query": query, "documents": documents}
        for options in ({}, headers):
            answer = client.post("/v1/prune", json=one, headers=options).json()
            assert answer["warnings"] == [{**expected, "field": field}]
    lines = client.post("/v1/prune", json=batch, headers=headers).text.splitlines()
    assert [json.loads(line).get("warnings") for line in lines] == [None, [{**expected, "field": "query[1]"}]]
    assert "warnings" not in client.post("/v1/prune", json={"query": QUERY, "documents": [TOWER]}).json()
    for path in ("/v1/rerank", "/v2/rerank"):
        meta = client.post(path, json={"query": long, "documents": [TOWER]}).json()["meta"]
        assert meta["warnings"] == [expected["message"]]


def test_info(client: TestClient) -> None:
    info = client.get("/info").json()
    assert info["model"]["keep_answers"] == 0.97
    assert info["backend"] == {"name": "fake", "device": "cpu"}
    assert info["limits"]["max_documents"] > 100


def test_windows_of_a_batch(connect: Connect) -> None:
    passes = []
    for batch_size in (None, 1):
        model, backend = slow_model(0)
        client = connect(model=model, batch_size=batch_size)
        before = backend.passes
        client.post("/v1/prune", json={"query": "a", "documents": ["b", "c", "d"]})
        passes.append(backend.passes - before)
    assert passes == [1, 3]
