"""Routes for those who run a server: is it alive, is it ready, what is it, what does it do."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from provence_rag.server.failures import RequestError
from provence_rag.server.info import Info
from provence_rag.server.metrics import CONTENT_TYPE_LATEST, Metrics
from provence_rag.server.reference_page import reference_page
from provence_rag.server.service import Service

__all__ = ["router"]

router = APIRouter(tags=["operation"])


@router.get("/health")
async def health() -> dict[str, str]:
    """Whether the process is alive."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """Whether requests are accepted; 503 if not, as while the server stops."""
    service: Service = request.app.state.service
    if not service.is_ready:
        raise RequestError(503, "overloaded", "this server is stopping")
    return {"status": "ready"}


@router.get("/info")
async def info(request: Request) -> Info:
    """The model, the limits and the defaults."""
    service: Service = request.app.state.service
    return service.info


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """What is counted, for Prometheus."""
    counted: Metrics = request.app.state.metrics
    return Response(counted.page(), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The API, for people."""
    return Response(reference_page(request.app.openapi()), media_type="text/html; charset=utf-8")
