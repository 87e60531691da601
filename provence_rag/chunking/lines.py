"""What line breaks say: paragraphs, list items, headings, and the lines of hard-wrapped prose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from provence_rag.chunking.base import Span

__all__ = ["HEADING", "ITEM", "LINE_BREAK", "line_spans", "prose_blocks"]

LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x85\u2028\u2029]")
"""What ends a line."""

ITEM = re.compile(r"[ \t\u3000]*(?:[-*+•‣◦▪●○・]|\(?\d{1,3}[.)]|\(?[a-z]\))[ \t\u3000]+(?=\S)")
"""The marker that begins a list item, with the white space around it."""

HEADING = re.compile(r"[ ]{0,3}(#{1,6})(?=[ \t]|$)")
"""The number signs that begin a Markdown (ATX) heading."""

_SHORT_LINE = 45
_SHORT_SHARE = 0.6


def line_spans(text: str) -> Iterator[Span]:
    """Yield the lines of `text` without their line breaks; blank lines are included."""
    start = 0
    for match in LINE_BREAK.finditer(text):
        yield Span(start, match.start())
        start = match.end()
    yield Span(start, len(text))


def _paragraphs(text: str) -> Iterator[list[Span]]:
    """Yield the runs of lines that blank lines separate."""
    lines: list[Span] = []
    for line in line_spans(text):
        if text[line.start : line.end].strip():
            lines.append(line)
        elif lines:
            yield lines
            lines = []
    if lines:
        yield lines


def prose_blocks(text: str) -> Iterator[Span]:
    """Yield the pieces of `text` that no sentence runs across.

    A blank line always separates. A single line break separates when the next line begins a list item
    or a heading, when the line is a heading, or when the line was ended on purpose: it is short, ends
    without punctuation, and the next one begins like a sentence or an entry. Other line breaks are taken
    for hard-wrapped prose.
    """
    for lines in _paragraphs(text):
        short = _short_length(text, lines)
        start = lines[0].start
        for line, following in pairwise(lines):
            if _separates(text[line.start : line.end], text[following.start : following.end], short):
                yield Span(start, line.end)
                start = following.start
        yield Span(start, lines[-1].end)


def _short_length(text: str, lines: list[Span]) -> float:
    """Return the length under which a line of this paragraph counts as short.

    The lines of wrapped prose are about equally long, so what counts is the longest line. Where no line
    begins in lower case nothing was wrapped, and an absolute length holds as well.
    """
    relative = _SHORT_SHARE * max(line.end - line.start for line in lines)
    wrapped = any(text[line.start : line.end].lstrip()[0].islower() for line in lines)
    return relative if wrapped else max(relative, _SHORT_LINE)


def _separates(line: str, following: str, short: float) -> bool:
    if ITEM.match(following) or HEADING.match(following) or HEADING.match(line):
        return True
    if len(line) >= short or line.rstrip()[-1] in ",;-–—(":
        return False
    begin = following.lstrip("\"'“‘«([ \t")[:1]
    return begin.isdigit() or (begin.isalpha() and not begin.islower())
