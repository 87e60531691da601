"""Tables in files of JSON Lines, read and written as streams."""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from provence_rag.batches.batch import ProvenceBatch
from provence_rag.batches.columns import check_names
from provence_rag.batches.rows import NO_CELL
from provence_rag.errors import InvalidInputError
from provence_rag.validation import parse_json, shown

__all__ = ["JsonLinesTable"]

_NumberedRecord = tuple[int, dict[str, Any]]
"""The number of a line, from 1, and the object in it."""


class JsonLinesTable:
    """A file of JSON objects, one a line, that is pruned. Blank lines are left out.

    Args:
        path: The file, gzip-compressed if its name ends with `.gz`.
        batch: What prunes its rows.
    """

    def __init__(self, path: Path, batch: ProvenceBatch) -> None:
        self._path = path
        self._batch = batch
        self.num_rows = self._first = 0
        for number, _ in self._lines():
            self.num_rows += 1
            self._first = self._first or number

    def chunks(self, start: int, size: int) -> Iterator[list[_NumberedRecord]]:
        """The records from a number on, `size` at a time, each with the number of its line."""
        lines = islice(self._lines(), start, None)
        while rows := [self._record(*line) for line in islice(lines, size)]:
            yield rows

    def cells(self, rows: Sequence[_NumberedRecord]) -> list[list[Any]]:
        """The columns that are read."""
        return [[record.get(name, NO_CELL) for _, record in rows] for name in self._batch.columns]

    def place(self, rows: Sequence[_NumberedRecord], first: int) -> Callable[[int], str]:
        """What messages call each of some rows: file and line."""
        return lambda number: f"{self._path}:{rows[number][0]}"

    def with_columns(
        self, rows: Sequence[_NumberedRecord], added: Mapping[str, list[Any]]
    ) -> list[dict[str, Any]]:
        """Records with the new keys."""
        return [
            {**record, **{name: column[number] for name, column in added.items()}}
            for number, (_, record) in enumerate(rows)
        ]

    def write(self, path: Path, rows: Sequence[Sequence[dict[str, Any]]]) -> None:
        """Write records to a file."""
        with path.open("wb") as file, _compressed(file, self._path) as lines:
            for record in (record for part in rows for record in part):
                # A lone surrogate cannot be encoded as UTF-8, but its escape is valid JSON.
                line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace")
                lines.write(line + b"\n")

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Write the records of files to one: what is compressed stays so."""
        with path.open("wb") as whole:
            for part in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        # Binary lines: JSON strings may hold line separators that text mode takes for line ends.
        try:
            with gzip.open(self._path) if self._path.suffix == ".gz" else self._path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InvalidInputError(f"{self._path}: not compressed by gzip, or damaged: {error}") from error

    def _record(self, number: int, line: bytes) -> _NumberedRecord:
        place = f"{self._path}:{number}"
        # Editors on Windows write a byte order mark.
        record = parse_json(place, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
        if not isinstance(record, dict):
            raise InvalidInputError(f"{place}: expected an object, got {shown(record)}")
        # The first record tells whether the names are right. After it, one that lacks a key is a bad row.
        needed = self._batch.columns if number == self._first else []
        check_names(list(record), needed, list(self._batch.names.values()), f"{place}: ", kind="key")
        return number, record


def _compressed(file: BinaryIO, name: Path) -> AbstractContextManager[BinaryIO | gzip.GzipFile]:
    if name.suffix != ".gz":
        return nullcontext(file)
    # Neither name nor time, so that the same records give the same bytes.
    return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
