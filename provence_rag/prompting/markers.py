"""Citation markers: how they look in a reply, and how a text is kept from forging one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Marker", "find_markers", "without_markers"]

_SPACE = "[ \u00a0\u3000]*"
# What models write before a number: [Source 1], [出典1], [#1], and Markdown's [^1].
_NAME = rf"(?:(?i:sources?|documents?|docs?|passages?|references?|refs?)\.?|出典|文書|資料)(?:{_SPACE}[:：])?"
_DIGITS = rf"(?:{_NAME}{_SPACE}|[\^#])?\d{{1,4}}"
_NUMBER = rf"{_DIGITS}(?:{_SPACE}[-‐‑–—~〜～]{_SPACE}{_DIGITS})?"
_WORDS = "(?:(?i:and|or)|&|と|および|及び)"
_BETWEEN = rf"(?:[,，、;；]{_SPACE}{_WORDS}?|{_WORDS})"
_NUMBERS = rf"{_NUMBER}(?:{_SPACE}{_BETWEEN}{_SPACE}{_NUMBER})*"


def _in_brackets(opening: str, closing: str) -> str:
    # Models trained on file search write 【1†source】 and [1†L1-L3].
    return rf"{opening}{_NUMBERS}(?:†[^{closing}\n]{{0,200}})?{closing}"


_MARKER = "(?:" + "|".join(map(_in_brackets, (r"\[", "［", "【", "〔"), (r"\]", "］", "】", "〕"))) + ")"

_IN_TEXT = re.compile(_MARKER)

# In Markdown, brackets before a parenthesis or an address are a link, and what stands in code is code.
_IN_REPLY = re.compile(
    rf"(?P<code>```.*?(?:```|\Z)|`[^`\n]+`)|(?<!\\)(?P<marker>{_MARKER})(?!\(|:\s*<?\w+://)", re.DOTALL
)

_ENTRY = re.compile(rf"[,，、;；]|{_WORDS}")


@dataclass(frozen=True)
class Marker:
    """A citation in a reply: `[1]`, `[1, 3]`, `[2-4]`, `[Source 1]`."""

    start: int
    """Offset of its opening bracket in the reply."""

    end: int
    """Offset after its closing bracket."""

    ranges: tuple[tuple[int, int], ...]
    """First and last number of each of its entries; equal for a single number."""


def find_markers(reply: str) -> Iterator[Marker]:
    """Find the citations of a reply; code and Markdown links are not citations."""
    for match in _IN_REPLY.finditer(reply):
        if match["marker"] is not None:
            yield Marker(match.start(), match.end(), tuple(_ranges(match["marker"])))


def _ranges(marker: str) -> Iterator[tuple[int, int]]:
    for entry in _ENTRY.split(marker.partition("†")[0]):
        numbers = [int(number) for number in re.findall(r"\d+", entry)]
        if numbers:  # nothing stands between the comma and the word of ", and"
            yield min(numbers), max(numbers)


def without_markers(text: str) -> str:
    """The text with a space inside the brackets of everything that looks like a citation.

    `[2]` becomes `[ 2 ]`, which `find_markers` does not find. JSON means the same after it.
    """
    return _IN_TEXT.sub(lambda match: f"{match[0][0]} {match[0][1:-1]} {match[0][-1]}", text)
