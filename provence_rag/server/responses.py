"""JSON that is sent."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Response

__all__ = ["JsonResponse", "to_json"]


def to_json(content: Any) -> bytes:
    """The content as JSON in UTF-8."""
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # lone surrogates have no encoding, but JSON can escape them
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


class JsonResponse(Response):
    """A response whose content is JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return to_json(content)
