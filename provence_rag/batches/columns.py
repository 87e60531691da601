"""The columns of a batch: read as plain Python, written as the library that made the batch does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_rows, shown

__all__ = ["Columns", "check_columns", "check_names", "is_missing", "read_column", "with_columns"]

Columns = Any
"""A mapping from names to lists or numpy arrays, a table or record batch of pyarrow, or a frame of pandas."""


def check_columns(batch: Columns, needed: Sequence[str], added: Sequence[str]) -> None:
    """Check that a batch has the columns that are read, and none with the names of those to be added.

    Raises:
        InvalidInputError: It has not, or it is not a batch of columns.
    """
    if isinstance(batch, Mapping):
        names = list(batch)
    elif _is_arrow(batch):
        names = batch.schema.names
    elif _is_frame(batch):
        names = list(batch.columns)
    else:
        raise InvalidInputError(
            "a batch must be a dict of columns, a pyarrow table or a pandas frame, "
            f"got {shown(batch)}: with `datasets`, use map(batched=True)"
        )
    check_names(names, needed, added)


def check_names(
    names: Sequence[str],
    needed: Sequence[str],
    added: Sequence[str],
    place: str = "",
    *,
    kind: Literal["column", "key"] = "column",
) -> None:
    """`check_columns` for the names alone; `place` begins the message, `kind` is what they name."""
    for name in needed:
        if (number := list(names).count(name)) > 1:
            raise InvalidInputError(f"{place}there are {number} {kind}s {name!r}: rename all but one of them")
        if not number:
            known = f", only {', '.join(map(repr, names))}" if names else ""
            raise InvalidInputError(f"{place}there is no {kind} {name!r}{known}")
    if taken := [name for name in added if name in names]:
        raise InvalidInputError(
            f"{place}there is a {kind} {taken[0]!r} already: choose another prefix for the new {kind}s"
        )


def read_column(batch: Columns, name: str) -> list[Any]:
    """A column as a list of R cells; lists in them may still be arrays.

    Raises:
        InvalidInputError: It is a single string, or something else without rows.
    """
    column = batch.column(name) if _is_arrow(batch) else batch[name]
    if hasattr(column, "to_pylist"):  # of pyarrow, also in a dict
        return list(column.to_pylist())
    cells = column.tolist() if hasattr(column, "tolist") else column
    return check_rows(f"column {name!r}", cells, of="cells")


def with_columns(
    batch: Columns, added: Mapping[str, list[Any]], names: Mapping[str, str], documents: str
) -> Columns:
    """The batch with further columns, made by the same library. The batch itself stays as it is.

    Args:
        batch: The batch.
        added: The new columns.
        names: The column that holds each kind of result.
        documents: The column that they are about; the types of theirs follow from its type.
    """
    if _is_arrow(batch):
        from provence_rag.batches.arrow import with_arrays

        return with_arrays(batch, added, names, documents)
    if _is_frame(batch):
        return batch.assign(**added)
    if isinstance(batch[documents], np.ndarray):
        return {**batch, **{name: _as_array(column) for name, column in added.items()}}
    return {**batch, **added}


def is_missing(cell: Any) -> bool:
    """Whether a cell is null: None, or how pandas writes it."""
    return cell is None or (isinstance(cell, float) and cell != cell) or type(cell).__name__ == "NAType"


def _is_arrow(batch: Columns) -> bool:
    return hasattr(batch, "append_column") and hasattr(batch, "schema")


def _is_frame(batch: Columns) -> bool:
    return hasattr(batch, "assign") and hasattr(batch, "columns")


def _as_array(column: list[Any]) -> NDArray[Any]:
    """Scores as numbers, all else as objects: lists of equal length are not to become a matrix."""
    if all(isinstance(cell, float) for cell in column):
        return np.array(column, dtype=np.float64)
    array = np.empty(len(column), dtype=object)
    for number, cell in enumerate(column):
        array[number] = cell
    return array
