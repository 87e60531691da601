"""Servers with a model that judges by shared words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from provence_rag import Provence
from provence_rag.server import ServerSettings, create_app
from provence_rag.testing import fake_provence

Connect = Callable[..., TestClient]


@pytest.fixture(scope="session")
def model() -> Provence:
    return fake_provence()


@pytest.fixture(scope="session")
def client(model: Provence) -> Iterator[TestClient]:
    """A client of a server with the default settings."""
    with TestClient(create_app(ServerSettings(model=model))) as client:
        yield client


@pytest.fixture
def connect(model: Provence) -> Iterator[Connect]:
    """A client of a server with settings of one's own."""
    with ExitStack() as stack:

        def connect(**settings: Any) -> TestClient:
            app = create_app(ServerSettings(**{"model": model, **settings}))
            return stack.enter_context(TestClient(app))

        yield connect


@pytest.fixture(scope="session")
def address(model: Provence) -> Iterator[str]:
    """The address of a server that listens, with the key "secret"."""
    app = create_app(ServerSettings(model=model, api_keys=("other", "secret")))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
