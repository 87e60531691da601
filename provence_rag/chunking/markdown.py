"""Markdown: headings, lists, tables and code fences are blocks that no sentence runs across."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from provence_rag.chunking.base import BaseChunker, Span, trim
from provence_rag.chunking.items import ITEM
from provence_rag.chunking.lines import HEADING, line_spans

__all__ = ["MarkdownChunker", "heading_level", "looks_like_markdown"]

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^`]*)$")
_UNDERLINE = re.compile(r"[ ]{0,3}(?:=+|-{2,})[ \t]*$")
_TABLE_RULE = re.compile(r"[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+(?:[ \t]*:?-+:?)?[ \t]*$")

_SIGN = re.compile(
    r"^(?:[ ]{0,3}#{1,6}[ \t]+\S|[ \t]*(?:```|~~~|\||(?:[-*+]|\d{1,3}[.)])[ \t]+\S))", re.MULTILINE
)


class _Block(NamedTuple):
    """Some lines that no sentence runs out of, by number."""

    first: int
    last: int
    whole: bool
    """Whether it stays one span: a heading, a table row, a code fence, a rule."""


class MarkdownChunker(BaseChunker):
    """Cuts a Markdown document into blocks, and the prose in them into sentences.

    A heading, a table row (the header together with the dashes below it) and a code fence are one span
    each. A list item is cut into sentences; its marker belongs to the first one. A fence that is never
    closed ends before the next blank line.

    Args:
        inner: Cuts the prose.
    """

    def __init__(self, inner: BaseChunker) -> None:
        self.inner = inner

    def spans(self, text: str) -> list[Span]:
        """Return where the sentences of `text` are; an empty list if there is only white space."""
        spans = list(line_spans(text))
        lines = [text[start:end] for start, end in spans]
        found: list[Span] = []
        for block in _blocks(lines):
            extent = trim(text, spans[block.first].start, spans[block.last].end)
            if extent is None:
                continue
            if block.whole:
                found.append(extent)
                continue
            inner = self.inner.spans(text[extent.start : extent.end])
            found.extend(Span(extent.start + start, extent.start + end) for start, end in inner)
        return found


def looks_like_markdown(text: str) -> bool:
    """Whether any line of `text` begins like a heading, a list item, a table row or a code fence."""
    return _SIGN.search(text) is not None


def heading_level(sentence_text: str) -> int:
    """Return the level of a Markdown heading, 1 (`# Title`) to 6, or 0 for any other sentence.

    A line underlined with `=` is a heading of level 1, one underlined with `-` of level 2.
    """
    lines = [sentence_text[start:end] for start, end in line_spans(sentence_text.strip())]
    match = HEADING.match(lines[0])
    if match and len(lines) == 1:
        return len(match.group(1))
    if len(lines) == 2 and _is_underlined(lines, 0):
        return 1 if "=" in lines[1] else 2
    return 0


def _blocks(lines: list[str]) -> Iterator[_Block]:
    """Yield the blocks of a document, in order; blank lines are in none of them."""
    fences = _fences(lines)
    number = 0
    while number < len(lines):
        if lines[number].strip():
            block = _block_at(lines, fences, number)
            yield block
            number = block.last
            if _is_table_header(lines, block.first):
                rows = _table_rows(lines, number + 1)
                yield from rows
                number += len(rows)
        number += 1


def _block_at(lines: list[str], fences: dict[int, int], first: int) -> _Block:
    if first in fences:
        return _Block(first, fences[first], whole=True)
    if _is_table_header(lines, first) or _is_underlined(lines, first):
        return _Block(first, first + 1, whole=True)
    if _is_single_line(lines[first]):
        return _Block(first, first, whole=True)
    last = first
    while last + 1 < len(lines) and not _interrupts_prose(lines, fences, last + 1):
        last += 1
    return _Block(first, last, whole=False)


def _interrupts_prose(lines: list[str], fences: dict[int, int], number: int) -> bool:
    line = lines[number]
    if not line.strip() or number in fences or _is_single_line(line) or ITEM.match(line):
        return True
    return _is_table_header(lines, number)


def _is_single_line(line: str) -> bool:
    """Whether it is a heading, a table row, or a rule made of dashes, asterisks or the like."""
    bare = line.replace(" ", "").replace("\t", "")
    is_rule = len(bare) >= 3 and bare[0] in "-*_=" and not bare.strip(bare[0])
    is_row = len(bare) >= 3 and bare[0] == bare[-1] == "|"
    return is_rule or is_row or HEADING.match(line) is not None


def _is_underlined(lines: list[str], number: int) -> bool:
    if number + 1 >= len(lines) or not _UNDERLINE.match(lines[number + 1]):
        return False
    return bool(lines[number].strip()) and not (_is_single_line(lines[number]) or ITEM.match(lines[number]))


def _is_table_header(lines: list[str], number: int) -> bool:
    if "|" not in lines[number] or number + 1 >= len(lines):
        return False
    return _TABLE_RULE.match(lines[number + 1]) is not None


def _table_rows(lines: list[str], first: int) -> list[_Block]:
    """Return the rows below a table's header; they need not begin with a bar."""
    rows: list[_Block] = []
    while first + len(rows) < len(lines) and "|" in lines[first + len(rows)]:
        number = first + len(rows)
        rows.append(_Block(number, number, whole=True))
    return rows


def _fences(lines: list[str]) -> dict[int, int]:
    """Return the last line of each code fence by its first one."""
    marks = {number: match for number, line in enumerate(lines) if (match := _FENCE.match(line))}
    longest_after = _longest_closers(marks)
    ends: dict[int, int] = {}
    after = 0
    for number, match in marks.items():
        if number < after:
            continue
        fence = match.group(1)
        end = number
        if longest_after[number].get(fence[0], 0) >= len(fence):
            end = next(n for n in range(number + 1, len(lines)) if n in marks and _closes(marks[n], fence))
        else:
            while end + 1 < len(lines) and lines[end + 1].strip():
                end += 1
        ends[number] = end
        after = end + 1
    return ends


def _closes(match: re.Match[str], fence: str) -> bool:
    return match.group(1).startswith(fence) and not match.group(2).strip()


def _longest_closers(marks: dict[int, re.Match[str]]) -> dict[int, dict[str, int]]:
    """Return, for each mark, the longest bare fence of either character after it.

    With it a fence that is never closed is known without a look at the rest of the document.
    """
    longest = {"`": 0, "~": 0}
    after: dict[int, dict[str, int]] = {}
    for number, match in reversed(marks.items()):
        after[number] = dict(longest)
        fence = match.group(1)
        if not match.group(2).strip():
            longest[fence[0]] = max(longest[fence[0]], len(fence))
    return after
