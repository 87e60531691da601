"""What all routes share: the model, who uses it next, limits, and waiting for answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore, Event
from typing import Any, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.inference.engine import Engine, Pair
from provence_rag.inputs import pairs_of_query
from provence_rag.options import PruningOptions
from provence_rag.provence import Provence
from provence_rag.ranking import Ranking
from provence_rag.server.failures import RequestError, failure_of_value
from provence_rag.server.info import Info, describe
from provence_rag.server.jobs import Answer, Job
from provence_rag.server.metrics import Metrics
from provence_rag.server.scheduler import Scheduler
from provence_rag.server.schemas import Document, Group
from provence_rag.server.settings import ServerSettings
from provence_rag.validation import check_text

__all__ = ["Service"]

_Result = TypeVar("_Result")

_WARM_UP = (
    "The server is starting. It reads this before anything else.",
    "サーバーが起動しています。最初にこれを読みます。",
)
"""Read before the first request, which would take seconds otherwise: what splits these languages is loaded by
it. What tells other languages apart takes 75 MB, and is not loaded before it is needed."""

_COUNTING = 4
"""Requests whose tokens are counted at the same time. More would take the cores from the model."""


class Service:
    """A loaded model that answers requests.

    Args:
        settings: Its limits.
        model: What answers.
        metrics: Counts what happens.
    """

    def __init__(self, settings: ServerSettings, model: Provence, metrics: Metrics) -> None:
        self._settings = settings
        self._engine: Engine = model.engine
        self._metrics = metrics
        self._scheduler = Scheduler(
            self._engine,
            capacity=settings.queue_characters,
            sharing=settings.share_batches,
            batch_size=settings.batch_size,
            metrics=metrics,
        )
        self._counting = ThreadPoolExecutor(_COUNTING, "provence-count")
        self._places = BoundedSemaphore(_COUNTING)
        self.config = model.config
        self.info: Info = describe(settings, model)
        model.process("Is it ready?", _WARM_UP)

    def start(self) -> None:
        """Begin to answer."""
        self._scheduler.start()

    def stop(self) -> None:
        """Answer what was accepted, and end."""
        self._scheduler.stop()
        self._counting.shutdown(cancel_futures=True)

    @property
    def is_ready(self) -> bool:
        """Whether requests are accepted."""
        return self._scheduler.is_ready

    def check_numbers(self, body: Any) -> None:
        """Check the numbers of queries and documents in the JSON of a request, of any API.

        Raises:
            RequestError: There are too many.
        """
        if not isinstance(body, dict):
            return
        query = body.get("query")
        if isinstance(query, list):
            self._check_limit("query", "queries", len(query), "max_queries")
        for name in ("documents", "texts"):
            if isinstance(documents := body.get(name), list):
                numbers = (len(one) if isinstance(one, list) else 1 for one in documents)
                number = sum(numbers) if isinstance(query, list) else len(documents)
                self._check_limit(name, "documents", number, "max_documents")

    async def submit(
        self,
        groups: Sequence[Group],
        options: PruningOptions,
        ranking: Ranking,
        *,
        separator: str = " ",
        documents_name: str = "documents",
    ) -> Job:
        """Check a request and put it into the queue. To be followed by `answers`.

        Args:
            groups: Queries, each with its documents. Their numbers have been checked.
            options: How sentences are selected.
            ranking: Which documents come back.
            separator: Joins the sentences of documents that are lists.
            documents_name: What the request calls its documents.

        Raises:
            RequestError: It cannot be answered, is beyond a limit, or too many are waiting.
        """
        try:
            options.check(self.config)
            ranking.check(self.config)
            pairs = await run_in_threadpool(self._pairs, groups, separator, documents_name)
        except (InvalidInputError, CheckpointError) as error:
            raise failure_of_value(error) from error
        job = Job(pairs, options, ranking)
        self._scheduler.submit(job)
        return job

    async def answers(self, job: Job, request: Request) -> AsyncGenerator[Answer, None]:
        """The answers to a request's queries, in their order, as soon as they are known.

        A request that takes too long, or whose client has gone, is given up.

        Raises:
            RequestError: There is no answer.
        """
        deadline = asyncio.get_running_loop().time() + self._settings.timeout
        gone = asyncio.ensure_future(_disconnection(request))
        try:
            for answer, pairs in zip(job.answers, job.groups, strict=True):
                found = await self._wait(answer, gone, deadline)
                self._metrics.answered(
                    passages=len(pairs), tokens_in=found.tokens_in, tokens_out=found.tokens_out
                )
                yield found
        finally:
            gone.cancel()
            self.give_up(job)

    def give_up(self, job: Job) -> None:
        """Forget a request: what is not answered yet never will be."""
        self._scheduler.cancel(job)
        for answer in job.answers:  # asyncio logs exceptions that nobody has looked at
            if not answer.cancel() and not answer.cancelled():
                answer.exception()

    async def count_tokens(self, texts: Sequence[str], request: Request) -> list[int]:
        """Count the tokens of texts, in a thread: the model and other requests go on.

        Args:
            texts: The texts. Their number has been checked.
            request: Whose client they are counted for.

        Raises:
            RequestError: One is longer than a document may be, too many requests are counted, it takes too
                long, or the client has gone.
        """
        for position, text in enumerate(texts):
            self._check_limit(f"texts[{position}]", "characters", len(text), "max_document_characters")
        if not self._places.acquire(blocking=False):
            message = "the tokens of too many requests are being counted: try again in 1 s"
            raise RequestError(429, "overloaded", message, headers={"Retry-After": "1"})
        given_up = Event()

        def count() -> list[int]:
            return [self._engine.count_tokens(text) for text in texts if not given_up.is_set()]

        deadline = asyncio.get_running_loop().time() + self._settings.timeout
        gone = asyncio.ensure_future(_disconnection(request))
        counting = self._counting.submit(count)
        counting.add_done_callback(lambda _: self._places.release())  # of the thread: it may be late
        counts = asyncio.wrap_future(counting)
        try:
            return await self._wait(counts, gone, deadline)
        finally:
            given_up.set()
            gone.cancel()
            counts.cancel()

    async def _wait(
        self, answer: asyncio.Future[_Result], gone: asyncio.Future[None], deadline: float
    ) -> _Result:
        """Wait for an answer until the client has gone or the deadline, a time of the event loop, is over."""
        either: list[asyncio.Future[Any]] = [answer, gone]
        timeout = deadline - asyncio.get_running_loop().time()
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if gone.done():
            raise RequestError(499, "cancelled", "the client has gone")
        seconds = f"{self._settings.timeout:g} s"
        message = f"not answered within {seconds}: send less, or try again later"
        raise RequestError(504, "timeout", message)

    def _pairs(self, groups: Sequence[Group], separator: str, documents_name: str) -> list[list[Pair]]:
        """The pairs of each query, once all are known to be within the limits."""
        total = 0
        for query, documents, place in groups:
            self._check_limit(f"query{place}", "characters", len(query), "max_query_characters")
            for position, document in enumerate(documents):
                number = _num_characters(document, separator)
                name = f"{documents_name}{place}[{position}]"
                self._check_limit(name, "characters", number, "max_document_characters")
                total += number
        # Only a long separator makes a request longer than its body.
        self._check_limit(documents_name, "characters", total, "max_body_bytes")
        pairs = []
        for query, documents, place in groups:
            query = check_text(f"query{place}", query, blank=False)
            texts = [document.text for document in documents]
            titles = [document.title for document in documents]
            pairs.append(pairs_of_query(query, texts, titles, separator=separator, place=place))
        return pairs

    def _check_limit(self, name: str, what: str, count: int, setting: str) -> None:
        if count > (limit := getattr(self._settings, setting)):
            option = f"--{setting.replace('_', '-')}"
            message = f"{name} has {count:,} {what}, and this server takes at most {limit:,} ({option})"
            raise RequestError(413, "too_large", message, field=name)


def _num_characters(document: Document, separator: str) -> int:
    """The length of a document, once its sentences are joined, with its title."""
    sentences = [document.text] if isinstance(document.text, str) else document.text
    num_joints = max(0, len(sentences) - 1)
    return sum(map(len, sentences)) + num_joints * len(separator) + len(document.title or "")


async def _disconnection(request: Request) -> None:
    """Return once the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
