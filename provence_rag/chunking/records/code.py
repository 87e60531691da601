"""Source code: one record per function, with the class around it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from provence_rag.chunking.base import Span, trim
from provence_rag.chunking.links import Chunks
from provence_rag.chunking.partners import LONGEST_SECTION
from provence_rag.chunking.records.outline import LONG, MAX_DEPTH, Outline

__all__ = ["brace_code_chunks", "python_code_chunks"]

# `ast` makes an object of every value, which takes about a kilobyte.
_MOST_PYTHON = 1_000_000
_PYTHON = re.compile(
    r"^(?:(?:async[ ]+)?def[ ]+\w+[ ]*[(\[]|class[ ]+\w+[^\n]{0,200}:"
    r"|from[ ]+[\w.]+[ ]+import[ ]|import[ ]+\w+)",
    re.MULTILINE,
)
_PYTHON_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|$)")

_BRACE_CODE = re.compile(
    r"^[ \t]*(?:(?:export|public|private|protected|static|async|abstract|final|default|pub|unsafe|inline|"
    r"virtual|extern)[ ]+)*(?:function|func|fn|class|struct|interface|enum|impl|namespace|package|import|"
    r"using|use|#include|const|let|var|type|void|int|trait|module|mod|object|record)\b",
    re.MULTILINE,
)
_TOKEN = re.compile(
    r"//[^\n]*|/\*|#[^\n]*|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`|[{}()\[\];]|\n[ \t]*\n"
)
_CODE_LINE_END = re.compile(r"(?:[{};,()\[\]]|\*/|=>)[ \t]*(?://[^\n]*)?$", re.MULTILINE)
_LEAST_SHARE_OF_CODE_LINES = 0.5


def python_code_chunks(text: str) -> Chunks | None:
    """Cut Python source into its top-level statements, and classes into their members.

    Comments belong to the statement below. A class takes its first statement, so that it is never empty, and
    announces the others if they are short.

    Returns:
        None if `text` does not parse as Python or has no function, class or import.
    """
    if len(text) > _MOST_PYTHON or _PYTHON.search(text) is None:
        return None
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if len(tree.body) < 2:
        return None
    lines = [Span(m.start(), m.end()) for m in _PYTHON_LINE.finditer(text)]
    outline = Outline()
    _add_statements(outline, text, lines, tree.body, 0, len(text), None, MAX_DEPTH)
    return outline.chunks()


def _add_statements(
    outline: Outline,
    text: str,
    lines: list[Span],
    body: list[ast.stmt],
    begin: int,
    end: int,
    parent: int | None,
    depth: int,
) -> None:
    """Add the statements of a module or class between two offsets; text between them joins the next one."""
    is_short = end - begin <= LONGEST_SECTION
    for node, following in zip(body, [*body[1:], None], strict=True):
        behind = lines[(node.end_lineno or node.lineno) - 1].end
        if following is None:
            behind = end
        elif _first_line(following) == node.end_lineno:
            continue  # statements on one line, with a semicolon
        extent = trim(text, begin, behind)
        begin = behind
        if extent is None:
            continue
        if depth and isinstance(node, ast.ClassDef) and len(node.body) > 1 and not _shares_line(node):
            header_end = lines[(node.body[0].end_lineno or 1) - 1].end
            header = trim(text, extent.start, header_end)
            assert header is not None  # it has the name of the class
            number = outline.add(*header, parent)
            _add_statements(outline, text, lines, node.body[1:], header_end, extent.end, number, depth - 1)
        else:
            number = outline.add(*extent, parent, competes=True)
        if parent is not None and is_short:
            outline.link(parent, number, "announces")


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    first: int = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return first


def _shares_line(node: ast.ClassDef) -> bool:
    first, second = node.body[:2]
    return first.lineno == node.lineno or first.end_lineno == _first_line(second)


class _Unit(NamedTuple):
    """A declaration: a stretch of code that ends with a brace or a semicolon at its level."""

    start: int
    end: int
    body: Span | None
    """What is between its braces, if it ends with them."""


def brace_code_chunks(text: str) -> Chunks | None:
    """Cut code in which braces make blocks (JavaScript, Java, C, Go, Rust ...) into its declarations.

    Long blocks that hold blocks, such as classes, are cut into their members.

    Returns:
        None if `text` does not look like such code, or its brackets do not match.
    """
    if "{" not in text or _BRACE_CODE.search(text[:100_000]) is None:
        return None
    sample = text[:20_000]
    num_lines = sum(1 for line in sample.splitlines() if line.strip())
    if len(_CODE_LINE_END.findall(sample)) < _LEAST_SHARE_OF_CODE_LINES * num_lines:
        return None
    partners = _partners(text)
    if partners is None:
        return None
    outline = Outline()
    units = list(_units(text, 0, len(text), partners))
    if len(units) < 2 and not any(unit.body for unit in units):
        return None
    _add_units(outline, text, units, partners, None, MAX_DEPTH)
    return outline.chunks() if len(outline.chunks().spans) > 1 else None


def _partners(text: str) -> dict[int, int] | None:
    """Return the offset after the closing brace for each opening one; None if brackets do not match."""
    partners: dict[int, int] = {}
    waiting: list[tuple[str, int]] = []
    for token, start, end in _tokens(text):
        if token in "{[(":
            waiting.append(("}])"["{[(".index(token)], start))
        elif token in "}])":
            if not waiting or waiting[-1][0] != token:
                return None
            _, opener = waiting.pop()
            if token == "}":
                partners[opener] = end
    return None if waiting else partners


def _tokens(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[str, int, int]]:
    """Yield brackets, semicolons and blank lines (as line breaks), without those in strings and comments."""
    position = start
    end = len(text) if end is None else end
    while match := _TOKEN.search(text, position, end):
        token, position = match.group(), match.end()
        if token in ("/*", "`"):
            found = text.find("*/" if token == "/*" else "`", position)
            position = end if found < 0 else found + len("*/" if token == "/*" else "`")
        elif token in "{}[]();":
            yield token, match.start(), position
        elif token[0] == "\n":
            yield "\n", match.start(), position


def _units(text: str, start: int, end: int, partners: dict[int, int]) -> Iterator[_Unit]:
    """Yield the declarations between two offsets. A blank line ends one that has neither."""
    begin = position = start
    parentheses = 0
    while position < end:
        step = next(_tokens(text, position, end), None)
        if step is None:
            break
        token, at, behind = step
        position = behind
        unit_end, body = -1, None
        if token in "([":
            parentheses += 1
        elif token in ")]":
            parentheses -= 1
        elif token == "{":
            position = partners[at]
            line_start = max(begin, text.rfind("\n", begin, at) + 1)
            if not parentheses and _IMPORT.match(text, line_start):
                line_end = text.find("\n", position, end)
                unit_end = position = end if line_end < 0 else line_end
            elif not parentheses:
                body = Span(at + 1, position - 1)
                unit_end = position = _tail(text, position, end)
        elif not parentheses and token in ";\n":
            unit_end = behind if token == ";" else at
        if unit_end >= 0 and (extent := trim(text, begin, unit_end)) is not None:
            is_comment = token == "\n" and text.startswith(("//", "/*", "#", "@"), extent.start)
            if not is_comment:
                yield _Unit(extent.start, extent.end, body)
                begin = unit_end
    if (extent := trim(text, begin, end)) is not None:
        yield _Unit(extent.start, extent.end, None)


_IMPORT = re.compile(r"[ \t]*(?:pub[ ]+)?(?:import|use|using)\b|export[ ]+(?:type[ ]+)?\{")
"""What has names in its braces: the rest of the line, such as `from './db';`, belongs to it."""

_TAIL = re.compile(r"[ \t]*(?:[;,)\]]+[ \t]*)*(?:[ \t]*//[^\n]*)?")


def _tail(text: str, position: int, end: int) -> int:
    match = _TAIL.match(text, position, end)
    return match.end() if match else position


def _add_units(
    outline: Outline,
    text: str,
    units: list[_Unit],
    partners: dict[int, int],
    parent: int | None,
    depth: int,
) -> None:
    for unit in units:
        inner = []
        if depth and unit.body is not None and unit.end - unit.start > LONG:
            inner = list(_units(text, *unit.body, partners))
        if parent is None and sum(one.body is not None for one in inner) > 1 and _is_type(text, unit):
            assert unit.body is not None
            opener = outline.open(unit.start, unit.body.start, parent)
            _add_units(outline, text, inner, partners, opener, depth - 1)
            outline.close(unit.body.end, unit.end, opener)
        else:
            outline.add(unit.start, unit.end, parent, competes=True)


_TYPE = re.compile(r"\b(?:class|interface|struct|impl|namespace|trait|module|mod|object|enum|record)\b")


def _is_type(text: str, unit: _Unit) -> bool:
    """Whether a block holds declarations; the statements of a function stay together."""
    assert unit.body is not None
    head = text[unit.start : unit.body.start]
    return _TYPE.search(head) is not None
