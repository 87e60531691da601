"""XML and HTML: one record per element, with the tags around it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from xml.parsers import expat

from provence_rag.chunking.base import Span, trim
from provence_rag.chunking.links import Chunks
from provence_rag.chunking.partners import with_partners
from provence_rag.chunking.records.elements import (
    BLOCKS,
    HTML,
    INLINE,
    ROWS,
    VOID,
    Element,
    blank_tags,
    tags,
    tree,
)
from provence_rag.chunking.records.outline import LONG, Outline

__all__ = ["markup_chunks"]

Prose = Callable[[str], Sequence[Span]]

_SAMPLE = 20_000
_FEWEST_XML_TAGS = 4
_PROSE = frozenset(("html", "div", "p"))
"""Where these are, other elements are extensions of HTML, or a wrapper around it."""

_ITEMS = frozenset(("li", "dd", "dt", "td", "th"))
_LONG_ITEM = {**dict.fromkeys(_ITEMS, LONG), **dict.fromkeys(ROWS, 3 * LONG)}
"""Characters up to which an item stays whole. Pages of old have their whole content in one row."""

_WHOLE = frozenset(("script", "style", "textarea", "title", "svg", "pre"))
_XML_DECLARATION = re.compile(r"<\?xml[^>]*\?>")
_PROLOG = re.compile(r"\s*((?:<\?xml[^>]*\?>\s*)?(?:<!(?i:doctype)[^>\[]*>)?)(?<=>)")
_LINE_END = re.compile(r"<(?:br|hr)\b[^<>]*>\s*", re.IGNORECASE)


def markup_chunks(text: str, prose: Prose) -> Chunks | None:
    """Cut XML, or a text with block elements of HTML.

    Args:
        text: The whole text.
        prose: Cuts the text between tags.

    Returns:
        None if it is neither. One piece, with the reason, if it begins like XML and is not well-formed.
    """
    names = Counter(tag.name for tag in tags(text[:_SAMPLE], html=True) if tag.name)
    if not names.keys().isdisjoint(BLOCKS) and not _is_xml(text.strip(), names.keys()):
        root = tree(text, html=True)
        if not root.children:
            return None
        chunks = _Writer(text, prose, html=True).chunks(root)
        return replace(with_partners(text, chunks, is_markup=True), reading=blank_tags(text))
    extent = trim(text, 0, len(text))
    if extent is None or text[extent.start] != "<" or text[extent.end - 1] != ">":
        return None
    if names.total() < _FEWEST_XML_TAGS or names.keys() <= INLINE | VOID:
        return None
    if not _is_well_formed(text[extent.start : extent.end]):
        return Chunks([extent], kept_whole="XML that is not well-formed")
    return _Writer(text, prose, html=False).chunks(tree(text, html=False))


def _is_xml(text: str, names: Set[str]) -> bool:
    """Whether markup with names that HTML has is XML: it says so, or is well-formed and has other names."""
    if text.startswith("<?xml"):
        return True
    own = {name for name in names - HTML if "-" not in name and ":" not in name}
    if not own or not names.isdisjoint(_PROSE) or text[0] != "<" or text[-1] != ">":
        return False
    return _is_well_formed(text)


def _is_well_formed(text: str) -> bool:
    """Whether `text` is XML, with one element around all or several beside each other."""
    if "<!ENTITY" in text:
        return False  # entities made of entities grow without end
    declaration = _XML_DECLARATION.match(text)
    body = text[declaration.end() :] if declaration else text
    root = ("", "") if "<!DOCTYPE" in body else ("<r>", "</r>")
    parser = expat.ParserCreate("utf-8")
    try:
        for part in (root[0], body, root[1]):
            parser.Parse(part.encode("utf-8", "replace"), False)
        parser.Parse(b"", True)
    except expat.ExpatError:
        return False
    return True


@dataclass
class _Table:
    """A table that rows are added to."""

    header: int | None = None
    """Number of the row whose cells are all headers."""


class _Level:
    """An element that is being written."""

    def __init__(self, element: Element, opener: int | None, position: int, table: _Table | None) -> None:
        self.element = element
        self.opener = opener
        self.position = position
        self.table = table
        self.next_child = 0
        self.repeated = _repeated(element)

    def within(self, child: Element, opener: int) -> _Level:
        """The level of a child."""
        table = _Table() if child.name == "table" else self.table
        return _Level(child, opener, child.content_start, table)


def _repeated(element: Element) -> set[str]:
    """The names that several children have: those are records of one kind."""
    names = Counter(child.name for child in element.children)
    return {name for name, count in names.items() if count > 1}


class _Writer:
    """Writes the outline of a tree."""

    def __init__(self, text: str, prose: Prose, *, html: bool) -> None:
        self._text = text
        self._prose = prose
        self._html = html
        self._outline = Outline()
        self._cut: dict[tuple[int, int], list[Span]] = {}
        """The sentences of the element that is about to be opened."""

    def chunks(self, root: Element) -> Chunks:
        """Write the whole tree, with a stack of our own: nesting may be deep."""
        prolog = _PROLOG.match(self._text)
        opener = self._outline.open(*prolog.span(1), None) if prolog else None
        stack = [_Level(root, opener, prolog.end(1) if prolog else 0, None)]
        while stack:
            level = stack[-1]
            if level.next_child == len(level.element.children):
                self._finish(stack.pop())
                continue
            child = level.element.children[level.next_child]
            level.next_child += 1
            self._add_text(level.position, child.start, level.opener)
            level.position = child.end
            if self._is_opened(child, level):
                own = self._outline.open(child.start, child.content_start, level.opener)
                stack.append(level.within(child, own))
            else:
                self._add_record(child, level)
        return self._outline.chunks()

    def _finish(self, level: _Level) -> None:
        element = level.element
        self._add_text(level.position, element.content_end, level.opener)
        if level.opener is not None and element.end > element.content_end:
            self._outline.close(element.content_end, element.end, level.opener)

    def _add_text(self, start: int, end: int, parent: int | None) -> None:
        if trim(self._text, start, end) is None:
            return
        sentences = self._cut.get((start, end))
        if sentences is None:
            sentences = _sentences(self._text[start:end], self._prose)
        self._outline.extend(sentences, start, parent)

    def _add_record(self, element: Element, level: _Level) -> None:
        extent = trim(self._text, element.start, element.end)
        assert extent is not None  # it begins with a tag
        competes = element.name in ROWS if self._html else element.name in level.repeated
        number = self._outline.add(*extent, level.opener, competes=competes)
        table = level.table
        if not self._html or element.name != "tr" or table is None:
            return
        if table.header is not None:
            self._outline.link(number, table.header)
        elif element.children and all(child.name == "th" for child in element.children):
            table.header = number

    def _is_opened(self, element: Element, level: _Level) -> bool:
        length = element.end - element.start
        if self._html:
            if element.name in _WHOLE or length <= _LONG_ITEM.get(element.name, 0):
                return False
            if element.children:  # looked at first: a copy of the content on each level would take long
                return True
            sentences = _sentences(self._text[element.content_start : element.content_end], self._prose)
            self._cut = {(element.content_start, element.content_end): sentences}
            return len(sentences) > 1
        if not element.children:
            return False
        whole = level.element
        if not whole.name and len(whole.children) == 1:
            return True
        if element.name in level.repeated and 2 * length <= whole.end - whole.start:
            return False
        holds_records = any(child.children for child in element.children) or bool(_repeated(element))
        return holds_records or length > LONG


def _sentences(text: str, prose: Prose) -> list[Span]:
    """Cut the text between two blocks where no inline element is open; `<br>` belongs to the line before."""
    found: list[Span] = []
    ends = [match.end() for match in _LINE_END.finditer(text)]
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        begin = -1  # of the sentence whose elements are still open
        depth = 0
        last = start
        for sentence in prose(text[start:end]):
            begin = start + sentence.start if begin < 0 else begin
            last = start + sentence.end
            depth += _depth(text[start + sentence.start : last])
            if depth <= 0:
                found.append(Span(begin, last))
                begin, depth = -1, 0
        if begin >= 0:
            found.append(Span(begin, last))
    return found


def _depth(text: str) -> int:
    """How many more elements begin in `text` than end."""
    if "<" not in text:
        return 0
    found = (tag for tag in tags(text, html=True) if tag.name not in VOID and tag.name and not tag.is_empty)
    return sum(-1 if tag.closes else 1 for tag in found)
