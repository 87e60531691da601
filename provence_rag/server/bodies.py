"""Bodies of requests as they were sent: their numbers of queries and documents, before any is looked at."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from provence_rag.server.service import Service

__all__ = ["BodyRoute"]


class BodyRoute(APIRoute):
    """A route whose body is refused if it has too many queries or documents, whatever these are.

    Only then is a value made of each of them, which takes many times the memory of the body.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        handle = super().get_route_handler()

        async def handle_counted(request: Request) -> Response:
            return await handle(_CountedRequest(request.scope, request.receive))

        return handle_counted


class _CountedRequest(Request):
    async def json(self) -> Any:
        """The body.

        Raises:
            RequestError: It has too many queries or documents.
        """
        body = await super().json()
        service: Service = self.app.state.service
        service.check_numbers(body)
        return body
