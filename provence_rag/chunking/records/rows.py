"""CSV: one record per row, with the header above."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice

from provence_rag.chunking.base import Span
from provence_rag.chunking.links import Chunks
from provence_rag.chunking.records.outline import Outline

__all__ = ["csv_chunks"]

_DELIMITERS = ",\t;|"
_FEWEST_ROWS = 3
_LONGEST_NAME = 40
_LONGEST_FIELD = 100_000
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|$)")
_NUMBER = re.compile(r"[-+]?[\d.,:/ -]*\d%?$")
_SENTENCE_END = re.compile(r"[.!?。！？:]$")


def csv_chunks(text: str) -> Chunks | None:
    """Cut a table in which commas, semicolons, tabs or bars separate the columns.

    Python's `csv` reads it, so that a quoted field may hold line breaks. It must have a header of different
    names, two rows or more, and in every row as many columns as the header.

    Returns:
        None if it is no such table.
    """
    start = len(text) - len(text.lstrip())
    head = text[start : start + 20_000].split("\n", 1)[0]
    for delimiter in _DELIMITERS:
        if delimiter in head and (rows := _rows(text, start, delimiter)) is not None:
            outline = Outline()
            header = outline.add(*rows[0], None)
            for row in rows[1:]:
                outline.link(outline.add(*row, None, competes=True), header)
            return outline.chunks()
    return None


def _rows(text: str, start: int, delimiter: str) -> list[Span] | None:
    """Return where the rows are, or None if the text is no table with this delimiter."""
    ends: list[int] = []
    reader = csv.reader(_lines(text, start, ends), delimiter=delimiter, strict=True)
    rows: list[Span] = []
    num_columns = num_sentences = 0
    begin = start
    try:
        for cells in reader:
            end = ends[-1]
            row, begin = Span(begin, end), end
            if not text[row.start : row.end].strip():
                continue
            if not rows:
                if not _is_header(cells):
                    return None
                num_columns = len(cells)
            elif len(cells) != num_columns:
                return None
            num_sentences += _is_sentence(cells, delimiter)
            rows.append(_trimmed(text, row))
            if len(rows) == _FEWEST_ROWS and num_sentences > 1:
                return None
    except csv.Error:  # a quotation mark that is never closed, or a field without end
        return None
    return rows if len(rows) >= _FEWEST_ROWS and 4 * num_sentences <= len(rows) else None


def _lines(text: str, start: int, ends: list[int]) -> Iterator[str]:
    """Yield the lines, and note where each ends."""
    for match in _LINE.finditer(text, start):
        ends.append(match.end())
        yield match.group()


def _is_header(cells: list[str]) -> bool:
    names = [cell.strip() for cell in cells]
    if len(names) < 2 or len(set(names)) < len(names):
        return False
    return all(
        name and len(name) <= _LONGEST_NAME and not _NUMBER.match(name) and not _SENTENCE_END.search(name)
        for name in names
    )


def _is_sentence(cells: list[str], delimiter: str) -> bool:
    """Whether a row looks like prose: the parts of a sentence with commas."""
    if delimiter != ",":
        return False
    spaced = sum(cell[:1] == " " for cell in islice(cells, 1, None))
    return spaced == len(cells) - 1 and (_SENTENCE_END.search(cells[-1].strip()) is not None)


def _trimmed(text: str, row: Span) -> Span:
    # Tabs stay: they are columns without content.
    piece = text[row.start : row.end]
    return Span(row.start + len(piece) - len(piece.lstrip("\r\n")), row.start + len(piece.rstrip("\r\n")))
