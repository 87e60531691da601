"""Documents from files and standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provence_rag.errors import InvalidInputError
from provence_rag.rendering import printable
from provence_rag.validation import check_document, parse_json

__all__ = ["Document", "read_documents"]

_PREVIEW = 80
"""Number of characters that are shown of a document without a title."""


@dataclass(frozen=True)
class Document:
    """A document and where it came from."""

    text: str
    title: str | None
    source: str

    @property
    def preview(self) -> str:
        """One line that identifies it: its source, and its title or first characters."""
        line = " ".join(printable(self.title or self.text[:_PREVIEW]).split())
        return f"{printable(self.source)}  {line}"


def read_documents(files: Sequence[str] | None) -> list[Document]:
    """Read all documents in the files; `-` is standard input, and so is an empty list.

    Raises:
        InvalidInputError: A file cannot be read, or does not hold documents; the message names file and line.
    """
    if not files and sys.stdin.isatty():
        raise InvalidInputError("no documents: give a FILE, or pipe text into standard input")
    return [document for file in files or ["-"] for document in _read_file(file)]


def _read_file(file: str) -> Iterator[Document]:
    text = _decode(_read_bytes(file), file)
    suffix = Path(file).suffix.lower()
    if suffix == ".jsonl":
        # Not str.splitlines: JSON strings may hold line separators that are not newlines.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield _as_document(parse_json(f"{file}:{number}", line), f"{file}:{number}")
    elif suffix == ".json":
        value = parse_json(file, text)
        if isinstance(value, list) and all(map(_is_document, value)):
            for number, entry in enumerate(value):
                yield _as_document(entry, f"{file}[{number}]")
        else:  # pruned by record
            yield Document(text, None, file)
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


def _is_document(entry: Any) -> bool:
    return isinstance(entry, str) or (
        isinstance(entry, dict) and isinstance(entry.get("text", entry.get("page_content")), str)
    )


def _as_document(entry: Any, source: str) -> Document:
    return Document(*check_document(source, entry), source)
