"""Requests that fail: why, and how each API says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from provence_rag.errors import CheckpointError

__all__ = ["RequestError", "failure_of_validation", "failure_of_value", "place"]


class RequestError(Exception):
    """A request that is not answered as it asked for.

    Args:
        status: HTTP status.
        kind: `invalid_input`, `checkpoint`, `unauthorized`, `too_large`, `overloaded`, `timeout`,
            `not_found`, `internal`.
        message: What is wrong, and the way out. Never part of a log.
        field: The field of the body that is wrong, such as `documents[3].text`.
        headers: Of the response.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.field = field
        self.headers = dict(headers or {})

    def body(self, path: str) -> dict[str, Any]:
        """The JSON of the response, in the shape of the API that a path belongs to."""
        if path == "/v2/rerank":  # Cohere
            return {"message": self.message}
        if path == "/v1/rerank":  # Cohere has a message, Jina a detail
            return {"message": self.message, "detail": self.message}
        if path == "/rerank":  # text-embeddings-inference
            return {"error": self.message, "error_type": _TEI.get(self.kind, "Backend")}
        return {"error": {"type": self.kind, "message": self.message, "field": self.field}}


_TEI = {
    "invalid_input": "Validation",
    "checkpoint": "Validation",
    "too_large": "Validation",
    "overloaded": "Overloaded",
    "unauthorized": "Unauthorized",
}


def failure_of_value(error: ValueError) -> RequestError:
    """The library's own error about a value."""
    return RequestError(
        422, "checkpoint" if isinstance(error, CheckpointError) else "invalid_input", str(error)
    )


def failure_of_validation(errors: Sequence[Mapping[str, Any]]) -> RequestError:
    """What pydantic found wrong with a body: the first of it, since the rest often follows from that."""
    error = errors[0]
    if error["type"] == "json_invalid":
        return RequestError(400, "invalid_input", f"the body is not valid JSON: {error['ctx']['error']}")
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, ValueError):  # one of the library's own, which names the field
        return failure_of_value(raised)
    field = place(error["loc"])
    message = str(error["msg"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    text = f"{field}: {message}{more}" if field else f"the body: {message}{more}"
    return RequestError(422, "invalid_input", text, field=field or None)


def place(location: Sequence[str | int]) -> str:
    """A place in a body as one would write it: `documents[3].text`."""
    path = ""
    for part in location[1:] if location and location[0] == "body" else location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("<"):  # the branch of a union
            path += f".{part}" if path else part
    return path
