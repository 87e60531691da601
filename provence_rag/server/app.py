"""The ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from provence_rag.server.counting import router as counting
from provence_rag.server.failures import RequestError, failure_of_validation
from provence_rag.server.guard import Guard
from provence_rag.server.metrics import Metrics
from provence_rag.server.operation import router as operation
from provence_rag.server.playground import router as playground
from provence_rag.server.pruning import router as pruning
from provence_rag.server.reranking import router as reranking
from provence_rag.server.responses import JsonResponse
from provence_rag.server.service import Service
from provence_rag.server.settings import ServerSettings
from provence_rag.validation import shortened

__all__ = ["create_app"]


def create_app(settings: ServerSettings | None = None) -> FastAPI:
    """The service as an ASGI application. The model is loaded when the application starts.

    Args:
        settings: Model, limits and keys; None is the bundled model with the default limits, for everybody.
    """
    settings = settings or ServerSettings()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        model = await run_in_threadpool(lambda: settings.provence)
        service = await run_in_threadpool(Service, settings, model, metrics)
        app.state.service = service
        service.start()
        yield
        await run_in_threadpool(service.stop)
        metrics.close()

    app = FastAPI(
        title="Provence",
        summary="Rerank and prune retrieved passages in one forward pass.",
        version=version("provence-rag"),
        lifespan=lifespan,
        docs_url=None,  # pages of FastAPI load their scripts from elsewhere
        redoc_url=None,
    )
    app.state.metrics = metrics
    app.add_middleware(Guard, settings=settings, metrics=metrics)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    for router in (operation, pruning, reranking, counting, playground):
        app.include_router(router)
    return app


async def _refused(request: Request, error: Any) -> Response:
    if not isinstance(error, RequestError):  # of FastAPI itself
        kind = "not_found" if error.status_code == 404 else "invalid_input"
        error = RequestError(error.status_code, kind, str(error.detail), headers=error.headers)
    return JsonResponse(error.body(request.scope["path"]), error.status_code, error.headers)


async def _invalid(request: Request, error: Any) -> Response:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        got = shortened(kind)
        message = f"the body must be JSON with the header `Content-Type: application/json`, got {got}"
        return await _refused(request, RequestError(415, "invalid_input", message))
    return await _refused(request, failure_of_validation(error.errors()))
