"""A server that says what a test wants it to say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from provence_rag import Provence
from provence_rag.testing import fake_provence


@dataclass
class Script:
    """What a server answers, and what it was asked."""

    url: str
    answers: list[tuple[int, dict[str, str], bytes] | Callable[[], None]] = field(default_factory=list)
    """The next answers: status, headers and body, or a function to run in place of an answer, after which the
    connection is closed. With the last one, the server goes on."""

    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Request lines and headers."""

    connections: set[Any] = field(default_factory=set)
    """Addresses of the clients."""

    def says(self, status: int, content: Any, **headers: str) -> None:
        """Add an answer."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.answers.append((status, {name.replace("_", "-"): v for name, v in headers.items()}, body))


@pytest.fixture
def script() -> Iterator[Script]:
    """A server on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.requests.append((self.requestline, {k.lower(): v for k, v in self.headers.items()}))
            script.connections.add(self.client_address)
            answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            if callable(answer):
                answer()
                self.close_connection = True
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = headers.get("Connection") == "closed unannounced"

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script = Script(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def fake() -> Provence:
    """The model behind `fake_url`."""
    return fake_provence()


@pytest.fixture(scope="session")
def fake_url(serve: Callable[..., str], fake: Provence) -> str:
    """A server with a model that judges by shared words."""
    return serve(fake)
