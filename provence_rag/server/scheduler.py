"""Who is served next: one model, many requests.

Requests take turns. At each, the model reads documents of one request until they have `TURN` characters, so
that a small one waits for a turn of each request that came before it, and never for all of a large one.

A document is never divided. A long one would hold up everybody, so it is read on another thread, one at a
time, while other requests go on with their turns.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from threading import Condition, Thread

from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.inference.engine import Engine, Pair
from provence_rag.server.failures import RequestError, failure_of_value, log_unexpected
from provence_rag.server.jobs import Job
from provence_rag.server.metrics import Metrics

__all__ = ["TURN", "Scheduler"]

TURN = 20_000
"""Characters that the model reads at a turn: about as many as 20 passages have."""

_logger = logging.getLogger(__name__)


class _GivenUpError(Exception):
    """Nobody waits for a turn any more."""


class Scheduler:
    """Serves requests in turns, on two threads of its own: one of them is for long documents.

    Args:
        engine: Runs the model.
        capacity: Characters that may wait. A request that does not fit is refused, unless nobody waits.
        sharing: Whether small requests share a turn, and thus the batches of the model.
        batch_size: Windows per batch; None lets the engine choose.
        metrics: Counts what happens.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        capacity: int,
        sharing: bool,
        metrics: Metrics,
        batch_size: int | None = None,
    ) -> None:
        self._engine = engine
        self._capacity = capacity
        self._sharing = sharing
        self._batch_size = batch_size
        self._metrics = metrics
        self._waiting: deque[Job] = deque()
        self._num_reading = 0
        self._unread = 0
        self._changed = Condition()
        self._stopping = False
        self._speed = 30_000.0  # characters a second; a guess, until it is measured
        self._threads = [
            Thread(target=self._serve, args=(long,), name=name, daemon=True)
            for long, name in ((False, "provence"), (True, "provence-long"))
        ]

    def start(self) -> None:
        """Begin to serve."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Serve what was accepted, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def is_ready(self) -> bool:
        """Whether requests are accepted."""
        return all(thread.is_alive() for thread in self._threads) and not self._stopping

    def submit(self, job: Job) -> None:
        """Accept a request: its answers will be in its futures.

        Raises:
            RequestError: Too many are waiting, or the server is stopping.
        """
        with self._changed:
            if self._stopping:
                raise RequestError(503, "overloaded", "this server is stopping: try again")
            if self._unread and self._unread + job.unread > self._capacity:
                seconds = max(1, math.ceil(self._unread / self._speed))
                message = f"too many requests are waiting: try again in {seconds} s"
                raise RequestError(429, "overloaded", message, headers={"Retry-After": str(seconds)})
            self._waiting.append(job)
            self._count(job.unread)
            self._changed.notify_all()

    def cancel(self, job: Job) -> None:
        """Give up a request, if it is not answered yet: its place is free at once, or soon if it is read."""
        with self._changed:
            job.is_cancelled = True
            if job in self._waiting:  # else it has its turn, which ends with the next batch
                self._waiting.remove(job)
                self._count(-job.unread)

    def _serve(self, long: bool) -> None:
        while turn := self._next_turn(long):
            self._read(turn)
            with self._changed:
                self._num_reading -= len(turn)
                for job in turn:
                    if job.is_cancelled or job.is_done:
                        self._count(-job.unread)
                    else:
                        self._waiting.append(job)
                self._changed.notify_all()  # the next document of one may be for the other thread

    def _next_turn(self, long: bool) -> dict[Job, list[Pair]]:
        """The requests whose turn it is, with what is read of each; none at the end.

        Args:
            long: Whether to take a long document, or others.
        """
        with self._changed:
            while not (mine := [job for job in self._waiting if job.is_next_long == long]):
                if self._stopping and not (self._waiting or self._num_reading):
                    return {}
                self._changed.wait()
            turn: dict[Job, list[Pair]] = {}
            room = TURN
            for job in mine:
                if not turn or (self._sharing and room > 0 and job.can_share_with(mine[0])):
                    before = job.unread
                    turn[job] = job.next_pairs(room)
                    room -= before - job.unread
                    self._waiting.remove(job)
            self._num_reading += len(turn)
            self._count(room - TURN)
            return turn

    def _read(self, turn: dict[Job, list[Pair]]) -> None:
        """Score the pairs of a turn, and answer the queries that are complete with them."""
        start = time.perf_counter()
        for job in turn:
            job.begin(start, self._metrics)
        options = next(iter(turn)).options
        try:
            scored = iter(
                self._engine.score(
                    [pair for pairs in turn.values() for pair in pairs],
                    language=options.language,
                    longest_sentence=options.max_tokens,
                    batch_size=self._batch_size,
                    progress=lambda batches, _: _while_wanted(batches, turn),
                )
            )
            middle = time.perf_counter()
            for job, pairs in turn.items():
                job.take([next(scored) for _ in pairs], self._engine)
        except _GivenUpError:
            return
        except (InvalidInputError, CheckpointError) as error:
            # It is about the language or the budget, which all requests of a turn have in common.
            for job in turn:
                job.fail(failure_of_value(error))
            return
        except Exception as error:  # whatever it is, the next requests are served
            log_unexpected(_logger, error)
            for job in turn:
                job.fail(RequestError(500, "internal", "the model failed: see the server's log"))
            return
        end = time.perf_counter()
        self._metrics.turn(requests=len(turn), model=middle - start, selection=end - middle)
        read = sum(job.cost(pair) for job, pairs in turn.items() for pair in pairs)
        if read:  # else it took time all the same, and says nothing of the speed
            with self._changed:
                self._speed += 0.1 * (read / (end - start) - self._speed)

    def _count(self, characters: int) -> None:
        self._unread += characters
        self._metrics.queue(len(self._waiting), self._unread)


def _while_wanted(batches: Iterable[list[int]], jobs: Iterable[Job]) -> Iterator[list[int]]:
    """The batches of a turn, until all its requests are given up."""
    for batch in batches:
        if all(job.is_cancelled for job in jobs):
            raise _GivenUpError
        yield batch
