"""Our own API: `POST /v1/prune`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from provence_rag.results import PrunedPassage
from provence_rag.server.failures import RequestError
from provence_rag.server.jobs import Answer, Job
from provence_rag.server.responses import JsonResponse, to_json
from provence_rag.server.schemas import (
    Document,
    ErrorAnswer,
    PruneAnswer,
    PruneBatchAnswer,
    PruneBatchRequest,
    PruneBody,
    PruneRequest,
)
from provence_rag.server.service import Service

__all__ = ["router"]

router = APIRouter(tags=["prune"])

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
    job = service.submit(body.groups(), body.pruning_options(), body.ranking(), separator=body.separator)
    if _NDJSON in request.headers.get("accept", ""):
        return StreamingResponse(_lines(service, body, job, request), media_type=_NDJSON)
    answers = [answer async for answer in service.answers(job, request)]
    results = [
        _passages(answer, documents, body)
        for answer, (_, documents) in zip(answers, body.groups(), strict=True)
    ]
    several = isinstance(body, PruneBatchRequest)
    values = _answer(service, results if several else results[0], answers)
    places = [f"query[{number}]" if several else "query" for number in range(len(answers))]
    return JsonResponse({**values, **_warnings(answers, places)})


async def _lines(
    service: Service, body: PruneRequest | PruneBatchRequest, job: Job, request: Request
) -> AsyncGenerator[bytes, None]:
    number = 0
    try:
        async with aclosing(service.answers(job, request)) as answers:
            async for answer in answers:
                results = _passages(answer, body.groups()[number][1], body)
                values = {**_answer(service, results, [answer]), **_warnings([answer], [f"query[{number}]"])}
                yield to_json({"index": number, **values}) + b"\n"
                number += 1
    except RequestError as error:  # too late for a status
        yield to_json({"index": number, **error.body(request.url.path)}) + b"\n"


def _answer(service: Service, results: Any, answers: Sequence[Answer]) -> dict[str, Any]:
    tokens_in = sum(answer.tokens_in for answer in answers)
    tokens_out = sum(answer.tokens_out for answer in answers)
    usage = {"tokens_in": tokens_in, "tokens_out": tokens_out, "tokens_saved": tokens_in - tokens_out}
    return {"model": service.info.model.name, "results": results, "usage": usage}


def _warnings(answers: Sequence[Answer], places: Sequence[str]) -> dict[str, Any]:
    """Nothing if there is nothing to warn of."""
    found = [
        {**asdict(notice), "field": place}
        for answer, place in zip(answers, places, strict=True)
        for notice in answer.notices
    ]
    return {"warnings": found} if found else {}


def _passages(
    answer: Answer, documents: Sequence[Document], body: PruneRequest | PruneBatchRequest
) -> list[dict[str, Any]]:
    return [_passage(one, documents[one.index], body.return_sentences) for one in answer.passages]


def _passage(passage: PrunedPassage, document: Document, return_sentences: bool) -> dict[str, Any]:
    found = passage.to_dict()
    if not return_sentences:
        del found["sentences"]
    given = document.model_dump(include={"id", "metadata"}, exclude_none=True)
    return {**found, **given}
