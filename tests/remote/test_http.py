"""Connections, keys, retries, and servers that do not answer as they should."""

from __future__ import annotations

import os
import pickle
import socket
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.client import HTTPConnection
from typing import Any

import pytest

from provence_rag import CheckpointError, InvalidInputError, Provence, RemoteError, RemoteProvence
from provence_rag.remote import http
from provence_rag.testing import fake_provence

KEY = "secret-key-4711"
INFO = {
    "model": {"fingerprint": "f1", "config": fake_provence().config.to_dict()},
    "limits": {"max_queries": 10, "max_documents": 10, "max_body_bytes": 10_000},
}
COUNT = {"counts": [3]}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no proxy from outside, and short pauses."""
    for name in ("PROVENCE_API_KEY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(http, "_FIRST_PAUSE", 0.001)


@pytest.fixture
def remote(script: Any) -> RemoteProvence:
    """A client that has read `/info`; the script goes on from there."""
    script.says(200, INFO)
    remote = RemoteProvence(script.url, api_key=KEY, timeout=2)
    script.answers.clear()
    script.requests.clear()
    return remote


def test_one_connection_serves_many_calls(script: Any, remote: RemoteProvence) -> None:
    script.says(200, COUNT)
    assert [remote.count_tokens("a b c") for _ in range(3)] == [3, 3, 3]
    assert len(script.connections) == 1
    assert [line for line, _ in script.requests] == ["POST /v1/count_tokens HTTP/1.1"] * 3
    headers = script.requests[0][1]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["user-agent"].startswith("provence-rag/")


@pytest.mark.parametrize("status", [429, 502, 503])
@pytest.mark.parametrize("wait", [{}, {"Retry_After": "0"}, {"Retry_After": "soon"}], ids=str)
def test_a_server_that_is_not_ready_is_asked_again(
    script: Any, remote: RemoteProvence, status: int, wait: dict[str, str]
) -> None:
    script.says(status, {"error": {"type": "overloaded", "message": "the queue is full"}}, **wait)
    script.says(200, COUNT)
    assert remote.count_tokens("a b c") == 3
    assert len(script.requests) == 2


def test_it_is_left_alone_as_long_as_it_asks_for(script: Any, remote: RemoteProvence) -> None:
    script.says(503, {}, Retry_After="1")
    script.says(429, {}, Retry_After=format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2)))
    script.says(200, COUNT)
    start = time.monotonic()
    assert remote.count_tokens("a b c") == 3
    assert 1 <= time.monotonic() - start < 10


def test_a_wait_beyond_the_timeout_is_an_error(script: Any, remote: RemoteProvence) -> None:
    script.says(429, {"error": {"type": "overloaded", "message": "the queue is full"}}, Retry_After="60")
    with pytest.raises(RemoteError) as error:
        remote.count_tokens("a")
    assert str(error.value) == f"{script.url} answered with status 429: the queue is full"
    assert len(script.requests) == 1


def test_retries_come_to_an_end(script: Any, remote: RemoteProvence) -> None:
    script.says(503, {"error": {"type": "unavailable", "message": "the model is being loaded"}})
    with pytest.raises(RemoteError, match="status 503: the model is being loaded"):
        remote.count_tokens("a")
    assert len(script.requests) == 4


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (422, "invalid_input", InvalidInputError),
        (413, "too_large", InvalidInputError),
        (422, "checkpoint", CheckpointError),
        (404, "not_found", RemoteError),
        (500, "internal", RemoteError),
        (504, "timeout", RemoteError),
    ],
)
def test_a_refusal_is_raised_at_once(
    script: Any, remote: RemoteProvence, status: int, kind: str, error: type[Exception]
) -> None:
    script.says(status, {"error": {"type": kind, "message": "too much", "field": None}})
    with pytest.raises(error, match="too much") as caught:
        remote.count_tokens("a")
    assert len(script.requests) == 1
    assert KEY not in repr(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_told_without_showing_it(script: Any, remote: RemoteProvence, status: int) -> None:
    script.says(status, {"error": {"type": "unauthorized", "message": "the API key is not known"}})
    with pytest.raises(RemoteError) as error:
        remote.count_tokens("a")
    assert str(error.value) == (
        f"{script.url} answered with status {status}: the API key is not known "
        "(give api_key, or set the environment variable PROVENCE_API_KEY)"
    )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>It works!</html>"),
        (200, b'{"counts": "many"}'),
        (200, b"[]"),
        (200, b"\xff"),
        (301, b""),
        (404, b"<html>not found</html>"),
        (413, b"<html>Request Entity Too Large</html>"),
        (404, b'{"detail": "Not Found"}'),
    ],
)
def test_another_server_is_told_apart(script: Any, remote: RemoteProvence, status: int, body: bytes) -> None:
    script.says(status, body, Location="http://127.0.0.1:9/")
    with pytest.raises(RemoteError, match="but not as a server of provence-rag does: check the URL"):
        remote.count_tokens("a")
    assert len(script.requests) == 1  # a redirect is not followed


def test_a_connection_that_the_server_has_closed_is_replaced(script: Any, remote: RemoteProvence) -> None:
    script.says(200, COUNT, Connection="closed unannounced")
    for _ in range(3):
        assert remote.count_tokens("a b c") == 3
        time.sleep(0.05)  # until it is closed
    assert len(script.requests) == 3
    assert len(script.connections) > 1


def test_a_connection_that_breaks_is_tried_again(script: Any, remote: RemoteProvence) -> None:
    script.answers += [lambda: None, lambda: None]
    script.says(200, COUNT)
    assert remote.count_tokens("a b c") == 3


def test_an_answer_that_is_cut_short_is_asked_for_again(script: Any, remote: RemoteProvence) -> None:
    script.says(200, COUNT, Content_Length="1000", Connection="closed unannounced")
    script.says(200, COUNT)
    assert remote.count_tokens("a b c") == 3
    assert len(script.requests) == 2


def test_a_server_that_is_silent(script: Any) -> None:
    script.says(200, INFO)
    remote = RemoteProvence(script.url, timeout=0.2)
    script.answers[:] = [lambda: time.sleep(1)]
    with pytest.raises(RemoteError) as error:
        remote.count_tokens("a")
    assert str(error.value) == f"{script.url} did not answer in 0.2 seconds: raise timeout, or send less"
    assert len(script.requests) == 2  # with the one for `/info`


def test_a_connection_that_takes_too_long_is_tried_again(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, late = HTTPConnection.connect, [TimeoutError("timed out")] * 2

    def connect_late(connection: HTTPConnection) -> None:
        if late:
            raise late.pop()
        connect(connection)

    monkeypatch.setattr(HTTPConnection, "connect", connect_late)
    script.says(200, INFO)
    RemoteProvence(script.url, timeout=2)
    assert (len(late), len(script.requests)) == (0, 1)
    late += [TimeoutError("timed out")] * 2
    with pytest.raises(RemoteError, match=f"^{script.url} cannot be reached: no connection in 2 seconds$"):
        RemoteProvence(script.url, timeout=2, retries=1)


def test_nobody_is_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RemoteError, match=f"^{url} cannot be reached: .*refused") as error:
        Provence.from_pretrained(url)
    assert isinstance(error.value, OSError)


def test_a_fork_does_not_use_its_parents_connections(
    script: Any, remote: RemoteProvence, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.says(200, COUNT)
    remote.count_tokens("a")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    remote.count_tokens("a")
    assert len(script.connections) == 2


def test_a_path_before_the_api(script: Any) -> None:
    script.says(200, INFO)
    remote = RemoteProvence(f"{script.url}/models/provence/")
    assert remote.url == f"{script.url}/models/provence"
    assert script.requests[0][0] == "GET /models/provence/info HTTP/1.1"


def test_the_environments_proxy_is_used(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", script.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    script.says(200, INFO)
    RemoteProvence("http://models.example:8000")
    assert script.requests[0][0] == "GET http://models.example:8000/info HTTP/1.1"
    assert script.requests[0][1]["host"] == "models.example:8000"
    RemoteProvence(script.url)
    assert script.requests[1][0] == "GET /info HTTP/1.1"


def test_the_key_is_read_from_the_environment_and_never_shown(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.says(200, INFO)
    monkeypatch.setenv("PROVENCE_API_KEY", "from-the-environment")
    remote = Provence.from_pretrained(script.url)
    assert script.requests[-1][1]["authorization"] == "Bearer from-the-environment"
    remote = Provence.from_pretrained(script.url, api_key=KEY)
    assert script.requests[-1][1]["authorization"] == f"Bearer {KEY}"
    assert repr(remote) == f"RemoteProvence({script.url!r})"
    data = pickle.dumps(remote)
    assert KEY.encode() not in data
    assert pickle.loads(data).url == script.url
    assert script.requests[-1][1]["authorization"] == "Bearer from-the-environment"
    monkeypatch.delenv("PROVENCE_API_KEY")
    Provence.from_pretrained(script.url)
    assert "authorization" not in script.requests[-1][1]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host", "url must begin with http:// or https://, got str 'ftp://host'"),
        (8000, "url must begin with http:// or https://, got int 8000"),
        ("http://", "url must be like http://host:8000, got 'http://'"),
        ("http://host:port", "url must be like http://host:8000, got 'http://host:port'"),
        ("http://[::1", "url must be like http://host:8000, got 'http://[::1'"),
        ("http://ho st", "url must be like http://host:8000, got 'http://ho st'"),
        ("http://host/\n", "url must be like http://host:8000, got 'http://host/\\n'"),
        ("http://host?a=b", "url must be that of the server alone, without ? and #, got 'http://host?a=b'"),
        (
            "http://me:secret@host",
            "url holds a user name or a password, which would be shown: give api_key",
        ),
        (
            "https://huggingface.co/owner/name",
            "a model on the hub is named owner/name, without a URL; got 'https://huggingface.co/owner/name'",
        ),
    ],
)
def test_what_is_no_url_of_a_server(url: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        RemoteProvence(url)
    assert str(error.value) == message


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel", b"bytes", 7])
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^api_key must be a string of ASCII") as error:
        RemoteProvence("http://127.0.0.1:9", api_key=key)
    assert repr(key) not in str(error.value)


@pytest.mark.parametrize(
    "settings", [{"timeout": 0}, {"timeout": "1"}, {"retries": -1}, {"retries": 1.5}], ids=str
)
def test_settings_that_cannot_be_used(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"^{next(iter(settings))} must be"):
        RemoteProvence("http://127.0.0.1:9", **settings)
