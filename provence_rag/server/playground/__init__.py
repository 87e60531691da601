"""The page at `/`, on which people try the model. It needs nothing from elsewhere, and no build step.

The headers of its answers, with a strict Content-Security-Policy, are those of all answers: see `Guard`.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, HTTPException, Response

__all__ = ["router"]

_PAGE = "index.html"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# Read once: no name in a request reaches the file system.
_FILES = {
    path.name: (path.read_bytes(), _TYPES[path.suffix])
    for path in Path(__file__).parent.iterdir()
    if path.suffix in _TYPES
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> Response:
    """The page."""
    return _response(_PAGE)


@router.get("/playground/{name}")
async def file(name: str) -> Response:
    """A file that the page loads."""
    if name not in _FILES or name == _PAGE:
        raise HTTPException(404)
    return _response(name)


def _response(name: str) -> Response:
    content, kind = _FILES[name]
    return Response(content, media_type=f"{kind}; charset=utf-8")
