"""Tables as text: a line for each row, in which each cell bears its header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from provence_rag.chunking import Span
from provence_training.data.fields import Fields, expect

__all__ = ["Table", "read_table"]


@dataclass(frozen=True)
class Table:
    """A table with R rows."""

    text: str
    """`Header: cell; Header: cell`, a line for each row; empty cells and empty rows are left out."""

    rows: tuple[Span, ...]
    """Where each row is."""

    cells: tuple[tuple[Span, ...], ...]
    """Where each cell is, without its header; an empty one is where its row is."""

    def answers(self, question: Fields) -> tuple[Span, ...] | None:
        """The rows or cells of a question's `answers`, None if the evidence is not marked.

        Raises:
            InvalidInputError: There is no such row or column.
        """
        if question.get("answers") is None:
            return None
        spans = []
        for number, entry in enumerate(question.array("answers")):
            fields = Fields(entry, f"{question.path('answers')}[{number}]")
            row = fields.index("row", len(self.rows), "rows")
            if fields.optional("column") is None:
                span = self.rows[row]
            else:
                span = self.cells[row][fields.index("column", len(self.cells[row]), "columns")]
            expect(span.start < span.end, fields.path("row"), "a row that is not empty", row)
            spans.append(span)
        return tuple(spans)


def read_table(record: Fields) -> Table:
    """The table of the fields `header` and `rows`.

    Raises:
        InvalidInputError: They are no list of cells and no list of rows with as many; the message names the
            field.
    """
    header = _cells(record.array("header"), "header")
    text = ""
    rows: list[Span] = []
    cells: list[tuple[Span, ...]] = []
    for number, entry in enumerate(record.array("rows")):
        path = f"rows[{number}]"
        expect(isinstance(entry, list) and len(entry) == len(header), path, f"{len(header)} cells", entry)
        if text and not text.endswith("\n"):
            text += "\n"
        start = len(text)
        found: list[Span | None] = []
        for name, cell in zip(header, _cells(entry, path), strict=True):
            if cell:
                text += "; " * (len(text) > start) + f"{name}: " * bool(name)
                found.append(Span(len(text), len(text) + len(cell)))
                text += cell
            else:
                found.append(None)
        rows.append(Span(start, len(text)))
        cells.append(tuple(span or rows[-1] for span in found))
    return Table(text.removesuffix("\n"), tuple(rows), tuple(cells))


def _cells(values: list[Any], path: str) -> list[str]:
    """Strings on one line; null is empty."""
    for number, value in enumerate(values):
        is_cell = value is None or isinstance(value, (str, int, float))
        expect(is_cell, f"{path}[{number}]", "a string or a number", value)
    return ["" if value is None else " ".join(str(value).split()) for value in values]
