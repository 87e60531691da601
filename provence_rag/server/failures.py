"""Requests that fail: why, and how each API says so."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import HTTPException

from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.options import OPTIONS
from provence_rag.server.schemas import PruneRequest
from provence_rag.validation import cut

__all__ = ["RequestError", "described", "failure_of_validation", "failure_of_value", "log_unexpected"]

_RERANKING = ("/v1/rerank", "/v2/rerank", "/rerank")
"""Paths of the APIs of others. There, the options of pruning are in the object `prune`."""

_TEI_TYPES = {
    "invalid_input": "Validation",
    "checkpoint": "Validation",
    "too_large": "Validation",
    "misdirected": "Validation",
    "unauthorized": "Unauthorized",
    "overloaded": "Overloaded",
}
"""Kinds of errors as text-embeddings-inference names them; all others are errors of its backend."""

_EXPECTED = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this request: GET /docs lists those there are",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_attributes_type": "must be an object",
    "unexpected": "must be {expected}",
    "blank": "is blank: leave out empty sentences",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
}
"""Kinds of pydantic's errors about a field -> what to say, since its own words are those of Python. Braces
hold what it expected."""

_NAMED = re.compile(r"(\w+)(?:\[\d+\])*(?=[ =:])")
"""What the library's messages begin with: the argument that is wrong, such as `documents[3]`."""


class RequestError(HTTPException):
    """A request that is not answered as it asked for.

    Args:
        status: HTTP status.
        kind: `invalid_input`, `checkpoint`, `too_large`, `misdirected`, `unauthorized`, `not_found`,
            `overloaded`, `timeout`, `cancelled` or `internal`.
        message: What is wrong, and the way out. It may quote the request, so it is never logged.
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
        super().__init__(status, message, dict(headers or {}))
        self.kind = kind
        self.field = field

    def body(self, path: str) -> Any:
        """The JSON of the response, in the shape of the API that a path belongs to."""
        if path not in _RERANKING:
            return {"error": {"type": self.kind, "message": self.detail, "field": self.field}}
        message = f"prune.{self.detail}" if self.field in OPTIONS else self.detail
        if path == "/rerank":
            return {"error": message, "error_type": _TEI_TYPES.get(self.kind, "Backend")}
        # Cohere's errors have a message, Jina's a detail.
        return {"message": message} if path == "/v2/rerank" else {"message": message, "detail": message}


def failure_of_value(error: InvalidInputError | CheckpointError) -> RequestError:
    """The library's own error about a request."""
    kind = "checkpoint" if isinstance(error, CheckpointError) else "invalid_input"
    message = str(error)
    named = _NAMED.match(message)
    field = named[0] if named and named[1] in PruneRequest.model_fields else None
    return RequestError(422, kind, message, field=field)


def failure_of_validation(errors: Sequence[Mapping[str, Any]]) -> RequestError:
    """What pydantic found wrong with a body: the first of it, since the rest often follows from that."""
    error = errors[0]
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, InvalidInputError):  # it names the field
        return failure_of_value(raised)
    field = _place(error["loc"])
    message = described(field or "the body", error)
    if len(errors) > 1:
        message += f" (and {len(errors) - 1} more)"
    return RequestError(422, "invalid_input", message, field=field or None)


def described(name: str, error: Mapping[str, Any]) -> str:
    """What pydantic found wrong with a value, in our words.

    Args:
        name: What the value is called.
        error: One of pydantic's errors.
    """
    context = error.get("ctx", {})
    if expected := _EXPECTED.get(error["type"]):
        got = f", got {_shown(error['input'])}" if expected.startswith("must be") else ""
        return f"{name} {expected.format_map(context)}{got}"
    return f"{name}: {context.get('error') or error['msg']}"


def _shown(value: Any) -> str:
    """The beginning of a value, as JSON."""
    try:
        return cut(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        return "lists or objects that are nested too deeply"


def _place(location: Sequence[str | int]) -> str:
    """A place in a body as one would write it: `documents[3].text`."""
    path = ""
    for part in location[1:]:  # after "body"
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("<"):  # else the branch of a union
            path += f".{cut(part)}" if path else cut(part)
    return path


def log_unexpected(logger: logging.Logger, error: BaseException) -> None:
    """Log where an error that nobody expected was raised. Its message is left out: it may quote a passage."""
    places = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s at\n%s", type(error).__name__, places)
