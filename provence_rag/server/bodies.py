"""Bodies of requests as they were sent: their numbers of queries and documents, before any is looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from provence_rag.server.failures import RequestError
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
            RequestError: It is not JSON, or has too many queries or documents.
        """
        try:
            body = await super().json()
        except (RecursionError, ValueError) as error:
            raise RequestError(400, "invalid_input", f"the body is not {_problem(error)}") from error
        service: Service = self.app.state.service
        service.check_numbers(body)
        return body


def _problem(error: RecursionError | ValueError) -> str:
    """What it is not, why and where; nothing of it is quoted."""
    if isinstance(error, json.JSONDecodeError):
        return f"valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"{error.encoding.upper()}: {error.reason} at byte {error.start}"
    if isinstance(error, RecursionError):
        return "JSON that can be read: lists or objects are nested too deeply"
    return "JSON that can be read: an integer has too many digits"
