"""Results for people: kept and dropped sentences in a terminal or on a web page, and plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, TypeVar

from rich.text import Text

from provence_rag.surrogates import without_surrogates

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult

    from provence_rag.results import PrunedPassage, Sentence

__all__ = [
    "DROPPED_STYLE",
    "HEADER_STYLE",
    "KEPT_STYLE",
    "STYLE",
    "article",
    "escaped",
    "html_fragment",
    "html_page",
    "is_styled",
    "one_line",
    "page",
    "plain_text",
    "printable",
    "progress_bar",
    "terminal_view",
]

_Batch = TypeVar("_Batch", bound=Sized)

_LINE_BREAK = re.compile("\r\n|[\r\v\f\x85]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")

KEPT_STYLE = "bold"
DROPPED_STYLE = "dim strike"
HEADER_STYLE = "cyan"
_QUERY_STYLE = "bold cyan"

# Translucent colours, and the text colour of the page: one rule serves light and dark pages.
STYLE = """<style>
.provence { margin: 1rem 0; line-height: 1.6; }
.provence header { display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: .875em; opacity: .8; }
.provence div { white-space: pre-wrap; overflow-wrap: anywhere; }
.provence mark { color: inherit; background: rgb(64 160 96 / .22); }
.provence del { opacity: .6; }
</style>
"""

_ARTICLE = """<article class="provence">
<header>{header}</header>
<div dir="auto">{body}</div>
</article>
"""

_PAGE = """<!doctype html>
<html lang="">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
body {{ max-width: 48rem; margin: 2rem auto; padding: 0 1rem; font-family: system-ui, sans-serif; }}
h1 {{ font-size: 1.375rem; }}
</style>
{style}</head>
<body>
<h1 dir="auto">{title}</h1>
{articles}</body>
</html>
"""


def printable(text: str) -> str:
    """Make text safe to show: line breaks become newlines, unsafe characters U+FFFD.

    Those are control characters (an escape sequence can clear a screen or forge its content) and lone
    surrogates (which cannot be encoded).
    """
    return _CONTROL.sub("\ufffd", without_surrogates(_LINE_BREAK.sub("\n", text)))


def plain_text(passages: Sequence[PrunedPassage]) -> str:
    """The pruned texts, separated by empty lines, without empty ones; lone surrogates become U+FFFD."""
    return "\n\n".join(without_surrogates(passage.text) for passage in passages if not passage.is_empty)


def terminal_view(passages: Sequence[PrunedPassage], query: str | None = None) -> ConsoleRenderable:
    """Passages for `rich`: for each a header line and the document, with dropped sentences struck through.

    Without styles (in a file or a pipe), dropped sentences look like `[-dropped-]`.

    Args:
        passages: What to show, in this order.
        query: Text to show above them.

    Returns:
        A renderable: `rich.print(terminal_view(passages))`.
    """
    return _TerminalView(tuple(passages), query)


def is_styled(console: Console) -> bool:
    """Whether a console shows styles: the old Windows console has colours, but cannot strike through."""
    return console.color_system is not None and not console.legacy_windows


def html_fragment(passage: PrunedPassage) -> str:
    """One passage as HTML for use in a page; notebooks show it."""
    return STYLE + _article_of(passage)


def html_page(query: str, passages: Sequence[PrunedPassage]) -> str:
    """A complete HTML page without other files, for light and dark screens.

    Kept sentences are `<mark>`, dropped ones `<del>`; a sentence's tooltip is its score.
    """
    return page(query, map(_article_of, passages))


def page(title: str, articles: Iterable[str]) -> str:
    """A complete HTML page: a title as plain text, and articles made by `article`."""
    return _PAGE.format(title=escaped(title), style=STYLE, articles="".join(articles))


def article(header: Iterable[str], body: str) -> str:
    """A text with a line above it, as HTML that needs `STYLE`.

    Args:
        header: The parts of the line, as plain text.
        body: The text, as HTML.
    """
    line = "".join(f'<span dir="auto">{escaped(part)}</span>' for part in header)
    return _ARTICLE.format(header=line, body=body)


@dataclass(frozen=True)
class _TerminalView:
    """Rendered once the console is known, which tells whether styles will be visible."""

    passages: tuple[PrunedPassage, ...]
    query: str | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        styled = is_styled(console)
        if self.query is not None:
            yield Text(printable(self.query) + "\n", style=_QUERY_STYLE)
        for number, passage in enumerate(self.passages):
            if number:
                yield Text()
            yield Text(" | ".join(_header(passage)), style=HEADER_STYLE)
            yield _body(passage, styled)


def _body(passage: PrunedPassage, styled: bool) -> Text:
    body = Text()
    for piece, sentence in _pieces(passage):
        if sentence is None:
            body.append(piece)
        elif sentence.kept:
            body.append(piece, style=KEPT_STYLE)
        else:
            body.append(piece if styled else f"[-{piece}-]", style=DROPPED_STYLE)
    return body


def _article_of(passage: PrunedPassage) -> str:
    return article(_header(passage), "".join(_element(*piece) for piece in _pieces(passage)))


def _element(piece: str, sentence: Sentence | None) -> str:
    if sentence is None:
        return escape(piece)
    tag = "mark" if sentence.kept else "del"
    title = "" if sentence.score is None else f' title="{sentence.score:.3f}"'
    return f"<{tag}{title}>{escape(piece)}</{tag}>"


def progress_bar(
    batches: Iterable[_Batch], total: int, *, unit: str = "windows", done: int = 0
) -> Iterator[_Batch]:
    """Pass batches on and show on standard error how much is done, at which rate, and the time left.

    Args:
        batches: What is passed on; the length of each is how many units it has.
        total: The number of units.
        unit: What is counted.
        done: The number of units that were done before.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.table import Column

    class Rate(TextColumn):
        def render(self, task: Task) -> Text:
            rate = task.finished_speed or task.speed
            return Text("" if rate is None else f"{rate:,.{0 if rate >= 10 else 1}f} {unit}/s")

    columns = (
        TextColumn(f"{{task.completed:,.0f}} of {{task.total:,.0f}} {unit}"),
        BarColumn(table_column=Column(ratio=1)),
        Rate(""),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, speed_estimate_period=600, expand=True) as bar:
        task = bar.add_task("", total=total, completed=done)
        for batch in batches:
            yield batch
            bar.advance(task, len(batch))


def _header(passage: PrunedPassage) -> list[str]:
    """The parts of the line above a passage; all but the title are ASCII."""
    num_kept = sum(sentence.kept for sentence in passage.sentences)
    parts = [
        f"#{passage.index}",
        one_line(passage.title or ""),
        "" if passage.score is None else f"score {passage.score:.3f}",
        f"{num_kept}/{len(passage.sentences)} sentences",
        f"{passage.num_tokens} -> {passage.num_kept_tokens} tokens",
    ]
    return [part for part in parts if part]


def _pieces(passage: PrunedPassage) -> Iterator[tuple[str, Sentence | None]]:
    """The document from its first sentence to its last: sentences, and the separators (None) between them."""
    end = passage.sentences[0].start if passage.sentences else 0
    for sentence in passage.sentences:
        if sentence.start > end:
            yield printable(passage.document[end : sentence.start]), None
        yield printable(sentence.text), sentence
        end = sentence.end


def one_line(text: str) -> str:
    """Text as a part of a line, safe to show."""
    return " ".join(printable(text).split())


def escaped(text: str) -> str:
    """Text as HTML, safe to show."""
    return escape(printable(text))
