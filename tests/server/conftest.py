"""A server with a model that judges by shared words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from provence_rag import Provence
from provence_rag.server import ServerSettings, create_app
from provence_rag.testing import fake_provence


@pytest.fixture(scope="session")
def model() -> Provence:
    return fake_provence()


@pytest.fixture(scope="session")
def client(model: Provence) -> Iterator[TestClient]:
    with TestClient(create_app(ServerSettings(model=model))) as client:
        yield client
