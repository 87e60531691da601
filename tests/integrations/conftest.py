"""What both adapters are tested with: a model without weights, and no network."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import signature
from threading import Event, current_thread
from typing import Any

import pytest

from provence_rag import Provence, PrunedPassage
from provence_rag.testing import fake_provence


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a test of the integrations opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def model() -> Provence:
    return fake_provence()


@pytest.fixture
def calls(model: Provence, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every `process()` call on `model`, and the thread that it ran in."""
    seen: list[dict[str, Any]] = []
    process = model.process

    def recording(query: str, documents: list[str], **options: Any) -> list[PrunedPassage]:
        seen.append({"query": query, "documents": documents, "thread": current_thread(), **options})
        return process(query, documents, **options)

    monkeypatch.setattr(model, "process", recording)
    return seen


@pytest.fixture
def loads(model: Provence, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every `Provence.from_pretrained()` call that are not its defaults.

    The call takes a moment and gives `model`.
    """
    seen: list[dict[str, Any]] = []
    defaults = {name: p.default for name, p in signature(Provence.from_pretrained).parameters.items()}

    def from_pretrained(name_or_path: str | None = None, **settings: Any) -> Provence:
        given = {name: value for name, value in settings.items() if value != defaults[name]}
        seen.append({"name_or_path": name_or_path, **given})
        time.sleep(0.05)
        return model

    monkeypatch.setattr(Provence, "from_pretrained", from_pretrained)
    return seen


@pytest.fixture
def heartbeat(
    model: Provence, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], AbstractAsyncContextManager[None]]:
    """A context in which `model` waits for the event loop to tick: one that it blocked would never do so."""
    process = model.process

    @asynccontextmanager
    async def heartbeat() -> AsyncIterator[None]:
        reading, ticked = Event(), Event()

        def waiting(*args: Any, **options: Any) -> list[PrunedPassage]:
            reading.set()
            assert ticked.wait(timeout=5), "the event loop stood still"
            return process(*args, **options)

        async def ticking() -> None:
            while not reading.is_set():  # what ticks before the model reads proves nothing
                await asyncio.sleep(0.001)
            for _ in range(3):
                await asyncio.sleep(0.001)
            ticked.set()

        with monkeypatch.context() as patch:
            patch.setattr(model, "process", waiting)
            task = asyncio.create_task(ticking())
            yield
            await asyncio.wait_for(task, timeout=5)

    return heartbeat
