"""The rows of a table: a question, and the passages in its cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from provence_rag.batches.columns import is_missing
from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_document, check_text, shown

__all__ = ["NO_CELL", "Row", "read_rows", "slices"]

NO_CELL = object()
"""What stands for a cell that a row lacks, as records of JSON Lines may. It is not null."""


@dataclass(frozen=True)
class Row:
    """A row with D passages."""

    query: str

    texts: list[str]

    titles: list[str | None]

    is_list: bool
    """Whether the cell held a list: then so do the cells of the results."""

    problem: str | None = None
    """Why the row cannot be read, without its place; its other fields are empty then."""

    @property
    def is_missing(self) -> bool:
        """Whether the cell was null, and so are the results."""
        return not (self.texts or self.is_list)


def read_rows(
    columns: Sequence[str],
    cells: Sequence[Sequence[Any]],
    place: Callable[[int], str],
    *,
    skip_bad_rows: bool,
) -> list[Row]:
    """Read the rows of a batch.

    Args:
        columns: The columns of the questions, of the documents, and of the titles if there is one.
        cells: Each of these columns, R cells long.
        place: What a message calls the row with a number.
        skip_bad_rows: Return rows that cannot be read with their `problem`.

    Raises:
        InvalidInputError: A cell holds something else; the message names row and column.
    """
    lengths = {name: len(column) for name, column in zip(columns, cells, strict=True)}
    if len(set(lengths.values())) > 1:
        raise InvalidInputError(f"the columns must have the same number of rows, got {lengths}")
    rows = []
    for number, row in enumerate(zip(*cells, strict=True)):
        try:
            rows.append(_read_row(columns, row))
        except InvalidInputError as error:
            if not skip_bad_rows:
                hint = "(skip_bad_rows=True or --skip-bad-rows writes null for such a row)"
                raise InvalidInputError(f"{place(number)}: {error} {hint}") from error
            rows.append(Row("", [], [], is_list=False, problem=str(error)))
    return rows


def slices(rows: Sequence[Row], limit: int) -> Iterator[Sequence[Row]]:
    """Cut a batch into runs of rows with at most `limit` passages, or one row with more."""
    start = size = 0
    for number, row in enumerate(rows):
        if size and size + len(row.texts) > limit:
            yield rows[start:number]
            start, size = number, 0
        size += len(row.texts)
    if start < len(rows):
        yield rows[start:]


def _read_row(columns: Sequence[str], row: Sequence[Any]) -> Row:
    for name, value in zip(columns, row, strict=True):
        if value is NO_CELL:
            raise InvalidInputError(f"there is no key {name!r}")
    query, cell, titles = (*row, None)[:3]
    asked = f"column {columns[0]!r}"
    if is_missing(query):
        raise InvalidInputError(f"{asked} must be a string, got null")
    query = check_text(asked, query, blank=False)
    cell = _plain(cell)
    where = f"column {columns[1]!r}"
    if is_missing(cell):
        return Row(query, [], [], is_list=False)
    is_list = isinstance(cell, list)
    entries = cell if is_list else [cell]
    documents = [
        check_document(f"{where}[{number}]" if is_list else where, entry)
        for number, entry in enumerate(entries)
    ]
    if len(columns) > 2:
        given = _read_titles(_plain(titles), len(entries), is_list, f"column {columns[2]!r}")
        documents = [(text, title or own) for (text, own), title in zip(documents, given, strict=True)]
    return Row(query, [text for text, _ in documents], [title for _, title in documents], is_list)


def _read_titles(cell: Any, length: int, is_list: bool, where: str) -> list[str | None]:
    if is_missing(cell):
        return [None] * length
    titles = cell if is_list and isinstance(cell, list) else [cell] * length
    if len(titles) != length:
        raise InvalidInputError(
            f"{where} must have a title for each of the {length} documents, got {len(titles)}"
        )
    for number, title in enumerate(titles):
        if not (is_missing(title) or isinstance(title, str)):
            raise InvalidInputError(f"{where} must hold titles, got {shown(title)} as number {number}")
    return [None if is_missing(title) or not title.strip() else str.__str__(title) for title in titles]


def _plain(cell: Any) -> Any:
    """A cell with lists in place of arrays and tuples, and structs as mappings."""
    if hasattr(cell, "asDict"):  # a Row of Spark, which is a tuple
        return cell.asDict()
    if isinstance(cell, (list, tuple)):
        return [_plain(entry) for entry in cell]
    if hasattr(cell, "tolist") and getattr(cell, "ndim", False):
        return _plain(cell.tolist())
    return cell
