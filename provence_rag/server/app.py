"""The ASGI application: routes, and the life of the model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from provence_rag.errors import ProvenceError
from provence_rag.server.failures import RequestError, failure_of_validation, failure_of_value
from provence_rag.server.info import Info, describe
from provence_rag.server.schemas import Document, PruneAnswer, PruneBatchAnswer, PruneBatchRequest, PruneBody
from provence_rag.server.settings import ServerSettings
from provence_rag.server.work import Answer, Task, tasks_of

__all__ = ["create_app"]


class _Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        try:
            return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:  # lone surrogates have no encoding, but JSON can escape them
            return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def create_app(settings: ServerSettings | None = None) -> FastAPI:
    """The service as an ASGI application. The model is loaded when the application starts."""
    settings = settings or ServerSettings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        model = await run_in_threadpool(lambda: settings.provence)
        app.state.model = model
        app.state.info = await run_in_threadpool(describe, settings, model)
        yield

    app = FastAPI(
        title="Provence",
        summary="Rerank and prune retrieved passages in one forward pass.",
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.add_exception_handler(RequestError, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ProvenceError, _refused)
    app.add_exception_handler(HTTPException, _http)

    @app.get("/info")
    def info(request: Request) -> Info:
        """The model, its limits and defaults."""
        found: Info = request.app.state.info
        return found

    @app.post("/v1/prune", response_model=PruneAnswer | PruneBatchAnswer)
    async def prune(body: PruneBody, request: Request) -> Response:
        """Rerank and prune the documents of one query, or of several.

        With `Accept: application/x-ndjson`, the answer to each query is a line of its own, as soon as it is
        known.
        """
        model = request.app.state.model
        groups = body.groups()
        tasks = tasks_of(
            groups,
            body.pruning_options(),
            body.ranking(),
            engine=model.engine,
            settings=settings,
            separator=body.separator,
        )
        name = request.app.state.info.model.name

        def passages(answer: Answer, documents: list[Document]) -> list[dict[str, Any]]:
            return [_passage(p, documents[p.index], body.return_sentences) for p in answer.passages]

        if "application/x-ndjson" in request.headers.get("accept", ""):

            async def lines() -> AsyncIterator[bytes]:
                for number, (task, (_, documents)) in enumerate(zip(tasks, groups, strict=True)):
                    answer = await run_in_threadpool(_run, model, task)
                    usage = answer.usage.model_dump()
                    results = passages(answer, documents)
                    line = {"index": number, "model": name, "results": results, "usage": usage}
                    yield bytes(_Json(line).body) + b"\n"

            return StreamingResponse(lines(), media_type="application/x-ndjson")
        answers = [await run_in_threadpool(_run, model, task) for task in tasks]
        results = [passages(a, documents) for a, (_, documents) in zip(answers, groups, strict=True)]
        usage = {
            key: sum(getattr(answer.usage, key) for answer in answers)
            for key in ("tokens_in", "tokens_out", "tokens_saved")
        }
        several = isinstance(body, PruneBatchRequest)
        return _Json({"model": name, "results": results if several else results[0], "usage": usage})

    return app


def _run(model: Any, task: Task) -> Answer:
    task.scored += model.engine.score(
        task.waiting, language=task.options.language, longest_sentence=task.options.max_tokens
    )
    return task.answer(model.engine)


def _passage(passage: Any, document: Document, return_sentences: bool) -> dict[str, Any]:
    found: dict[str, Any] = passage.to_dict()
    if not return_sentences:
        del found["sentences"]
    for key in ("id", "metadata"):
        if (value := getattr(document, key)) is not None:
            found[key] = value
    return found


async def _failed(request: Request, error: Any) -> Response:
    return _Json(error.body(request.url.path), error.status, error.headers)


async def _invalid(request: Request, error: Any) -> Response:
    return await _failed(request, failure_of_validation(error.errors()))


async def _refused(request: Request, error: Any) -> Response:
    return await _failed(request, failure_of_value(error))


async def _http(request: Request, error: Any) -> Response:
    kind = "not_found" if error.status_code == 404 else "invalid_input"
    return await _failed(
        request, RequestError(error.status_code, kind, str(error.detail), headers=error.headers)
    )
