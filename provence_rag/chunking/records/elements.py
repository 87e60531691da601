"""The elements of XML and HTML, with their places in the text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from typing import NamedTuple

__all__ = ["BLOCKS", "HTML", "INLINE", "ROWS", "VOID", "Element", "Tag", "blank_tags", "tags", "tree"]

VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")
)
"""HTML's elements without content."""

INLINE = frozenset(
    (
        *("a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i"),
        *("ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup"),
        *("time", "tt", "u", "var"),
    )
)
"""HTML's elements within a line."""

BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div"),
        *(
            "dl",
            "dt",
            "fieldset",
            "figcaption",
            "figure",
            "footer",
            "form",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
        ),
        *("head", "header", "html", "legend", "li", "main", "menu", "nav", "ol", "optgroup", "option", "p"),
        *(
            "pre",
            "script",
            "section",
            "select",
            "style",
            "summary",
            "svg",
            "table",
            "tbody",
            "td",
            "textarea",
        ),
        *("tfoot", "th", "thead", "title", "tr", "ul"),
    )
)
"""HTML's elements that no sentence runs out of."""

HTML = (
    VOID
    | INLINE
    | BLOCKS
    | frozenset(
        (
            *("acronym", "audio", "button", "canvas", "colgroup", "datalist", "dialog", "dir", "frame"),
            *("frameset", "hgroup", "iframe", "map", "math", "meter", "nobr", "noscript", "object", "output"),
            *("param", "picture", "progress", "rb", "rp", "rt", "ruby", "search", "slot", "template"),
            *("track", "video"),
        )
    )
)
"""All of HTML's elements. Custom ones have a hyphen in their names."""

ROWS = frozenset(("tr", "option"))
"""HTML's elements that are records of a table or menu."""

_RAW = frozenset(("script", "style", "textarea", "title", "svg"))
_UNSEEN = frozenset(("script", "style"))
_ENDS_PARAGRAPH = BLOCKS - {"script", "style", "svg"}
_CLOSED_BY = {
    "li": frozenset(("li",)),
    "dt": frozenset(("dt", "dd")),
    "dd": frozenset(("dt", "dd")),
    "tr": frozenset(("tr", "td", "th")),
    "td": frozenset(("td", "th")),
    "th": frozenset(("td", "th")),
    "option": frozenset(("option",)),
    "tbody": frozenset(("thead", "tbody", "tr", "td", "th")),
    "tfoot": frozenset(("thead", "tbody", "tr", "td", "th")),
}
"""Elements that end where another begins, if no end tag has ended them."""

# No alternative matches "<", so that a tag without an end is searched no further than the next one.
_ATTRIBUTES = r"[^<>\"']*(?:(?:\"[^<\"]*\"|'[^<']*')[^<>\"']*)*"
_TAG = re.compile(rf"<(/?)([A-Za-z_][\w:.-]*)((?:[\s/]{_ATTRIBUTES})?)>|<(!--|!\[CDATA\[|[!?])")
_END_OF = {"!--": "-->", "![CDATA[": "]]>", "!": ">", "?": ">"}
_ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});")


class Tag(NamedTuple):
    """A tag, or a comment, declaration or instruction, which has no name."""

    start: int
    end: int
    name: str
    closes: bool
    """Whether it is an end tag."""

    is_empty: bool
    """Whether it ends its own element: `<a/>`."""


@dataclass
class Element:
    """An element; in HTML only blocks are looked at."""

    name: str
    start: int
    content_start: int
    content_end: int = -1
    end: int = -1
    children: list[Element] = field(default_factory=list)


def tags(text: str, *, html: bool) -> Iterator[Tag]:
    """Yield the tags of `text`; what looks like one in a comment, or in HTML's scripts and styles, is none.

    Names of HTML are in lower case.
    """
    position = 0
    missing: set[str] = set()  # what does not occur any more
    while match := _TAG.search(text, position):
        start, position = match.span()
        slash, name, attributes, other = match.groups()
        if other:
            position = _after(text, _END_OF[other], position, missing)
            yield Tag(start, position, "", closes=False, is_empty=True)
            continue
        name = name.lower() if html else name
        closes = bool(slash)
        yield Tag(start, position, name, closes, attributes.endswith("/"))
        if html and name in _RAW and not closes:
            position = _before_end_tag(text, name, position, missing)


def _after(text: str, end: str, position: int, missing: set[str]) -> int:
    found = -1 if end in missing else text.find(end, position)
    if found < 0:
        missing.add(end)
        return position
    return found + len(end)


def _before_end_tag(text: str, name: str, position: int, missing: set[str]) -> int:
    end_tag = re.compile(rf"</{name}(?=[\s>])", re.IGNORECASE)
    found = None if name in missing else end_tag.search(text, position)
    if found is None:
        missing.add(name)
        return position
    return found.start()


def tree(text: str, *, html: bool) -> Element:
    """Return the elements of `text` under a root without a name.

    HTML is read as browsers do: an element without an end tag ends where it must, and an end tag without an
    element is text.
    """
    root = Element("", 0, 0, len(text), len(text))
    stack = [root]
    num_open: Counter[str] = Counter()

    def end(position: int, after: int) -> None:
        element = stack.pop()
        num_open[element.name] -= 1
        element.content_end, element.end = position, after

    for tag in tags(text, html=html):
        if not tag.name or (html and tag.name not in BLOCKS):
            continue
        if tag.closes:
            if num_open[tag.name]:
                while stack[-1].name != tag.name:
                    end(tag.start, tag.start)
                end(tag.start, tag.end)
            continue
        if html:
            closed = _CLOSED_BY.get(tag.name, frozenset())
            while stack[-1].name in closed or (stack[-1].name == "p" and tag.name in _ENDS_PARAGRAPH):
                end(tag.start, tag.start)
        element = Element(tag.name, tag.start, tag.end)
        stack[-1].children.append(element)
        if tag.is_empty and not html:
            element.content_end = element.end = tag.end
        else:
            stack.append(element)
            num_open[tag.name] += 1
    while len(stack) > 1:
        end(len(text), len(text))
    return root


def blank_tags(text: str) -> str:
    """Return HTML as a browser shows it, in as many characters.

    Tags are spaces and line breaks, cells of a table are parted by bars, scripts are left out, and entities
    are what they stand for.
    """
    parts: list[str] = []
    position = 0
    unseen = False
    for tag in tags(text, html=True):
        piece = text[position : tag.start]
        parts.append(" " * len(piece) if unseen else _ENTITY.sub(_resolved, piece))
        unseen = tag.name in _UNSEEN and not tag.closes
        mark = "\n"
        if tag.name in ("td", "th"):
            mark = " | "
        elif tag.name in INLINE or not tag.name:
            mark = " "
        parts.append(mark.ljust(tag.end - tag.start))
        position = tag.end
    parts.append(_ENTITY.sub(_resolved, text[position:]))
    return "".join(parts)


def _resolved(match: re.Match[str]) -> str:
    length = match.end() - match.start()
    return unescape(match.group()).ljust(length)[:length]
