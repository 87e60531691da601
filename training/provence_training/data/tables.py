"""Tables as text: a line for each row, with its header before each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from provence_rag.chunking import Span
from provence_rag.errors import InvalidInputError
from provence_training.data.shapes import CellQuestion, Table

__all__ = ["TableText"]


@dataclass(frozen=True)
class TableText:
    """A table with R rows as text."""

    text: str
    """`Header: cell; Header: cell`, a line for each row; empty cells and empty rows are left out."""

    rows: tuple[Span, ...]
    """Where each row is."""

    cells: tuple[tuple[Span, ...], ...]
    """Where each cell is, without its header; an empty cell has the span of its row."""

    @classmethod
    def of(cls, table: Table) -> TableText:
        """Write a table as text.

        Raises:
            InvalidInputError: A row has more or fewer cells than the header.
        """
        text = ""
        rows: list[Span] = []
        cells: list[tuple[Span, ...]] = []
        for number, entry in enumerate(table.rows):
            if len(entry) != len(table.header):
                raise InvalidInputError(
                    f"rows[{number}]: must have {len(table.header)} cells as the header has, got {len(entry)}"
                )
            if text and not text.endswith("\n"):
                text += "\n"
            start = len(text)
            found: list[Span | None] = []
            for name, cell in zip(table.header, entry, strict=True):
                if cell:
                    text += "; " * (len(text) > start) + f"{name}: " * bool(name)
                    found.append(Span(len(text), len(text) + len(cell)))
                    text += cell
                else:
                    found.append(None)
            rows.append(Span(start, len(text)))
            cells.append(tuple(span or rows[-1] for span in found))
        return cls(text.removesuffix("\n"), tuple(rows), tuple(cells))

    def answers(self, question: CellQuestion, path: str) -> tuple[Span, ...] | None:
        """The rows or cells that answer a question, None if the evidence is not marked.

        Args:
            question: With its `answers`.
            path: Where they are in the record.

        Raises:
            InvalidInputError: The row or column does not exist, or is empty.
        """
        if question.answers is None:
            return None
        spans = []
        for number, place in enumerate(question.answers):
            own = f"{path}[{number}]"
            span = _at(self.rows, place.row, f"{own}.row", "rows")
            if place.column is not None:
                span = _at(self.cells[place.row], place.column, f"{own}.column", "columns")
            if span.start == span.end:
                raise InvalidInputError(f"{own}.row: must be a row that is not empty, got {place.row}")
            spans.append(span)
        return tuple(spans)


def _at(spans: Sequence[Span], index: int, path: str, whose: str) -> Span:
    if not 0 <= index < len(spans):
        raise InvalidInputError(f"{path}: must be the index of one of the {len(spans)} {whose}, got {index}")
    return spans[index]
