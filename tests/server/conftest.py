"""Servers with a model that judges by shared words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi.testclient import TestClient

from provence_rag import Provence
from provence_rag.server import ServerSettings, create_app
from provence_rag.testing import fake_provence

Connect = Callable[..., TestClient]
Serve = Callable[..., str]


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
def address(serve: Serve, model: Provence) -> str:
    """The address of a server with the key "secret"."""
    return serve(model, api_keys=("other", "secret"))


@pytest.fixture(scope="session")
def bundled(serve: Serve) -> str:
    """The address of a server with the bundled model."""
    return serve(None)


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
