"""A whole file of questions and passages, pruned as a stream. An interrupted run continues from there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from itertools import count, islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from filelock import FileLock, Timeout

from provence_rag.batches.batch import PASSAGES_PER_CALL, ProvenceBatch
from provence_rag.errors import InvalidInputError, MissingExtraError, RemoteError
from provence_rag.provence import Provence
from provence_rag.validation import check_count, parse_json

__all__ = ["Pruned", "prune_file", "prune_table"]

_CALLS_PER_GROUP = 16
_PARQUET = (".parquet",)
_JSON_LINES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")

_UNKNOWN = "unknown"
"""Recorded of a run in place of what cannot be compared with that of another run."""


class Pruned(NamedTuple):
    """How much has been pruned."""

    now: int
    """Rows of this run."""

    in_all: int
    """Rows of the result, with those of the runs that this one continued."""


class _Table(Protocol):
    """A file in one of the formats. What a chunk of rows is, only it knows; it has a length."""

    num_rows: int

    def chunks(self, start: int, size: int) -> Iterator[Any]: ...

    def cells(self, rows: Any) -> list[list[Any]]: ...

    def place(self, rows: Any, first: int) -> Callable[[int], str]: ...

    def with_columns(self, rows: Any, added: Mapping[str, list[Any]]) -> Any: ...

    def write(self, path: Path, rows: Sequence[Any]) -> None: ...

    def join(self, parts: Sequence[Path], path: Path) -> None: ...


class _Parts:
    """The folder of an unfinished run: a record of what the run is, and a file for each group of rows."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._suffix = suffix
        self.done: list[Path] = []
        """The files of the groups that are done."""

    def lock(self) -> AbstractContextManager[Any]:
        """Make the folder, and keep other runs out. A process that is killed loses its lock."""
        self._folder.mkdir(exist_ok=True)
        try:
            return FileLock(self._folder / "lock").acquire(timeout=0)
        except Timeout as error:
            raise InvalidInputError(
                f"{self._folder}: another run is writing to this folder: wait for it, or choose another name"
            ) from error

    def claim(self, run: Mapping[str, Any]) -> None:
        """Record what the run is, or check that the folder is of the same run and find what is done."""
        record = self._folder / "run.json"
        self.done = list(takewhile(Path.is_file, map(self._path, count())))
        if record.is_file():
            before = parse_json(str(record), record.read_bytes())
            if changed := [name for name in run if before.get(name) != run[name]]:
                raise InvalidInputError(
                    f"{self._folder}: belongs to another run, which differs in {', '.join(changed)}: "
                    "remove the folder first"
                )
            if self.done and (unknown := [name for name in run if run[name] == _UNKNOWN]):
                raise InvalidInputError(
                    f"{self._folder}: belongs to another run, and whether its {unknown[0]} is the same is "
                    "not known: remove the folder first"
                )
        else:
            with _whole_file(record) as path:
                path.write_text(json.dumps(run, default=float), encoding="utf-8")  # numpy's integers

    def add(self, table: _Table, rows: Sequence[Any]) -> None:
        """Write the next group."""
        group = self._path(len(self.done))
        with _whole_file(group) as path:
            table.write(path, rows)
        self.done.append(group)

    def finish(self, table: _Table, target: Path) -> None:
        """Join the groups to the result."""
        with _whole_file(target, self._folder) as path:
            table.join(self.done, path)

    def remove(self) -> None:
        """Remove the folder, which must not be locked: Windows removes no open file."""
        shutil.rmtree(self._folder)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08}{self._suffix}"


@contextmanager
def _whole_file(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """A path to write to, whose file gets the name `path` once it is whole and on the disk."""
    unfinished = (folder or path.parent) / f"{path.name}.{os.getpid()}"
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def prune_table(
    source: str | Path,
    target: str | Path,
    batch: ProvenceBatch,
    *,
    rows_per_group: int | None = None,
    show_progress: bool = False,
) -> int:
    """Prune the passages of a file of any size, row by row, and write all columns and the new ones.

    Rows are read and written in groups. What is done is kept in the folder `TARGET.partial`: after an
    interruption, the same call continues after the last whole group. The result is the same, byte by byte. It
    appears, and the folder goes, once all rows are done. A run cannot be continued if its model was not
    loaded with `from_pretrained`, or has a `chunker`: they cannot be compared.

    Args:
        source: A Parquet file (needs the extra `tables`), or a file of JSON Lines (`.jsonl`, `.jsonl.gz`).
        target: The file to write, in the same format. Its row groups are the groups.
        batch: The columns, the model and the options.
        rows_per_group: The most rows in a group. A group is made of equal calls of about 512 passages, so it
            may have a few rows less. None takes as many as have about 8,000 passages,
            judging by the first rows.
        show_progress: Show on standard error how much is done, at which rate, and the time left.

    Returns:
        The number of rows that were pruned in this call, without those of a run before.

    Raises:
        InvalidInputError: A file cannot be read or written, `target` already exists, a cell holds something
            else than it should (the message names row and column; a call with `skip_bad_rows` continues from
            there), `TARGET.partial` is of a run with other options, or another process is writing to it.
        CheckpointError: The checkpoint cannot be loaded, or cannot do what the options ask for.
        MissingExtraError: pyarrow is not installed.
        RemoteError: The server with the model cannot be reached, or now has another model. The same call
            continues the run later, with the first model.
    """
    return prune_file(source, target, batch, rows_per_group=rows_per_group, show_progress=show_progress).now


def prune_file(
    source: str | Path,
    target: str | Path,
    batch: ProvenceBatch,
    *,
    rows_per_group: int | None = None,
    show_progress: bool = False,
) -> Pruned:
    """`prune_table`, which also tells how many rows there are in all."""
    source, target = Path(source), Path(target)
    if rows_per_group is not None:
        check_count("rows_per_group", rows_per_group, 1)
    if _format(source) != _format(target):
        raise InvalidInputError(f"{target}: must be in the format of {source}")
    if not target.parent.is_dir():
        raise InvalidInputError(f"{target.parent}: folder not found")
    _check_new(target)
    try:
        table = _open(source, batch)
        size, in_group = _sizes(table, batch, rows_per_group)
        parts = _Parts(target.with_name(f"{target.name}.partial"), target.suffix)
        run = _run(source, batch, size, in_group)
        with parts.lock():
            _check_new(target)  # another run may have written it since
            parts.claim(run)
            done = min(len(parts.done) * in_group, table.num_rows)
            chunks: Iterable[Any] = table.chunks(done, size)
            if show_progress:
                from provence_rag.rendering import progress_bar  # needs rich, which takes time to import

                chunks = progress_bar(chunks, table.num_rows, unit="rows", done=done)
            pruned = _pruned(table, batch, chunks, first=done)
            while group := list(islice(pruned, in_group // size)):
                # Before each group is written: a server may be started again with another model at any time.
                _check_server(batch.provence)
                parts.add(table, group)
            parts.finish(table, target)
        parts.remove()
    except RemoteError:  # an OSError, but not of these files
        raise
    except OSError as error:
        raise InvalidInputError(f"{error.filename or target}: {error.strerror or error}") from error
    return Pruned(table.num_rows - done, table.num_rows)


def _check_new(target: Path) -> None:
    if target.exists():
        raise InvalidInputError(f"{target}: already exists: remove it, or choose another name")


def _pruned(table: _Table, batch: ProvenceBatch, chunks: Iterable[Any], first: int) -> Iterator[Any]:
    """Each chunk with the new columns; `first` is the number of the first row."""
    for rows in chunks:
        added = batch.results(table.cells(rows), table.place(rows, first))
        yield table.with_columns(rows, added)
        first += len(rows)


def _run(source: Path, batch: ProvenceBatch, size: int, in_group: int) -> dict[str, Any]:
    """All that the result depends on, by the names that messages give them."""
    file = source.stat()
    model = batch.provence
    return {
        "version of provence-rag": version("provence-rag"),
        "input": [file.st_size, file.st_mtime_ns],
        "columns": [batch.columns, list(batch.names.values())],
        "model": model.fingerprint or _UNKNOWN,
        "chunker": _UNKNOWN if model.has_chunker else None,
        "batch_size": batch.batch_size,
        **{f"options.{name}": value for name, value in asdict(batch.options).items()},
        "size of groups": [size, in_group],
    }


def _check_server(model: Provence) -> None:
    """Check that what a server has answered since the last check is of the model that the run began with."""
    from provence_rag.remote import RemoteProvence  # takes time to import

    if isinstance(model, RemoteProvence) and model.read_fingerprint() != model.fingerprint:
        raise RemoteError(
            f"{model.url} has another model than when the run began: start the server with that model again, "
            "or begin a new run"
        )


def _format(path: Path) -> str:
    for suffixes in (_PARQUET, _JSON_LINES):
        if path.name.endswith(suffixes):
            return suffixes[0] + ".gz" * path.name.endswith(".gz")
    known = ", ".join((*_PARQUET, *_JSON_LINES))
    raise InvalidInputError(f"{path}: the name of a table must end with one of {known}")


def _open(path: Path, batch: ProvenceBatch) -> _Table:
    if not path.is_file():
        raise InvalidInputError(f"{path}: file not found")
    if not path.name.endswith(_PARQUET):
        from provence_rag.batches.json_lines import JsonLinesTable

        return JsonLinesTable(path, batch)
    try:
        from provence_rag.batches.parquet import ParquetTable
    except ImportError as error:
        raise MissingExtraError("a Parquet file", "tables") from error
    return ParquetTable(path, batch)


def _sizes(table: _Table, batch: ProvenceBatch, rows_per_group: int | None) -> tuple[int, int]:
    """Rows that are pruned in one call, and rows in a group, a multiple of it.

    They depend on nothing but the first rows, so that a run that goes on finds the same groups.
    """
    first = next(table.chunks(0, PASSAGES_PER_CALL), None)
    if first is None:
        return 1, 1
    rows = batch.rows(table.cells(first), table.place(first, 0))
    per_row = max(1.0, sum(len(row.texts) for row in rows) / len(rows))
    size = max(1, round(PASSAGES_PER_CALL / per_row))
    if rows_per_group is None:
        return size, _CALLS_PER_GROUP * size
    calls = -(-rows_per_group // size)
    size = rows_per_group // calls  # equal calls, so that as many rows as asked for are in a group, or almost
    return size, calls * size
