from __future__ import annotations

import re
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from provence_rag import PrunedPassage, Sentence
from provence_rag.rendering import html_fragment, html_page, plain_text, printable, terminal_view

HOSTILE = "[bold]x[/bold] <b>&\"'\x1b[2J\ud800 :smile:"
"""Text that rich, a browser, a terminal or an encoder would take for something else."""

SHOWN = "[bold]x[/bold] <b>&\"'\ufffd[2J\ufffd :smile:"


def make_passage(*sentences: tuple[str, bool], separator: str = " ", **fields: Any) -> PrunedPassage:
    """A passage of these sentences, with white space around and `separator` between them."""
    document, made = "\n ", []
    for number, (text, kept) in enumerate(sentences):
        document += separator if number else ""
        start, end = len(document), len(document) + len(text)
        made.append(
            Sentence(text=text, start=start, end=end, score=0.5, kept=kept, token_start=start, token_end=end)
        )
        document += text
    values = {
        "index": 2,
        "document": f"{document}\n",
        "text": separator.join(text for text, kept in sentences if kept),
        "title": None,
        "score": 0.75,
        "logit": 1.1,
        "sentences": tuple(made),
    }
    return PrunedPassage(**{**values, **fields})


def shown(renderable: Any, *, width: int = 100, **settings: Any) -> str:
    """What a rich console writes."""
    file = StringIO()
    Console(file=file, width=width, _environ={}, **{"legacy_windows": False, **settings}).print(renderable)
    return file.getvalue()


def on_terminal(renderable: Any, **settings: Any) -> str:
    return shown(renderable, force_terminal=True, color_system="standard", **settings)


PASSAGE = make_passage(("Keep me.", True), ("Drop me.", False), ("Me too.", True), separator="\n\n  ")


def test_terminal_view_shows_the_document_with_its_separators() -> None:
    assert on_terminal(terminal_view([PASSAGE])) == (
        "\x1b[36m#2 | score 0.750 | 2/3 sentences | 23 -> 15 tokens\x1b[0m\n"
        "\x1b[1mKeep me.\x1b[0m\n\n  \x1b[2;9mDrop me.\x1b[0m\n\n  \x1b[1mMe too.\x1b[0m\n"
    )


def test_terminal_view_marks_dropped_sentences_where_styles_are_not_seen() -> None:
    assert shown(terminal_view([PASSAGE])) == (
        "#2 | score 0.750 | 2/3 sentences | 23 -> 15 tokens\nKeep me.\n\n  [-Drop me.-]\n\n  Me too.\n"
    )


def test_terminal_view_marks_dropped_sentences_on_the_old_windows_console() -> None:
    assert "[-Drop me.-]" in on_terminal(terminal_view([PASSAGE]), legacy_windows=True)


def test_terminal_view_strikes_through_without_colours() -> None:
    assert "\x1b[2;9mDrop me.\x1b[0m" in on_terminal(terminal_view([PASSAGE]), no_color=True)


def test_terminal_view_separates_query_and_passages() -> None:
    first = make_passage(("One.", True), title=" A\ntitle ", score=None)
    assert shown(terminal_view([first, PASSAGE], query="Why?")).startswith(
        "Why?\n\n#2 | A title | 1/1 sentences | 4 -> 4 tokens\nOne.\n\n#2 | score"
    )


def test_terminal_view_takes_nothing_for_markup() -> None:
    view = terminal_view([make_passage((HOSTILE, True), title=HOSTILE)], query=HOSTILE)
    assert shown(view).count(SHOWN) == 3


def test_a_passage_is_its_own_terminal_view() -> None:
    assert on_terminal(PASSAGE) == on_terminal(terminal_view([PASSAGE]))


class Elements(HTMLParser):
    """Collects the text and title of each `mark` and `del`, and checks that elements are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self._open.append(tag)
        if tag in ("mark", "del"):
            self.found.append((tag, dict(attrs).get("title"), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open and self._open[-1] in ("mark", "del"):
            tag, title, text = self.found[-1]
            self.found[-1] = (tag, title, text + data)


def test_html_fragment_marks_kept_and_dropped_sentences() -> None:
    elements = Elements(html_fragment(PASSAGE))
    assert elements.found == [
        ("mark", "0.500", "Keep me."),
        ("del", "0.500", "Drop me."),
        ("mark", "0.500", "Me too."),
    ]
    assert "Keep me.\n\n  Drop me.\n\n  Me too." in elements.text


def test_html_has_no_title_without_a_score() -> None:
    sentence = Sentence(text="A.", start=0, end=2, score=None, kept=True, token_start=0, token_end=1)
    html = html_fragment(make_passage(document="A.", sentences=(sentence,)))
    assert "<mark>A.</mark>" in html


def test_html_is_escaped() -> None:
    html = html_page(HOSTILE, [make_passage((HOSTILE, False), title=HOSTILE)])
    assert "<b>" not in html
    assert Elements(html).text.count(SHOWN) == 4  # page title, heading, header, sentence
    html.encode("utf-8")


def test_html_page_stands_alone_and_holds_every_passage_and_one_style() -> None:
    html = html_page("Why?", [PASSAGE, PASSAGE])
    assert html.startswith("<!doctype html>")
    assert html.count('<article class="provence">') == 2
    assert html.count(".provence mark {") == 1
    assert '<meta name="color-scheme" content="light dark">' in html
    assert not re.search(r"src=|href=|url\(|@import", html)


def test_a_passage_is_its_own_html_fragment() -> None:
    assert PASSAGE._repr_html_() == html_fragment(PASSAGE)


def test_plain_text_is_what_is_left() -> None:
    nothing = make_passage(("Gone.", False))
    text = plain_text([PASSAGE, nothing, make_passage(("[a]\r\n\ud800", True))])
    assert text == "Keep me.\n\n  Me too.\n\n[a]\r\n\ufffd"


@pytest.mark.parametrize("render", [plain_text, terminal_view, lambda passages: html_page("", passages)])
def test_no_passages(render: Any) -> None:
    assert "None" not in shown(render([]))


def test_document_of_white_space() -> None:
    blank = make_passage()
    assert shown(blank).startswith("#2 | score 0.750 | 0/0 sentences | 0 -> 0 tokens\n")
    assert Elements(html_fragment(blank)).found == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("a\r\nb\rc\x0cd\x85e", "a\nb\nc\nd\ne"),
        ("\x00\x1b\x7f\x9b\udfff", "\ufffd" * 5),
        ("日本語 😀 e\u0301", "日本語 😀 e\u0301"),
    ],
)
def test_printable(text: str, expected: str) -> None:
    assert printable(text) == expected
