"""The exceptions that this library raises on purpose."""

from __future__ import annotations

__all__ = ["CheckpointError", "InvalidInputError", "MissingExtraError", "ProvenceError"]


class ProvenceError(Exception):
    """Base of every exception raised on purpose by provence-rag."""


class InvalidInputError(ProvenceError, ValueError):
    """An argument has a value that cannot be used; the message names it and the way out."""


class CheckpointError(ProvenceError, ValueError):
    """A checkpoint is missing, incomplete, or cannot do what was asked of it."""


class MissingExtraError(ProvenceError, ImportError):
    """An optional dependency is not installed; the message holds the pip line."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: pip install 'provence-rag[{extra}]'")
        self.args = (what, extra)  # what a pickle gives to __init__
