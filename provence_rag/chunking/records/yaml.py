"""YAML: one record per entry, with the keys that it stands under."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from provence_rag.chunking.lines import line_spans
from provence_rag.chunking.links import Chunks
from provence_rag.chunking.partners import LONGEST_SECTION
from provence_rag.chunking.records.outline import Outline

__all__ = ["yaml_chunks"]

_FEWEST_ENTRIES = 3
# A vowel sign of Hindi or Thai is no word character, so almost all that is not ASCII may be in a key.
_LETTER = r"(?:[A-Za-z0-9_./$]|(?![。、！？：「」])[^\x00-\x7F\s])"
_KEY = re.compile(
    rf"(?:(?!\d+\. )[\w./$](?:{_LETTER}|[{{}}@-])*(?: (?:{_LETTER}|-)+){{0,3}}"
    r"|\"[^\"\n]{1,80}\"|'[^'\n]{1,80}'|<<)[ ]*:(?=[ \t]|$)"
)
_DASHES = re.compile(r"(?:-(?:[ ]+|$))+")
_MARKER = re.compile(r"(?:---|\.\.\.)(?:[ \t]|$)")
_BLOCK_SCALAR = re.compile(r"[:-][ \t]+(?:[&!][^ ]+[ ]+)*[|>][+-]?\d?[+-]?[ \t]*(?:#.*)?$")
_FLOW = re.compile(r"(?:[:-][ ]+)?[\[{]")
_QUOTED_OR_COMMENT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|(?:^|[ \t])#.*$")


class _Entry(NamedTuple):
    """An entry that others may stand in."""

    number: int
    indent: int
    """Column of its key or dash."""

    is_item: bool
    """Whether it begins with a dash."""


def yaml_chunks(text: str) -> Chunks | None:
    """Cut YAML that has nesting. Each entry takes along the keys and list items that it stands in.

    An entry announces those in it if they are short. Block scalars and values of several lines belong to
    their entry, comments to the entry below.

    Returns:
        None if a line is none of YAML's, or nothing is nested: a list of `key: value` lines needs no frames.
    """
    reader = _Reader()
    for start, end in line_spans(text):
        line = text[start:end].rstrip()
        if line and not reader.read(line, start):
            return None
    return reader.outline()


class _Reader:
    """Reads lines one by one."""

    def __init__(self) -> None:
        self._spans: list[list[int]] = []
        self._links: list[tuple[int, int]] = []
        self._above: list[_Entry] = []
        self._inner: defaultdict[int, list[int]] = defaultdict(list)
        """The entries directly in an entry."""

        self._marker: int | None = None
        self._scalar = -1
        """Indentation of the entry whose block scalar is being read, or -1."""

        self._depth = 0
        """Brackets that are open."""

        self._comment = -1
        """Where the comment above the next entry begins, or -1."""

        self._num_keys = 0

    def read(self, line: str, start: int) -> bool:
        """Read a line that is not blank; False if it is none of YAML's."""
        indent = len(line) - len(line.lstrip(" "))
        content = line[indent:]
        if self._depth or (self._scalar >= 0 and indent > self._scalar):
            self._spans[-1][1] = start + len(line)
            self._depth += _brackets(content) if self._depth else 0
            return self._depth >= 0
        self._scalar = -1
        if content[0] == "#":
            self._comment = start + indent if self._comment < 0 else self._comment
            return True
        if _MARKER.match(line):
            self._above = []
            self._marker = self._add(start, line, indent)
            return True
        dashes = _DASHES.match(content)
        key = _KEY.match(line, indent + (dashes.end() if dashes else 0))
        if key is None and dashes is None:
            # A value that goes on in the next line.
            if not self._above or indent <= self._above[-1].indent or content[0] == "\t":
                return False
            self._spans[-1][1] = start + len(line)
            return True
        self._num_keys += key is not None
        self._enter(self._add(start, line, indent), indent, is_item=dashes is not None)
        value = line[key.end() - 1 :] if key else content
        if _BLOCK_SCALAR.search(line):
            self._scalar = indent
        elif _FLOW.match(value):
            self._depth = max(0, _brackets(value))
        return True

    def outline(self) -> Chunks | None:
        """The entries; None if they are too few, or nothing is nested."""
        if len(self._spans) < _FEWEST_ENTRIES or self._num_keys < _FEWEST_ENTRIES:
            return None
        if not self._inner or self._depth or self._comment >= 0:
            return None
        outline = Outline()
        for start, end in self._spans:
            outline.add(start, end, None, competes=True)
        for source, target in self._links:
            outline.link(source, target)
        for source, target in self._announced():
            outline.link(source, target, "announces")
        return outline.chunks()

    def _announced(self) -> Iterator[tuple[int, int]]:
        """Yield entries with those in them: without these a key has no value. One of several sections has."""
        ends = [end for _, end in self._spans]
        for number in reversed(range(len(ends))):
            inner = self._inner.get(number)
            if inner is None:
                continue
            ends[number] = ends[inner[-1]]
            num_sections = sum(one in self._inner for one in inner)
            if num_sections < 2 and ends[number] - self._spans[inner[0]][0] <= LONGEST_SECTION:
                yield from ((number, one) for one in inner)

    def _add(self, start: int, line: str, indent: int) -> int:
        begin = start + indent if self._comment < 0 else self._comment
        self._comment = -1
        self._spans.append([begin, start + len(line)])
        return len(self._spans) - 1

    def _enter(self, number: int, indent: int, *, is_item: bool) -> None:
        # An item may have the indentation of the key that it stands in.
        while self._above and not (
            self._above[-1].indent < indent
            or (is_item and self._above[-1].indent == indent and not self._above[-1].is_item)
        ):
            self._above.pop()
        above = self._above[-1].number if self._above else self._marker
        if above is not None:
            self._links.append((number, above))
        if self._above:
            self._inner[self._above[-1].number].append(number)
        self._above.append(_Entry(number, indent, is_item))


def _brackets(content: str) -> int:
    """How many more brackets open than close, outside of quotation marks and comments."""
    bare = _QUOTED_OR_COMMENT.sub("", content)
    return sum(map(bare.count, "[{")) - sum(map(bare.count, "]}"))
