"""Our own API: `POST /v1/prune`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from provence_rag.results import PrunedPassage
from provence_rag.server.bodies import BodyRoute
from provence_rag.server.failures import RequestError
from provence_rag.server.jobs import Answer, Job
from provence_rag.server.responses import JsonResponse, to_json
from provence_rag.server.schemas import (
    Document,
    ErrorAnswer,
    Group,
    PruneAnswer,
    PruneBatchAnswer,
    PruneBatchRequest,
    PruneBody,
    PruneRequest,
)
from provence_rag.server.service import Service

__all__ = ["router"]

router = APIRouter(tags=["prune"], route_class=BodyRoute)

_NDJSON = "application/x-ndjson"


@router.post(
    "/v1/prune",
    response_model=PruneAnswer | PruneBatchAnswer,
    responses={422: {"model": ErrorAnswer, "description": "A value cannot be used"}},
)
async def prune(body: PruneBody, request: Request) -> Response:
    """Rerank and prune the documents of one query, or of several.

    With `Accept: application/x-ndjson`, the answer to each query is a line of its own, sent as soon as it is
    known: the fields of the answer to one query, and `index`, the position of the query. A line with `error`
    ends the answers to a request that cannot be completed.
    """
    service: Service = request.app.state.service
    groups = body.groups()
    job = await service.submit(groups, body.pruning_options(), body.ranking(), separator=body.separator)
    if _NDJSON in request.headers.get("accept", ""):
        return _Lines(service, body, groups, job, request)
    answers = [answer async for answer in service.answers(job, request)]
    return await run_in_threadpool(_response, service, body, groups, answers)


def _response(
    service: Service,
    body: PruneRequest | PruneBatchRequest,
    groups: Sequence[Group],
    answers: Sequence[Answer],
) -> Response:
    results = [_passages(*one, body) for one in zip(answers, groups, strict=True)]
    several = isinstance(body, PruneBatchRequest)
    values = _answer(service, results if several else results[0], answers)
    return JsonResponse({**values, **_warnings(answers, groups)})


class _Lines(StreamingResponse):
    """The answer to each query, as a line of its own. The request is given up when the response ends."""

    def __init__(
        self,
        service: Service,
        body: PruneRequest | PruneBatchRequest,
        groups: Sequence[Group],
        job: Job,
        request: Request,
    ) -> None:
        super().__init__(self._lines(), media_type=_NDJSON)
        self._service, self._body, self._groups = service, body, groups
        self._job, self._request = job, request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""
        try:
            await super().__call__(scope, receive, send)
        finally:  # the client may leave before a line is asked for
            self._service.give_up(self._job)

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        number = 0
        try:
            async with aclosing(self._service.answers(self._job, self._request)) as answers:
                async for answer in answers:
                    yield await run_in_threadpool(self._line, number, answer)
                    number += 1
        except RequestError as error:  # too late for a status
            yield to_json({"index": number, **error.body(self._request.scope["path"])}) + b"\n"

    def _line(self, number: int, answer: Answer) -> bytes:
        group = self._groups[number]
        values = _answer(self._service, _passages(answer, group, self._body), [answer])
        return to_json({"index": number, **values, **_warnings([answer], [group])}) + b"\n"


def _answer(service: Service, results: Any, answers: Sequence[Answer]) -> dict[str, Any]:
    tokens_in = sum(answer.tokens_in for answer in answers)
    tokens_out = sum(answer.tokens_out for answer in answers)
    usage = {"tokens_in": tokens_in, "tokens_out": tokens_out, "tokens_saved": tokens_in - tokens_out}
    return {"model": service.info.model.name, "results": results, "usage": usage}


def _warnings(answers: Sequence[Answer], groups: Sequence[Group]) -> dict[str, Any]:
    """Nothing if there is nothing to warn of."""
    found = [
        {**asdict(notice), "field": f"query{group.place}"}
        for answer, group in zip(answers, groups, strict=True)
        for notice in answer.notices
    ]
    return {"warnings": found} if found else {}


def _passages(answer: Answer, group: Group, body: PruneRequest | PruneBatchRequest) -> list[dict[str, Any]]:
    return [_passage(one, group.documents[one.index], body.return_sentences) for one in answer.passages]


def _passage(passage: PrunedPassage, document: Document, return_sentences: bool) -> dict[str, Any]:
    found = passage.to_dict()
    if not return_sentences:
        del found["sentences"]
    given = {"id": document.id, "metadata": document.metadata}
    return {**found, **{name: value for name, value in given.items() if value is not None}}
