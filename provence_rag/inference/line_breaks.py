"""What a tokenizer is given to read in place of a text, and where that stands in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provence_rag.chunking.lines import LINE_BREAK

__all__ = ["Reading", "encodable", "with_plain_line_breaks"]

IntArray = NDArray[np.int64]

_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)

# Without the look-behind, a long run of spaces would be searched again from each of its characters.
_WITH_LINE_BREAK = re.compile(rf"(?<!\s)\s*(?:{LINE_BREAK.pattern})")


@dataclass(frozen=True)
class Reading:
    """A text as it is read, in which some stretches are shorter than in the text given."""

    text: str

    ends: IntArray
    """Where each of those stretches ends in `text`, ascending, shape (N,)."""

    removed: IntArray
    """Characters missing from `text` up to each of those ends, with a 0 in front, shape (N + 1,)."""

    def original(self, offsets: IntArray) -> IntArray:
        """Offsets into the text given, for offsets into `text`; any shape."""
        return offsets + self.removed[np.searchsorted(self.ends, offsets, side="right")]


def with_plain_line_breaks(text: str) -> Reading:
    r"""Write line breaks as models know them that have tokens for them: `\n`, and `\n\n` for blank lines.

    So pages of Windows and old Macs, and pages with form feeds or Unicode's separators, read like others.
    Blank lines are one paragraph break, however many there are and whether spaces stand in them. Spaces at
    the end of a line and blank lines in front of the text say nothing; a line's indentation stays.
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


def encodable(text: str) -> str:
    """The text with U+FFFD in place of lone surrogates, which have no UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.translate(_SURROGATES)
    return text
