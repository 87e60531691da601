"""Tables in Parquet files, read and written as streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.parquet import ParquetFile, ParquetWriter

from provence_rag.batches.arrow import added_fields, check_types
from provence_rag.batches.batch import ProvenceBatch
from provence_rag.batches.columns import check_names, read_column, with_columns
from provence_rag.errors import InvalidInputError

__all__ = ["ParquetTable"]

_BUFFER = 2**20
"""Bytes that are read at once, instead of whole columns of a row group."""


class ParquetTable:
    """A Parquet file that is pruned.

    Args:
        path: The file.
        batch: What prunes its rows.

    Raises:
        InvalidInputError: The file cannot be read, or lacks a column.
    """

    def __init__(self, path: Path, batch: ProvenceBatch) -> None:
        self._path = path
        self._batch = batch
        try:
            with self._open() as file:
                self.num_rows: int = file.metadata.num_rows
                schema = file.schema_arrow
        except pa.ArrowException as error:
            raise InvalidInputError(f"{path}: not Parquet: {error}") from error
        check_names(schema.names, batch.columns, list(batch.names.values()), f"{path}: ")
        check_types(schema, batch.columns, f"{path}: ")
        fields = added_fields(batch.names, schema.field(batch.columns[1]).type)
        self._schema = pa.schema([*schema, *fields], schema.metadata)

    def chunks(self, start: int, size: int) -> Iterator[pa.Table]:
        """The rows from a number on, `size` at a time."""
        pending: list[pa.RecordBatch] = []
        missing = size
        for rows in self._batches(start, size):
            while rows.num_rows:
                pending.append(rows.slice(0, missing))
                rows = rows.slice(missing)
                missing -= pending[-1].num_rows
                if not missing:
                    yield pa.Table.from_batches(pending)
                    pending, missing = [], size
        if pending:
            yield pa.Table.from_batches(pending)

    def cells(self, rows: pa.Table) -> list[list[Any]]:
        """The columns that are read."""
        return [read_column(rows, name) for name in self._batch.columns]

    def place(self, rows: pa.Table, first: int) -> Callable[[int], str]:
        """What messages call each of some rows, for the number of the first of them in the table."""
        return lambda number: f"{self._path}, row {first + number + 1}"

    def with_columns(self, rows: pa.Table, added: Mapping[str, list[Any]]) -> pa.Table:
        """Rows with the new columns."""
        return with_columns(rows, added, self._batch.names, self._batch.columns[1])

    def write(self, path: Path, rows: Sequence[pa.Table]) -> None:
        """Write rows to a file, as one row group."""
        table = pa.concat_tables(rows)
        with ParquetWriter(path, self._schema) as writer:
            writer.write_table(table, row_group_size=table.num_rows)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Write the rows of files to one, with a row group for each."""
        with ParquetWriter(path, self._schema) as writer:
            for part in parts:
                with ParquetFile(part) as file:
                    table = file.read()
                writer.write_table(table, row_group_size=table.num_rows)

    def _open(self) -> ParquetFile:
        return ParquetFile(self._path, buffer_size=_BUFFER)

    def _batches(self, start: int, size: int) -> Iterator[pa.RecordBatch]:
        with self._open() as file:
            for group in range(file.num_row_groups):
                num_rows = file.metadata.row_group(group).num_rows
                if start >= num_rows:
                    start -= num_rows
                    continue
                try:
                    for rows in file.iter_batches(size, row_groups=[group]):
                        yield rows.slice(start)
                        start = max(0, start - rows.num_rows)
                except (
                    pa.ArrowException,
                    OSError,
                ) as error:  # the latter for data that cannot be decompressed
                    raise InvalidInputError(
                        f"{self._path}, row group {group}: is damaged: {error}"
                    ) from error
