"""What a server counts, for Prometheus."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Where the workers of `provence serve --workers` leave their counts, as prometheus-client does it."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one application. With several workers, `page` adds up those of all."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "provence_requests", "Requests by API and HTTP status.", ["api", "status"], registry=registry
        )
        self._seconds = Histogram(
            "provence_request_seconds",
            "Time until the whole answer was sent.",
            ["api"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages = Histogram(
            "provence_stage_seconds",
            "Time in the queue (once a request), and of a turn: in the model, and in selecting sentences.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._sharing = Histogram(
            "provence_turn_requests",
            "Requests that shared a turn of the model.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self._waiting = Gauge(
            "provence_queue_requests",
            "Requests that wait for a turn.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._unread = Gauge(
            "provence_queue_characters",
            "Characters of accepted requests that are not read yet.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._tokens = Counter(
            "provence_tokens",
            "Tokens of documents (in), of pruned texts (out), and the difference (saved).",
            ["kind"],
            registry=registry,
        )
        self._passages = Counter("provence_passages", "Documents that were read.", registry=registry)

    def request(self, api: str, status: int, seconds: float) -> None:
        """Count a request. `api` is a route, never a path that a client made up."""
        self._requests.labels(api, status).inc()
        self._seconds.labels(api).observe(seconds)

    def waited(self, seconds: float) -> None:
        """Count the time that a request waited for its first turn."""
        self._stages.labels("queue").observe(seconds)

    def turn(self, *, requests: int, model: float, selection: float) -> None:
        """Count a turn: the number of requests in it, and its seconds by stage."""
        self._sharing.observe(requests)
        self._stages.labels("model").observe(model)
        self._stages.labels("selection").observe(selection)

    def queue(self, requests: int, characters: int) -> None:
        """Set how much is waiting."""
        self._waiting.set(requests)
        self._unread.set(characters)

    def answered(self, *, passages: int, tokens_in: int, tokens_out: int) -> None:
        """Count what a query was answered with."""
        self._passages.inc(passages)
        self._tokens.labels("in").inc(tokens_in)
        self._tokens.labels("out").inc(tokens_out)
        self._tokens.labels("saved").inc(tokens_in - tokens_out)

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if _SHARED in os.environ:
            _forget_dead_processes(Path(os.environ[_SHARED]))
            together = CollectorRegistry()
            multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
            return generate_latest(together)
        return generate_latest(self._registry)

    def close(self) -> None:
        """Take back what is waiting: this process ends."""
        self.queue(0, 0)
        if _SHARED in os.environ:
            multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def _forget_dead_processes(folder: Path) -> None:
    """Take back what is waiting in processes that were killed: `close` is not called there."""
    for process in {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*.db")}:
        if process.isdecimal() and not _lives(int(process)):
            with suppress(FileNotFoundError):  # another process may be doing the same
                multiprocess.mark_process_dead(process)  # type: ignore[no-untyped-call]


def _lives(process: int) -> bool:
    if os.name != "posix":  # elsewhere, signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is of another user
        pass
    return True
