"""Keys, limits, headers and errors: what every request passes."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event, Semaphore
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from provence_rag import InvalidInputError, Provence
from provence_rag.server import ServerSettings, create_app, service
from provence_rag.testing import fake_provence

from .conftest import Connect, Serve, slow_model

PRUNE = {"query": "Where is tea grown?", "documents": ["Tea is grown in Assam. It rains."]}


def test_a_key_is_needed_where_there_are_some(connect: Connect) -> None:
    client = connect(api_keys=("first", "second"))
    for header in (
        {},
        {"Authorization": "Bearer third"},
        {"Authorization": "second"},
        {"Authorization": "Bearer"},
    ):
        response = client.post("/v1/prune", json=PRUNE, headers=header)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.json()["error"]["type"] == "unauthorized"
    for key in ("first", "second"):
        headers = {"Authorization": f"Bearer {key}"}
        assert client.post("/v1/prune", json=PRUNE, headers=headers).status_code == 200
    for path in ("/info", "/metrics"):
        assert client.get(path).status_code == 401
    for path in ("/health", "/ready", "/openapi.json"):
        assert client.get(path).status_code == 200
    assert client.post("/rerank", json={}).json()["error_type"] == "Unauthorized"


@pytest.mark.parametrize("key", ["", " ", " second", "two words", "second\n", "schlüssel"])
def test_keys_that_no_header_can_bear(key: str) -> None:
    with pytest.raises(ValueError, match="an API key must be of printable ASCII characters") as caught:
        ServerSettings(api_keys=("first", key))
    assert "input_value" not in str(caught.value)


def host_is_accepted(address: str, host: str) -> bool:
    """Whether a request that comes in there may call the server so."""
    response = httpx.get(f"{address}/health", headers={"Host": host}, timeout=60)
    assert response.status_code in (200, 421)
    if response.status_code == 421:
        assert response.json()["error"]["type"] == "misdirected"
        assert f"`Host: {host}`" in response.json()["error"]["message"]
        assert "--allowed-host NAME" in response.json()["error"]["message"]
    return response.status_code == 200


def test_a_web_page_cannot_lead_its_own_name_to_this_machine(serve: Serve, model: Provence) -> None:
    address = serve(model)
    for host in (
        "localhost",
        "LOCALHOST.:80",
        "127.0.0.1:8000",
        "127.0.0.2",
        "[::1]:8000",
        "[::1]",
        "10.0.0.1",
    ):
        assert host_is_accepted(address, host), host
    for host in (
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "a b",
        "*",
    ):
        assert not host_is_accepted(address, host), host
    body = httpx.post(f"{address}/v1/prune", json=PRUNE, headers={"Host": "evil.example"}, timeout=60)
    assert (body.status_code, "Assam" in body.text) == (421, False)


def test_names_that_are_allowed(serve: Serve, model: Provence) -> None:
    some = serve(model, allowed_hosts=("Rerank.example.", "*.internal"), api_keys=("secret",))
    for host in (
        "rerank.example",
        "RERANK.example:443",
        "a.internal",
        "a.b.internal.",
        "localhost",
        "127.0.0.1",
    ):
        assert host_is_accepted(some, host), host
    for host in ("internal", "example", "a.rerank.example", "rerank-example", "evilinternal"):
        assert not host_is_accepted(some, host), host
    for settings in ({"allowed_hosts": ("*",)}, {"api_keys": ("secret",)}):
        assert host_is_accepted(serve(model, **settings), "evil.example")
    for name in ("https://rerank.example", "rerank.example:8000", "", "a b"):
        with pytest.raises(ValueError, match=f"a name without scheme and port.*got {name!r}"):
            ServerSettings(allowed_hosts=(name,))


def test_requests_without_a_host_are_health_checks(serve: Serve, model: Provence) -> None:
    host, port = serve(model).removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_body_has_a_limit(connect: Connect) -> None:
    client = connect(max_body_bytes=200)
    assert client.post("/v1/prune", json=PRUNE).status_code == 200
    body = json.dumps({**PRUNE, "documents": ["x" * 300]}).encode()

    def parts() -> Iterator[bytes]:  # sent without a length
        yield body[:100]
        yield body[100:]

    for content in (body, parts()):
        headers = {"Content-Type": "application/json"}
        response = client.post("/v1/prune", content=content, headers=headers)
        assert response.status_code == 413
        assert response.json()["error"]["type"] == "too_large"


@pytest.mark.parametrize(
    ("limit", "body", "field"),
    [
        ({"max_documents": 2}, {"query": "a", "documents": ["b"] * 3}, "documents"),
        ({"max_documents": 2}, {"query": ["a", "b"], "documents": [["c"], ["d", "e"]]}, "documents"),
        ({"max_queries": 1}, {"query": ["a", "b"], "documents": [[], []]}, "query"),
        ({"max_query_characters": 3}, {"query": "abcd", "documents": []}, "query"),
        ({"max_query_characters": 3}, {"query": ["a", "abcd"], "documents": [[], []]}, "query[1]"),
        ({"max_document_characters": 3}, {"query": "a", "documents": ["b", "abcd"]}, "documents[1]"),
        (
            {"max_document_characters": 3},
            {"query": "a", "documents": [{"text": ["ab"], "title": "cd"}]},
            "documents[0]",
        ),
        ({"max_document_characters": 3}, {"query": ["a"], "documents": [["b", "abcd"]]}, "documents[0][1]"),
        (
            {"max_document_characters": 3},
            {"query": "a", "documents": [{"text": ["b", "c"]}], "separator": "--"},
            "documents[0]",
        ),
        (
            {"max_body_bytes": 300},
            {"query": "a", "documents": [{"text": ["b", "c"]}] * 10, "separator": "-" * 40},
            "documents",
        ),
        ({"max_documents": 2}, {"query": "a", "documents": [0] * 3}, "documents"),
        ({"max_documents": 2}, {"query": ["a"], "documents": [0] * 3}, "documents"),
        ({"max_documents": 2}, {"query": ["a"], "documents": [[0] * 3]}, "documents"),
        ({"max_queries": 2}, {"query": [0] * 3, "documents": []}, "query"),
    ],
)
def test_limits_name_the_field(
    connect: Connect, limit: dict[str, int], body: dict[str, Any], field: str
) -> None:
    response = connect(**limit).post("/v1/prune", json=body)
    assert response.status_code == 413
    error = response.json()["error"]
    assert error["field"] == field
    assert error["message"].startswith(f"{field} has ")
    (name,) = limit
    assert error["message"].endswith(f"(--{name.replace('_', '-')})")


@pytest.mark.parametrize("path", ["/v1/prune", "/v1/rerank", "/v2/rerank", "/rerank", "/v1/count_tokens"])
def test_all_apis_say_where_a_body_is_no_json(client: TestClient, path: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = client.post(path, content=b'{"query": secret}', headers=headers)
    assert response.status_code == 400
    assert "the body is not valid JSON: Expecting value at line 1, column 11" in response.text
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/prune", "documents"),
        ("/v1/rerank", "documents"),
        ("/v2/rerank", "documents"),
        ("/rerank", "texts"),
        ("/v1/count_tokens", "texts"),
    ],
)
def test_many_wrong_entries_are_not_looked_at_one_by_one(connect: Connect, path: str, name: str) -> None:
    client = connect(max_documents=100)
    query = {} if path == "/v1/count_tokens" else {"query": "a"}
    response = client.post(path, json={**query, name: [0] * 101})
    assert response.status_code == 413
    assert f"{name} has 101 documents, and this server takes at most 100" in response.text
    response = client.post(path, json={**query, name: [0] * 100})
    assert response.status_code == 422
    assert f"{name}[0] must be" in response.text
    assert "more)" not in response.text
    fields = {f"field{number}": 0 for number in range(1000)}
    response = client.post(path, json={**query, name: [{"text": "a", **fields}], **fields})
    assert "(and 1 more)" in response.text or "more)" not in response.text


def test_limits_of_texts_are_named_as_tei_calls_them(connect: Connect) -> None:
    response = connect(max_documents=1).post("/rerank", json={"query": "a", "texts": ["b", "c"]})
    assert response.status_code == 413
    assert response.json()["error"].startswith("texts has 2 documents")


def test_headers_and_closed_doors(client: TestClient) -> None:
    for response in (client.get("/health"), client.get("/nothing"), client.post("/v1/prune", json={})):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    response = client.options("/v1/prune", headers=headers)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("content", "kind", "status", "message"),
    [
        (b"{", "application/json", 400, "the body is not valid JSON: Expecting property name enclosed in "),
        (b'{"a":\n  tea}', "application/json", 400, "not valid JSON: Expecting value at line 2, column 3"),
        (b"[1" + b"0" * 5000 + b"]", "application/json", 400, "an integer has too many digits"),
        (b"{}", "text/plain", 415, "Content-Type: application/json"),
        (b"query=a", "application/x-www-form-urlencoded", 415, "Content-Type: application/json"),
        (b'"\xff"', "application/json", 400, "the body is not UTF-8: invalid start byte at byte 1"),
        (b"[" * 100_000, "application/json", 400, "nested too deeply"),
        (b'{"query": "a", "documents": [{"text": "b", "metadata": {"c": NaN}}]}', None, 422, "finite"),
        (b'{"query": "a", "documents": ["b"], "score_threshold": NaN}', None, 422, "score_threshold"),
        (
            b'{"query": "a", "documents": [{"text": "b", "metadata": {"c": [1e999]}}]}',
            None,
            422,
            "metadata.c",
        ),
        (b'{"query": "a", "documents": [{"text": "b", "id": 1.5}]}', None, 422, "[0].id must be a string"),
        (b'{"query": "a", "documents": ["b"], "mode": "all"}', None, 422, "mode must be '"),
    ],
)
def test_bodies_that_cannot_be_read(
    client: TestClient, content: bytes, kind: str | None, status: int, message: str
) -> None:
    headers = {"Content-Type": kind or "application/json"}
    response = client.post("/v1/prune", content=content, headers=headers)
    assert (response.status_code, message in response.text) == (status, True), response.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/prune", '{"query": "a", "documents": [{"text": "b", "metadata": {"c": %s}}]}'),
        ("/v1/prune", '{"query": "a", "documents": ["b"], "language": %s}'),
        ("/v1/rerank", '{"query": "a", "documents": [{"text": "b", "c": %s}]}'),
        ("/v2/rerank", '{"query": "a", "documents": ["b"], "more": %s}'),
    ],
)
def test_values_of_any_depth(client: TestClient, path: str, body: str) -> None:
    for depth in (0, 50, 98, *range(100, 1100, 20)):
        content = body % ("[" * depth + "1" + "]" * depth)
        response = client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code in (200, 400, 422), (depth, response.text)
        if '"c"' in body and response.status_code != 400:
            assert response.status_code == (200 if depth < 100 else 422)
            assert f'"c":{"[" * depth}1' in response.text or "c: lists and objects must be" in response.text


def test_halves_of_characters_come_back(client: TestClient, model: Provence) -> None:
    text = "Tea is grown in Assam \ud83d. It rains."
    content = json.dumps({"query": "Where is tea grown?", "documents": [text]})
    response = client.post("/v1/prune", content=content, headers={"Content-Type": "application/json"})
    (passage,) = model.process("Where is tea grown?", [text])
    assert response.json()["results"] == [passage.to_dict()]


def test_an_error_of_ours_tells_nobody_what_was_asked(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(PRUNE["documents"][0])

    monkeypatch.setattr(service.Service, "submit", fail)
    response = client.post("/v1/prune", json=PRUNE)
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "internal"
    assert "Assam" not in response.text + caplog.text
    assert "RuntimeError" in caplog.text
    assert "test_guard.py" in caplog.text


def test_no_passage_in_logs(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client.post("/v1/prune", json=PRUNE)
        client.post("/v1/prune", json={**PRUNE, "threshold": "Assam"})
    assert "Assam" not in caplog.text


def test_a_request_has_a_deadline(connect: Connect) -> None:
    slow, _ = slow_model(0.5)
    client = connect(model=slow, timeout=0.1)
    response = client.post("/v1/prune", json=PRUNE)
    assert response.status_code == 504
    assert response.json()["error"]["message"].startswith("not answered within 0.1 s")
    lines = client.post(
        "/v1/prune",
        json={"query": ["a", "b"], "documents": [["c"], ["d"]]},
        headers={"Accept": "application/x-ndjson"},
    ).text.splitlines()
    assert json.loads(lines[-1])["error"]["type"] == "timeout"


def test_an_error_after_the_deadline_is_not_logged(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    slow = fake_provence()
    client = connect(model=slow, timeout=0.1)
    go_on = Event()

    def score(*_: Any, **__: Any) -> None:
        assert go_on.wait(60)
        raise InvalidInputError(PRUNE["documents"][0])

    slow.engine.score = score  # type: ignore[method-assign,assignment]
    assert client.post("/v1/prune", json=PRUNE).status_code == 504
    go_on.set()
    while "provence_queue_characters 0.0" not in client.get("/metrics").text:
        time.sleep(0.01)
    del slow.engine.score
    for query in ("b", "c"):  # the first one is forgotten
        assert client.post("/v1/prune", json={**PRUNE, "query": query}).status_code == 200
    gc.collect()
    assert "never retrieved" not in caplog.text
    assert "Assam" not in caplog.text


def scope(query: bytes = b"") -> dict[str, Any]:
    """A request to /v1/prune as ASGI has it, for answers line by line."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/prune",
        "query_string": query,
        "headers": [(b"content-type", b"application/json"), (b"accept", b"application/x-ndjson")],
    }


async def test_errors_need_only_the_path_of_the_address(model: Provence) -> None:
    app = create_app(ServerSettings(model=model))
    statuses = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    async with app.router.lifespan_context(app):
        await app(scope(query=b"\xff"), receive, send)
    assert statuses[0] == 422


async def test_lines_that_are_not_waited_for() -> None:
    """The client leaves before the first line is asked for."""
    slow, backend = slow_model(0.02)
    app = create_app(ServerSettings(model=slow))
    text = PRUNE["documents"][0] * 600  # a turn each
    body = json.dumps({"query": PRUNE["query"], "documents": [text] * 20}).encode()
    messages: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await asyncio.sleep(0.01)

    async with app.router.lifespan_context(app):
        await app(scope(), receive, send)
        while b"provence_queue_characters 0.0" not in app.state.metrics.page():
            await asyncio.sleep(0.01)
        assert backend.passes < 60  # of some 120


def test_only_a_few_requests_are_counted_at_a_time(connect: Connect) -> None:
    slow = fake_provence()
    client = connect(model=slow)
    begun, go_on = Semaphore(0), Event()

    def count_tokens(text: str) -> int:
        begun.release()
        assert go_on.wait(60)
        return 1

    slow.engine.count_tokens = count_tokens  # type: ignore[method-assign]

    def count() -> httpx.Response:
        return client.post("/v1/count_tokens", json={"texts": ["a"]})

    with ThreadPoolExecutor(4) as pool:
        counting = [pool.submit(count) for _ in range(4)]
        assert all(begun.acquire(timeout=60) for _ in counting)
        refused = count()
        go_on.set()
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "1"
    assert refused.json()["error"]["type"] == "overloaded"
    assert [one.result().status_code for one in counting] == [200] * 4
    assert count().json() == {"counts": [1]}


def test_tokens_are_counted_within_limits(connect: Connect) -> None:
    client = connect(max_documents=2, max_document_characters=5)
    assert client.post("/v1/count_tokens", json={"texts": ["a b c", ""]}).json() == {"counts": [3, 0]}
    for texts, field in ((["a", "b", "c"], "texts"), (["a", "abcdef"], "texts[1]")):
        response = client.post("/v1/count_tokens", json={"texts": texts})
        assert response.status_code == 413
        error = response.json()["error"]
        assert (error["type"], error["field"]) == ("too_large", field)
        assert error["message"].startswith(f"{field} has ")


def test_counting_tokens_has_a_deadline_and_holds_up_nothing(connect: Connect) -> None:
    slow = fake_provence()
    client = connect(model=slow, timeout=0.5)
    begun, go_on, counted = Event(), Event(), []

    def count_tokens(text: str) -> int:
        begun.set()
        assert go_on.wait(60)
        counted.append(text)
        return 1

    slow.engine.count_tokens = count_tokens  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(client.post, "/v1/count_tokens", json={"texts": ["a", "b", "c"]})
        assert begun.wait(60)
        assert client.post("/v1/prune", json=PRUNE).status_code == 200
        response = counting.result(60)
    go_on.set()
    assert response.status_code == 504
    assert response.json()["error"]["message"].startswith("not answered within 0.5 s")
    while not counted:
        time.sleep(0.01)
    time.sleep(0.1)
    assert counted == ["a"]  # the rest was given up


def test_a_client_that_has_gone_frees_its_place(serve: Serve) -> None:
    slow, backend = slow_model(0.05)
    text = PRUNE["documents"][0] * 600  # a turn each
    body = {"query": PRUNE["query"], "documents": [text] * 50}
    with httpx.Client(base_url=serve(slow)) as client:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{client.base_url}/v1/prune", json=body, timeout=0.3)
        passes = backend.passes
        while "provence_queue_characters 0.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        assert backend.passes < passes + 30  # of some 300
        assert client.post("/v1/prune", json=PRUNE).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(serve: Serve, model: Provence) -> None:
    host, port = serve(model, timeout=0.2).removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = "POST /v1/prune HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_comes_byte_by_byte_is_not_waited_for(serve: Serve, model: Provence) -> None:
    host, port = serve(model, timeout=0.3).removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = "POST /v1/prune HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        connection.settimeout(0.05)
        for _ in range(100):  # 5 s
            connection.sendall(b" ")
            with suppress(TimeoutError):
                assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
                break
        else:
            pytest.fail("the server waits for as long as a byte comes now and then")


def test_metrics(connect: Connect) -> None:
    client = connect()
    client.post("/v1/prune", json=PRUNE)
    client.post("/v1/prune", json={})
    client.get("/no/such/path")
    page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    values = dict(line.rsplit(" ", 1) for line in page.text.splitlines() if line[0] != "#")
    assert values['provence_requests_total{api="/v1/prune",status="200"}'] == "1.0"
    assert values['provence_requests_total{api="/v1/prune",status="422"}'] == "1.0"
    assert values['provence_requests_total{api="other",status="404"}'] == "1.0"
    assert values['provence_stage_seconds_count{stage="queue"}'] == "1.0"
    assert values['provence_stage_seconds_count{stage="model"}'] == "1.0"
    assert values["provence_queue_requests"] == "0.0"
    assert values["provence_passages_total"] == "1.0"
    tokens = {
        kind: float(values[f'provence_tokens_total{{kind="{kind}"}}']) for kind in ("in", "out", "saved")
    }
    assert tokens["in"] == tokens["out"] + tokens["saved"] > tokens["out"] > 0


def test_the_api_is_described(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert {"/v1/prune", "/v1/rerank", "/v2/rerank", "/rerank", "/info"} <= schema["paths"].keys()
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name in ("POST /v2/rerank", "keep_answers", "return_sentences", "relevance_score"):
        assert name in page.text
    for default in ("null", "false", "&quot; &quot;"):
        assert f"<td>{default}<td>" in page.text
    assert not re.findall(r"<td>(None|True|False|&#x27;)", page.text)
    assert not re.findall(r"<script|<style|//", page.text)
    for name in re.findall(r"href=#(\w+)", page.text):
        assert f"id={name}>" in page.text
