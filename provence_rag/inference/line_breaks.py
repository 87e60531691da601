"""Line breaks as models read them that have tokens for them, with offsets into the original text."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from provence_rag.chunking.lines import LINE_BREAK
from provence_rag.inference.arrays import IntArray

__all__ = ["Reading", "with_plain_line_breaks"]

# Without the lookbehind, a long run of spaces would be searched again from each of its characters.
_WITH_LINE_BREAK = re.compile(rf"(?<!\s)\s*(?:{LINE_BREAK.pattern})")


@dataclass(frozen=True)
class Reading:
    """The text that a model reads, with some stretches shorter than in the original."""

    text: str

    ends: IntArray
    """Where each shortened stretch ends in `text`, ascending, shape (N,)."""

    removed: IntArray
    """0, then the number of characters missing from `text` up to each of those ends, shape (N + 1,)."""

    def original(self, offsets: IntArray) -> IntArray:
        """Turn offsets into `text`, of any shape, into offsets into the original."""
        return offsets + self.removed[np.searchsorted(self.ends, offsets, side="right")]


def with_plain_line_breaks(text: str) -> Reading:
    r"""Write every line break as `\n`, and blank lines as `\n\n`.

    Texts with the line ends of Windows or old Macs, form feeds or Unicode's separators then read like any
    other. Any number of blank lines, with or without spaces, makes one paragraph break. Spaces at the end of
    a line and blank lines at the start of the text are dropped; indentation stays.
    """
    parts: list[str] = []
    ends: list[int] = []
    removed = [0]
    position = length = 0
    for match in _WITH_LINE_BREAK.finditer(text):
        start, end = match.span()
        plain = "\n" * min(2, len(LINE_BREAK.findall(match[0]))) if start else ""
        parts += (text[position:start], plain)
        length += start - position + len(plain)
        position = end
        if end - start > len(plain):
            ends.append(length)
            removed.append(end - length)
    parts.append(text[position:])
    return Reading("".join(parts), np.array(ends, dtype=np.int64), np.array(removed, dtype=np.int64))
