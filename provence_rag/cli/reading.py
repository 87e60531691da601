"""Documents from files and standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from provence_rag.errors import InvalidInputError
from provence_rag.rendering import printable

__all__ = ["Document", "read_documents"]

_PREVIEW = 80
"""Characters that are shown of a document without a title."""


@dataclass(frozen=True)
class Document:
    """A document and where it came from."""

    text: str
    title: str | None
    source: str

    @property
    def preview(self) -> str:
        """One line to know it by: its source, and its title or first characters."""
        line = " ".join(printable(self.title or self.text[:_PREVIEW]).split())
        return f"{printable(self.source)}  {line}"


def read_documents(files: Sequence[str] | None) -> list[Document]:
    """Read every document of the files; `-` or no file at all is standard input.

    Raises:
        InvalidInputError: A file cannot be read, or holds something else; it names file and line.
    """
    if not files and sys.stdin.isatty():
        raise InvalidInputError("no documents: give a FILE, or pipe text into standard input")
    return [document for file in files or ["-"] for document in _read_file(file)]


def _read_file(file: str) -> Iterator[Document]:
    text = _decode(_read_bytes(file), file)
    if file.lower().endswith(".jsonl"):
        # Not str.splitlines: JSON strings may hold line separators that are not newlines.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield _parse_line(line, f"{file}:{number}")
    else:
        yield Document(text, None, file)


def _read_bytes(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{file}: {error.strerror}") from error


def _decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")  # editors on Windows write a byte order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(f"{file}:{line}: not UTF-8: {error.reason}") from error


def _parse_line(line: str, source: str) -> Document:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{source}: not JSON: {error.msg} at column {error.colno}") from error
    if isinstance(entry, str):
        return Document(entry, None, source)
    text = entry.get("text", entry.get("page_content")) if isinstance(entry, dict) else None
    if not isinstance(text, str):
        raise InvalidInputError(f"{source}: expected a string, or an object with text or page_content")
    title = entry.get("title")
    if not isinstance(title, str | None):
        raise InvalidInputError(f"{source}: title must be a string, got {title!r}")
    return Document(text, title, source)
