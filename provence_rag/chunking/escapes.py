r"""Characters that JSON writes as `\u6771`: what `json.dumps` does by default with all that is not ASCII."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from provence_rag.chunking.base import Span

__all__ = ["ESCAPE", "reading_of", "without_escapes"]

ESCAPE = re.compile(r"\\(?:u[dD][89abAB]\w{2}\\u[dD][c-fC-F]\w{2}|u\w{4}|.)", re.DOTALL)
"""An escaped character of a JSON string; two escapes of surrogates are one."""


def without_escapes(text: str) -> str:
    r"""Return JSON with the characters that `\u6771` and the like stand for; other escapes stay."""
    return ESCAPE.sub(_character, text) if "\\u" in text else text


def _character(match: re.Match[str]) -> str:
    escape = match.group()
    if not escape.startswith("\\u"):
        return escape
    try:
        return str(json.loads(f'"{escape}"'))
    except ValueError:
        return escape  # the text around the JSON may hold anything


def reading_of(text: str, pieces: Iterable[Span]) -> str | None:
    """Return JSON as a model reads it, in as many characters; None if that is the text itself.

    A piece has spaces, then its own characters without escapes: what is read of it is where it is, and most
    pieces have a space before them already.
    """
    if "\\u" not in text:
        return None
    parts: list[str] = []
    position = 0
    for start, end in pieces:
        parts += (text[position:start], without_escapes(text[start:end]).rjust(end - start))
        position = end
    parts.append(text[position:])
    return "".join(parts)
