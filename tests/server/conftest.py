"""Servers with a model that judges by shared words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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


@contextmanager
def listening(settings: ServerSettings) -> Iterator[str]:
    """The address of a server in a thread of this process."""
    config = uvicorn.Config(create_app(settings), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def address(model: Provence) -> Iterator[str]:
    """The address of a server with the key "secret"."""
    with listening(ServerSettings(model=model, api_keys=("other", "secret"))) as address:
        yield address


@pytest.fixture(scope="session")
def bundled() -> Iterator[str]:
    """The address of a server with the bundled model."""
    with listening(ServerSettings()) as address:
        yield address


class SlowBackend:
    """A backend that takes its time, but for the first pass, which a server does when it starts."""

    pad_to_multiple_of = 1

    def __init__(self, model: Provence, seconds: float) -> None:
        self.name, self.device = model.backend.name, model.backend.device
        self.passes = 0
        self._backend, self._seconds = model.backend, seconds

    def run(self, *inputs: Any) -> Any:
        if self.passes:
            time.sleep(self._seconds)
        self.passes += 1
        return self._backend.run(*inputs)


def slow_model(seconds: float) -> tuple[Provence, SlowBackend]:
    """A model each of whose passes takes so long."""
    model = fake_provence()
    model.engine.backend = backend = SlowBackend(model, seconds)
    return model, backend
