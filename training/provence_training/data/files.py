"""Reading training data from files and data sets, and writing JSON Lines."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from provence_rag.errors import InvalidInputError
from provence_training.data.passages import Passage
from provence_training.data.records import TeacherColumn, parse_record

__all__ = ["JSON_LINES", "load_passages", "read_json_lines", "write_json_lines"]

JSON_LINES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


def load_passages(
    data: str | Path | Iterable[Mapping[str, Any]],
    *,
    name: str | None = None,
    subset: str | None = None,
    split: str = "train",
    teacher: TeacherColumn | None = None,
    title_queries: bool = False,
) -> list[Passage]:
    """Read passages with questions, in any of the shapes of `provence_training.data.records`.

    Args:
        data: A file of JSON Lines (`.jsonl`, plain or gzip-compressed) or Parquet (`.parquet`), a directory
            written by `datasets.Dataset.save_to_disk`, the name of a data set on the Hugging Face hub
            ("owner/name"), or a `datasets.Dataset` or any other iterable of records.
        name: Name of the data set, stored in every passage; by default the file's name up to the first dot.
        subset: Subset of a data set on the hub.
        split: Split of a data set on the hub, or of a directory with several.
        teacher: The field with a teacher's scores, if they are to be used.
        title_queries: Take the title of a passage without questions as its query.

    Raises:
        InvalidInputError: A record lacks a field or has a wrong value in one, or the data do not exist. The
            message names the file, the record and the field.
    """
    if isinstance(data, (str, Path)):
        name = name or Path(data).name.split(".")[0]
        records = _read(os.path.expanduser(data), subset, split)
    else:
        name = name or "data"
        records = ((f"{name}[{number}]", record) for number, record in enumerate(data))
    passages: list[Passage] = []
    for place, record in records:
        default_id = f"{name}-{len(passages)}"
        try:
            passages += parse_record(
                record,
                source=name,
                default_id=default_id,
                teacher=teacher,
                title_queries=title_queries,
            )
        except InvalidInputError as error:
            raise InvalidInputError(f"{place}: {error}") from error
    return passages


def _read(path: str, subset: str | None, split: str) -> Iterator[tuple[str, Any]]:
    """Each record with its place, for messages."""
    if os.path.isdir(path):
        return _read_directory(path, split)
    if not os.path.isfile(path):
        return _read_hub(path, subset, split)
    if path.endswith(JSON_LINES):
        return read_json_lines(path)
    if path.endswith(".parquet"):
        return _read_parquet(path)
    raise InvalidInputError(f"{path}: must be a file of JSON Lines (.jsonl, .jsonl.gz) or Parquet (.parquet)")


def read_json_lines(path: str) -> Iterator[tuple[str, Any]]:
    """The records of a file, plain or gzip-compressed, each with its place (`FILE:LINE`).

    Raises:
        InvalidInputError: A line is not JSON; the message names file and line.
    """
    # Binary lines: JSON strings may hold line separators that text mode takes for line ends.
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield f"{path}:{number}", json.loads(line)
                except ValueError as error:  # not JSON, or not UTF-8
                    raise InvalidInputError(f"{path}:{number}: not JSON: {error}") from error


def write_json_lines(path: str | Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records to a file, gzip-compressed if its name ends with `.gz`.

    The file appears once all records are written: an error or an interruption leaves no half-written file and
    keeps an existing one. The same records give the same bytes.

    Args:
        path: The file to write; an existing one is replaced.
        records: JSON objects, consumed one by one.

    Raises:
        InvalidInputError: The file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file, _compressed(file, path.name) as lines:
            for record in records:
                # A lone surrogate cannot be encoded as UTF-8, but its escape is valid JSON.
                line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace")
                lines.write(line + b"\n")
        os.replace(partial, path)
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _compressed(file: BinaryIO, name: str) -> AbstractContextManager[BinaryIO | gzip.GzipFile]:
    if not name.endswith(".gz"):
        return nullcontext(file)
    # Neither name nor time, so that the same records give the same bytes.
    return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)


def _read_parquet(path: str) -> Iterator[tuple[str, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            yield from _rows((row for batch in file.iter_batches() for row in batch.to_pylist()), path)
    except pyarrow.ArrowException as error:
        raise InvalidInputError(f"{path}: not Parquet: {error}") from error


def _read_directory(path: str, split: str) -> Iterator[tuple[str, Any]]:
    import datasets

    try:
        found = datasets.load_from_disk(path)
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"{path}: is a directory that datasets' save_to_disk has not written"
        ) from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise InvalidInputError(f"{path}: has no split {split!r}; it has {', '.join(found)}")
        found = found[split]
    return _rows(found, path)


def _read_hub(name: str, subset: str | None, split: str) -> Iterator[tuple[str, Any]]:
    import datasets

    if name.count("/") != 1 or name.endswith((*JSON_LINES, ".parquet")):
        raise InvalidInputError(f"{name}: does not exist")
    try:
        found = datasets.load_dataset(name, subset, split=split)
    except Exception as error:  # its own, its HTTP library's and the file system's have no common base
        raise InvalidInputError(
            f"{name}: is not a local file, and could not be downloaded from the Hugging Face hub: {error}"
        ) from error
    return _rows(found, name)


def _rows(found: Iterable[Any], name: str) -> Iterator[tuple[str, Any]]:
    return ((f"{name}, row {number}", record) for number, record in enumerate(found, 1))
