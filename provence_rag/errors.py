"""The exceptions that the library raises on purpose."""

from __future__ import annotations

__all__ = ["CheckpointError", "InvalidInputError", "MissingExtraError", "ProvenceError"]


class ProvenceError(Exception):
    """Base of every exception raised on purpose by provence-rag."""


class InvalidInputError(ProvenceError, ValueError):
    """An argument has an invalid value; the message names the argument, the value and what is expected."""


class CheckpointError(ProvenceError, ValueError):
    """A checkpoint is missing or damaged, or cannot do what was asked of it."""


class MissingExtraError(ProvenceError, ImportError):
    """An optional dependency is not installed; the message has the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: pip install 'provence-rag[{extra}]'")
        self.args = (what, extra)  # what unpickling passes to __init__
