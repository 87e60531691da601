"""Replies and their sources for people: in a terminal, in a notebook, on a web page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

from rich.text import Text

from provence_rag.prompting.citations import CitedReply
from provence_rag.prompting.context import CitedSpan, ContextSource, PromptContext
from provence_rag.rendering import (
    DROPPED_STYLE,
    HEADER_STYLE,
    KEPT_STYLE,
    STYLE,
    article,
    escaped,
    is_styled,
    one_line,
    page,
    printable,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult

__all__ = ["html_page", "html_reply", "html_sources", "terminal_reply", "terminal_sources"]

_GAP = " […] "
"""Stands for text between two spans of a document that is not known."""


class _Piece(NamedTuple):
    """Text of a view, with what is said about it."""

    text: str
    kind: Literal["plain", "cited", "wrong"] = "plain"


class _Part(NamedTuple):
    """A reply or a document, with the line above it."""

    header: list[str]
    pieces: list[_Piece]


def terminal_sources(context: PromptContext) -> ConsoleRenderable:
    """The sources of a context for `rich`, with what is sent of each in bold, or as `[+sent+]`."""
    return _TerminalView(_sources(context, lambda _: True))


def terminal_reply(reply: CitedReply) -> ConsoleRenderable:
    """A reply for `rich`, and its sources with the cited spans in bold, or as `[+cited+]` without styles.

    Citations of numbers that do not exist are struck through, or look like `[-[9]-]`.
    """
    return _TerminalView(_of_reply(reply))


def html_sources(context: PromptContext) -> str:
    """The sources of a context as HTML for use in a page, with what is sent of each as `<mark>`."""
    return STYLE + "".join(map(_article, _sources(context, lambda _: True)))


def html_reply(reply: CitedReply) -> str:
    """A reply and its sources as HTML for use in a page; see `html_page`."""
    return STYLE + "".join(map(_article, _of_reply(reply)))


def html_page(question: str, reply: CitedReply) -> str:
    """A complete HTML page of a question, its answer, and the sources with the cited spans as `<mark>`.

    Citations of numbers that do not exist are `<del>`.
    """
    return page(question, map(_article, _of_reply(reply)))


@dataclass(frozen=True)
class _TerminalView:
    parts: Sequence[_Part]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        styled = is_styled(console)
        for number, part in enumerate(self.parts):
            if number:
                yield Text()
            yield Text(" | ".join(part.header), style=HEADER_STYLE)
            body = Text()
            for text, kind in part.pieces:
                if kind == "plain":
                    body.append(printable(text))
                elif kind == "cited":
                    body.append(printable(text) if styled else f"[+{printable(text)}+]", style=KEPT_STYLE)
                else:
                    body.append(printable(text) if styled else f"[-{printable(text)}-]", style=DROPPED_STYLE)
            yield body


def _article(part: _Part) -> str:
    tags = {"cited": "mark", "wrong": "del"}
    body = "".join(
        escaped(text) if kind == "plain" else f"<{tags[kind]}>{escaped(text)}</{tags[kind]}>"
        for text, kind in part.pieces
    )
    return article(part.header, body)


def _of_reply(reply: CitedReply) -> list[_Part]:
    cited = {source.number for source in reply.sources}
    header = ["answer", f"{len(cited)}/{len(reply.context.sources)} sources cited"]
    if reply.unknown:
        header.append(f"unknown: {', '.join(f'[{number}]' for number in reply.unknown)}")
    return [
        _Part(header, list(_marked_reply(reply))),
        *_sources(reply.context, lambda source: source.number in cited),
    ]


def _marked_reply(reply: CitedReply) -> Iterator[_Piece]:
    end = 0
    for citation in reply.citations:
        yield _Piece(reply.text[end : citation.start])
        text = reply.text[citation.start : citation.end]
        yield _Piece(text, "wrong" if citation.unknown else "plain")
        end = citation.end
    yield _Piece(reply.text[end:])


def _sources(context: PromptContext, is_marked: Callable[[ContextSource], bool]) -> list[_Part]:
    """Each document of each source, with the spans of marked sources as cited."""
    parts = []
    for source in context.sources:
        for key, spans in groupby(source.spans, key=attrgetter("id", "index")):
            own = list(spans)
            header = [f"[{source.number}]", one_line(str(own[0].id))]
            if key != (source.id, source.index):
                header.append("copy")
            elif source.title:
                header.append(one_line(source.title))
            kind: Literal["plain", "cited"] = "cited" if is_marked(source) else "plain"
            parts.append(_Part(header, list(_marked(own, context.documents.get(key), kind))))
    return parts


def _marked(
    spans: Sequence[CitedSpan], document: str | None, kind: Literal["plain", "cited"]
) -> Iterator[_Piece]:
    end = 0
    if document is not None:
        # Those of a document that was given twice, pruned by two questions, may overlap.
        spans = sorted(spans, key=attrgetter("start", "end"))
    for number, span in enumerate(spans):
        if document is None:
            if number:
                yield _Piece(_GAP)
            yield _Piece(span.text, kind)
        elif span.end > end:
            start = max(span.start, end)
            yield _Piece(document[end:start] if number else document[end:start].lstrip())
            yield _Piece(document[start : span.end], kind)
            end = span.end
    if document is not None:
        yield _Piece(document[end:].rstrip())
