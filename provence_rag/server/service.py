"""What all routes share: the model, who uses it next, limits, and waiting for answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from threading import Event
from typing import Any, TypeVar

from fastapi import Request

from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.inference.engine import Engine
from provence_rag.inputs import pairs_of_query
from provence_rag.options import PruningOptions
from provence_rag.provence import Provence
from provence_rag.ranking import Ranking
from provence_rag.server.failures import RequestError, failure_of_value
from provence_rag.server.info import Info, describe
from provence_rag.server.jobs import Answer, Job
from provence_rag.server.metrics import Metrics
from provence_rag.server.scheduler import Scheduler
from provence_rag.server.schemas import Document
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
            metrics=metrics,
        )
        self.config = model.config
        self.info: Info = describe(settings, model)
        model.process("Is it ready?", _WARM_UP)

    def start(self) -> None:
        """Begin to answer."""
        self._scheduler.start()

    def stop(self) -> None:
        """Answer what was accepted, and end."""
        self._scheduler.stop()

    @property
    def is_ready(self) -> bool:
        """Whether requests are accepted."""
        return self._scheduler.is_ready

    def submit(
        self,
        groups: Sequence[tuple[str, Sequence[Document]]],
        options: PruningOptions,
        ranking: Ranking,
        *,
        separator: str = " ",
        documents_name: str = "documents",
    ) -> Job:
        """Check a request and put it into the queue. To be followed by `answers`.

        Args:
            groups: Queries, each with its documents.
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
            self._check_limits(groups, documents_name)
            pairs = []
            for number, (query, documents) in enumerate(groups):
                place = f"[{number}]" if len(groups) > 1 else ""
                query = check_text(f"query{place}", query, blank=False)
                texts = [document.text for document in documents]
                titles = [document.title for document in documents]
                pairs.append(pairs_of_query(query, texts, titles, separator=separator, place=place))
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
            self._scheduler.cancel(job)
            for answer in job.answers:  # asyncio logs exceptions that nobody has looked at
                if answer.done():
                    answer.exception()

    async def count_tokens(self, texts: Sequence[str], request: Request) -> list[int]:
        """Count the tokens of texts, in a thread: the model and other requests go on.

        Raises:
            RequestError: They are beyond a limit of documents, it takes too long, or the client has gone.
        """
        limits = self._settings
        _check_limit("texts", "texts", len(texts), limits.max_documents)
        for position, text in enumerate(texts):
            _check_limit(f"texts[{position}]", "characters", len(text), limits.max_document_characters)
        given_up = Event()

        def count() -> list[int]:
            return [self._engine.count_tokens(text) for text in texts if not given_up.is_set()]

        deadline = asyncio.get_running_loop().time() + limits.timeout
        gone = asyncio.ensure_future(_disconnection(request))
        counts = asyncio.ensure_future(asyncio.to_thread(count))
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

    def _check_limits(self, groups: Sequence[tuple[str, Sequence[Document]]], documents_name: str) -> None:
        limits = self._settings
        _check_limit("query", "queries", len(groups), limits.max_queries)
        num_documents = sum(len(documents) for _, documents in groups)
        _check_limit(documents_name, "documents", num_documents, limits.max_documents)
        for number, (query, documents) in enumerate(groups):
            place = f"[{number}]" if len(groups) > 1 else ""
            _check_limit(f"query{place}", "characters", len(query), limits.max_query_characters)
            for position, document in enumerate(documents):
                _check_limit(
                    f"{documents_name}{place}[{position}]",
                    "characters",
                    sum(map(len, document.text)) + len(document.title or ""),
                    limits.max_document_characters,
                )


async def _disconnection(request: Request) -> None:
    """Return once the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _check_limit(name: str, what: str, count: int, limit: int) -> None:
    if count > limit:
        message = f"{name} has {count:,} {what}, and this server takes at most {limit:,}"
        raise RequestError(413, "too_large", message, field=name)
