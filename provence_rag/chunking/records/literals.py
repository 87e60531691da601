"""JSON and Python literals: one record per element or member."""

from __future__ import annotations

import ast
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from provence_rag.chunking.base import Span, trim
from provence_rag.chunking.escapes import ESCAPE
from provence_rag.chunking.lines import line_spans
from provence_rag.chunking.links import Chunks
from provence_rag.chunking.records.outline import LONG, MAX_DEPTH, Outline

__all__ = ["json_chunks", "json_line_chunks", "python_literal_chunks", "why_unread"]

Prose = Callable[[str], Sequence[Span]]

# Numbers are not looked at: int() would take quadratic time for a number of a million digits.
_decoder = json.JSONDecoder(strict=False, parse_int=float)
_SPACE = re.compile(r"[ \t\n\r]*")
_START = re.compile(r"\{\s*(?=[\"'}])|\[\s*(?=[\[{\"'(\w-])")
_MOST_STARTS = 4
_FENCE = re.compile(r"^[ \t]*((?:```|~~~)\w*)\s*\Z", re.MULTILINE)
_FENCE_END = re.compile(r"\s*(```|~~~)[ \t]*$", re.MULTILINE)
_LONGEST_FENCE = 40
_FEWEST_CHARACTERS = 20
_LEAST_SHARE = 0.5

_LITERAL = re.compile(r"\s*[\[{](?:\s|[\[{(])*[\"'](?:[^\"'\\\n]|\\.){1,80}[\"']\s*[:,\]]")
_CALL = re.compile(r"[\[\s]*[A-Z]\w{0,60}\(\s*[a-z_]\w{0,60}=")
# `ast` makes an object of every value, which takes about a kilobyte.
_MOST_PYTHON = 1_000_000

_PYTHON_ESCAPE = re.compile(
    r"\\(?:[\\'nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U00(?:0[0-9a-f]|10)[0-9a-f]{4})", re.ASCII
)
_PYTHON_STRING = re.compile(
    rf"\s*(?:'[^'\\\n]*(?:{_PYTHON_ESCAPE.pattern}[^'\\\n]*)*'"
    rf"|\"[^\"\\\n]*(?:{_PYTHON_ESCAPE.pattern}[^\"\\\n]*)*\")\s*"
)
"""What `repr` makes of a text."""

_PYTHON_LINE_BREAK = re.compile(r"\r\n|\r|\n")


class _Item(NamedTuple):
    """An element of a list, or a member of an object with its key."""

    start: int
    value_start: int
    end: int
    value: Any


def _looks_like_literal(text: str) -> bool:
    """Whether `text` begins like JSON or the repr of a Python container."""
    return _LITERAL.match(text) is not None


def why_unread(text: str) -> str | None:
    """Return why data stays whole that no function here has read; None if `text` does not begin like data."""
    begins_like_data = _looks_like_literal(text)
    if len(text) > _MOST_PYTHON and (begins_like_data or _CALL.match(text)):
        return f"neither JSON nor short enough to be read as Python (at most {_MOST_PYTHON:,} characters)"
    return "JSON that does not parse" if begins_like_data else None


def json_chunks(text: str, prose: Prose) -> Chunks | None:
    """Cut a text that is JSON, or holds JSON between a lead-in and a trailer.

    Args:
        text: The whole text.
        prose: Cuts the text around the JSON, and long strings in it.

    Returns:
        None if less than half of the text is one JSON value.
    """
    found = _json_in(text)
    if found is None:
        return None
    start, end, value = found
    outline = Outline()
    fence = _FENCE.search(text, max(0, start - _LONGEST_FENCE), start)
    fence_end = _FENCE_END.match(text, end) if fence else None
    outline.extend(prose(text[: fence.start() if fence_end and fence else start]), 0)
    opener = outline.open(*fence.span(1), None) if fence and fence_end else None
    _open_json(outline, text, _Item(start, start, end, value), opener, prose, MAX_DEPTH)
    if opener is not None and fence_end:
        outline.close(*fence_end.span(1), opener)
        end = fence_end.end()
    outline.extend(prose(text[end:]), end)
    return outline.chunks()


def json_line_chunks(text: str) -> Chunks | None:
    """Cut JSON Lines: two lines or more, each an object or a list."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    lines = [line for line in line_spans(text) if not text[line.start : line.end].isspace()]
    lines = [line for line in lines if line.start < line.end]
    if len(lines) < 2 or not all(text[a:b].lstrip()[:1] in ("{", "[") for a, b in lines):
        return None
    outline = Outline()
    for start, end in lines:
        line = text[start:end].strip()
        value = _decoded(line, 0)
        if value is None or value[1] != len(line) or not isinstance(value[0], dict | list):
            return None
        start = text.index(line[0], start)
        outline.add(start, start + len(line), None, competes=True)
    return outline.chunks()


def _json_in(text: str) -> tuple[int, int, Any] | None:
    """Return where the JSON value that makes up most of `text` begins and ends, and the value."""
    begin = len(text) - len(text.lstrip())
    starts = [match.start() for match in _first(_START.finditer(text, begin), _MOST_STARTS)]
    if _looks_like_literal(text):
        starts = [begin]  # what is inside is no JSON of its own
    if text[begin : begin + 1] == '"':
        decoded = _decoded(text, begin)
        # Otherwise it is a quotation, or lines in quotation marks.
        if decoded and _is_one_line(text, begin, decoded[1]) and decoded[0].strip():
            return begin, decoded[1], decoded[0]
    for start in starts:
        if len(text) - start < max(_FEWEST_CHARACTERS, _LEAST_SHARE * len(text)):
            return None
        decoded = _decoded(text, start)
        if decoded is None:
            continue
        value, end = decoded
        is_long = end - start >= max(_FEWEST_CHARACTERS, _LEAST_SHARE * len(text))
        if not is_long or not value:
            continue
        return start, end, value
    return None


def _is_one_line(text: str, start: int, end: int) -> bool:
    """Whether a string from `start` to `end` is the whole text, and not several lines as they are."""
    return end == len(text.rstrip()) and "\n" not in text[start:end]


def _first(matches: Iterator[re.Match[str]], count: int) -> list[re.Match[str]]:
    return [match for match, _ in zip(matches, range(count), strict=False)]


def _decoded(text: str, start: int) -> tuple[Any, int] | None:
    try:
        return _decoder.raw_decode(text, start)
    except (ValueError, RecursionError):  # the latter for a thousand brackets
        return None


def _open_json(
    outline: Outline, text: str, item: _Item, parent: int | None, prose: Prose, depth: int
) -> None:
    """Add a container or a long string piece by piece."""
    opener = outline.open(item.start, item.value_start + 1, parent)
    if isinstance(item.value, str):
        _add_string(outline, text, Span(item.value_start, item.end), opener, prose)
    else:
        size = item.end - item.value_start
        in_object = isinstance(item.value, dict)
        for inner in _json_items(text, item.value_start):
            if depth and _is_worth_opening(inner, size, in_object=in_object):
                _open_json(outline, text, inner, opener, prose, depth - 1)
            else:
                competes = not in_object or isinstance(inner.value, dict | list)
                outline.add(inner.start, inner.end, opener, competes=competes)
    outline.close(item.end - 1, item.end, opener)


def _is_worth_opening(item: _Item, size: int, *, in_object: bool) -> bool:
    """Whether a value inside a container of `size` characters is pruned inside.

    Elements of a list are records, which stay whole; one that is more than half of the list is the
    exception. Members of an object are opened if they hold records, or a long text.
    """
    length = item.end - item.value_start
    dominates = 2 * length > size
    if isinstance(item.value, str):
        return len(item.value) > LONG and (in_object or dominates)
    if not isinstance(item.value, dict | list) or not item.value:
        return False
    values = item.value.values() if isinstance(item.value, dict) else item.value
    holds_records = any(isinstance(value, dict | list) for value in values)
    return (in_object or dominates) and (holds_records or length > LONG)


def _json_items(text: str, start: int) -> Iterator[_Item]:
    """Yield the items of the container at `start`, which is known to be valid."""
    is_object = text[start] == "{"
    position = _after_space(text, start + 1)
    while text[position] not in "]}":
        value_start = position
        if is_object:
            _, end = scanstring(text, position + 1, False)
            value_start = _after_space(text, _after_space(text, end) + 1)  # after the colon
        value, end = _decoder.raw_decode(text, value_start)
        yield _Item(position, value_start, end, value)
        position = _after_space(text, end)
        if text[position] == ",":
            position = _after_space(text, position + 1)


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _json_character(escape: str) -> str:
    return str(json.loads(f'"{escape}"'))


def _python_character(escape: str) -> str:
    return str(ast.literal_eval(f"'{escape}'"))


def _add_string(
    outline: Outline,
    text: str,
    extent: Span,
    opener: int,
    prose: Prose,
    escape: re.Pattern[str] = ESCAPE,
    character: Callable[[str], str] = _json_character,
) -> None:
    """Add the sentences between quotation marks; what they are is seen in the text without escapes."""
    decoded: list[str] = []
    offsets: list[int] = []
    position, end = extent.start + 1, extent.end - 1
    for match in escape.finditer(text, position, end):
        decoded.append(text[position : match.start()])
        offsets.extend(range(position, match.start()))
        characters = character(match.group())
        decoded.append(characters)
        offsets.extend([match.start()] * len(characters))
        position = match.end()
    decoded.append(text[position:end])
    offsets.extend(range(position, end + 1))
    for first, last in prose("".join(decoded)):
        outline.add(offsets[first], offsets[last], opener)


def python_literal_chunks(text: str, prose: Prose) -> Chunks | None:
    """Cut the repr of a Python list, dict, set, object or text, as a tool may return it.

    Args:
        text: The whole text.
        prose: Cuts a text. Strings in a container stay whole.

    Returns:
        None if it is no such repr, or so long that parsing would take too much memory.
    """
    if _PYTHON_STRING.fullmatch(text):
        return _python_string(text, prose)
    start = len(text) - len(text.lstrip())
    if len(text) > _MOST_PYTHON or not (_looks_like_literal(text) or _CALL.match(text)):
        return None
    try:
        tree = ast.parse(text[start:], mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not _inner_nodes(tree.body):
        return None
    outline = Outline()
    places = _Places(text, start)
    item = (places.of(tree.body), tree.body)
    if not _open_python(outline, text, places, item, None, MAX_DEPTH):
        return None
    return outline.chunks()


def _python_string(text: str, prose: Prose) -> Chunks | None:
    """Cut the repr of a text into its sentences; None without one."""
    extent = trim(text, 0, len(text))
    assert extent is not None  # it has quotation marks
    start, end = extent
    if not text[start + 1 : end - 1].strip():
        return None
    outline = Outline()
    opener = outline.open(start, start + 1, None)
    _add_string(outline, text, extent, opener, prose, _PYTHON_ESCAPE, _python_character)
    outline.close(end - 1, end, opener)
    return outline.chunks()


class _Places:
    """Turns the lines and UTF-8 offsets of `ast` into character offsets."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._lines = [start]
        # Only these end a line for Python's tokenizer.
        self._lines += [match.end() for match in _PYTHON_LINE_BREAK.finditer(text, start)]
        self._bytes: dict[int, list[int]] = {}

    def of(self, node: Any) -> Span:
        """Return where a node is."""
        return Span(self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset))

    def line(self, number: int) -> int:
        """Return where a line begins; they are counted from 1."""
        return self._lines[number - 1]

    def _at(self, line: int, column: int) -> int:
        start = self._lines[line - 1]
        if line not in self._bytes:
            end = self._lines[line] if line < len(self._lines) else len(self._text)
            content = self._text[start:end]
            lengths = [] if content.isascii() else [len(c.encode("utf-8", "surrogatepass")) for c in content]
            self._bytes[line] = list(accumulate(lengths))
        ends = self._bytes[line]
        return start + (bisect_right(ends, column) if ends else column)


def _open_python(
    outline: Outline,
    text: str,
    places: _Places,
    item: tuple[Span, Any],
    parent: int | None,
    depth: int,
) -> bool:
    """Add a container piece by piece; False, and nothing is added, if its parts are not where they seem."""
    (start, end), node = item
    value = _value(node)
    value_start = places.of(value).start
    inner = [(_extent(places, part), part) for part in _inner_nodes(value)]
    first = inner[0][0].start
    gaps = [text[a[0].end : b[0].start] for a, b in pairwise(inner)]
    tail = text[inner[-1][0].end : end]
    # Parentheses and comments around a value are in no node: a cut would leave half of them.
    if any(gap.strip() != "," for gap in gaps) or len(tail.replace(",", "").strip()) != 1:
        return False
    opener = outline.open(start, start + len(text[start:first].rstrip()), parent)
    in_object = not isinstance(value, ast.List | ast.Set)
    size = end - value_start
    for extent, part in inner:
        inside = _value(part)
        length = extent.end - extent.start
        nodes = _inner_nodes(inside)
        worth = nodes and (in_object or 2 * length > size)
        worth = worth and (length > LONG or any(_inner_nodes(_value(n)) for n in nodes))
        if not (depth and worth and _open_python(outline, text, places, (extent, part), opener, depth - 1)):
            outline.add(extent.start, extent.end, opener, competes=not in_object or bool(nodes))
    closer = end - len(tail.lstrip().lstrip(",").lstrip())
    outline.close(closer, end, opener)
    return True


def _value(part: Any) -> Any:
    return part[-1] if isinstance(part, tuple) else part


def _extent(places: _Places, part: Any) -> Span:
    if isinstance(part, tuple):
        return Span(places.of(part[0]).start, places.of(part[1]).end)
    return places.of(part)


def _inner_nodes(node: Any) -> list[Any]:
    """The parts of a container: nodes, or (key, value); nothing for what stays whole.

    A tuple stays whole, since one with a single element needs a comma.
    """
    if isinstance(node, ast.List | ast.Set):
        return [] if any(isinstance(part, ast.Starred) for part in node.elts) else list(node.elts)
    if isinstance(node, ast.Dict):
        return [] if None in node.keys else list(zip(node.keys, node.values, strict=True))
    if isinstance(node, ast.Call):
        return [] if node.args else [(keyword, keyword.value) for keyword in node.keywords]
    return []
