"""Writing results to files and standard output."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer
from rich.console import Console

from provence_rag.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable

__all__ = ["to_json", "write"]


def to_json(value: Any) -> str:
    """Write plain Python types as indented JSON."""
    # ASCII, so that a lone surrogate is an escape and no reader needs to know the encoding.
    return f"{json.dumps(value, indent=2)}\n"


def write(content: str | ConsoleRenderable, output: Path | None) -> None:
    """Write text, or a `rich` renderable, to a file or (None) to standard output.

    Raises:
        InvalidInputError: The file cannot be written.
    """
    if output is None:
        _write_to_stdout(content)
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as stream:
            _write_to(stream, content)
    except OSError as error:
        raise InvalidInputError(f"{output}: {error.strerror}") from error


def _write_to_stdout(content: str | ConsoleRenderable) -> None:
    try:
        _write_to(sys.stdout, content)
    except OSError as error:
        # The reader has closed the pipe (`| head`); Windows calls that an invalid argument.
        if error.errno not in (errno.EPIPE, errno.EINVAL):
            raise
        # Python flushes once more at exit, which would fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from error


def _write_to(stream: TextIO, content: str | ConsoleRenderable) -> None:
    if isinstance(content, str):
        stream.write(content)
    else:
        console = Console(file=stream)
        # Lines are wrapped on a screen only: in a file they would differ from the document's.
        console.print(content, soft_wrap=not console.is_terminal)
    stream.flush()  # here, where a closed pipe is handled, not at exit
