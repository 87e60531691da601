"""A missing library becomes the pip line that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from provence_rag.errors import MissingExtraError

__all__ = ["needs_extra"]


@contextmanager
def needs_extra(command: str, extra: str = "train") -> Iterator[None]:
    """Around a command's imports.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"provence {command}", extra) from error
