"""Replies and sources for people."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from provence_rag.prompting import CitedReply, ContextPassage, PromptContext, build_context, resolve_citations
from provence_rag.prompting.views import html_reply, terminal_reply
from provence_rag.testing import fake_provence
from tests.test_rendering import Elements

HOSTILE = "[bold]x[/bold] <b>&\"'\x1b[2J\ud800 penguins"
SHOWN = "[bold]x[/bold] <b>&\"'\ufffd[2J\ufffd penguins"


def shown(renderable: Any, **settings: Any) -> str:
    file = StringIO()
    Console(file=file, width=100, _environ={}, legacy_windows=False, **settings).print(renderable)
    return file.getvalue()


@pytest.fixture(scope="module")
def context() -> PromptContext:
    documents = [
        "Penguins live in Antarctica. Markets fell today. Penguins live on ice.",
        "Music was loud. Many penguins swim. Penguins live on ice.",
    ]
    passages = fake_provence().process("Where do penguins live?", documents)
    return build_context([("a.md", passages[0]), ("b.md", passages[1])], order="given")


@pytest.fixture(scope="module")
def reply(context: PromptContext) -> CitedReply:
    return resolve_citations("On ice [1], they say [3].", context)


def test_a_reply_in_a_terminal(reply: CitedReply) -> None:
    assert shown(reply) == (
        "answer | 1/2 sources cited | unknown: [3]\n"
        "On ice [1], they say [-[3]-].\n\n"
        "[1] | a.md\n"
        "[+Penguins live in Antarctica.+] Markets fell today. [+Penguins live on ice.+]\n\n"
        "[1] | b.md | copy\n"
        "Music was loud. Many penguins swim. [+Penguins live on ice.+]\n\n"
        "[2] | b.md\n"
        "Music was loud. Many penguins swim. Penguins live on ice.\n"
    )


def test_a_reply_in_colour(reply: CitedReply) -> None:
    text = shown(terminal_reply(reply), force_terminal=True, color_system="standard")
    assert "\x1b[36m[1] | a.md\x1b[0m\n\x1b[1mPenguins live in Antarctica.\x1b[0m Markets fell today." in text
    assert "\x1b[2;9m[3]\x1b[0m" in text


def test_a_context_in_a_terminal(context: PromptContext) -> None:
    assert "[2] | b.md\nMusic was loud. [+Many penguins swim.+] Penguins live on ice.\n" in shown(context)


def test_a_document_that_was_given_twice() -> None:
    document = "Penguins live on ice. Markets fell today. Cars stop."
    model = fake_provence()
    passages = [model.process(query, [document])[0] for query in ("penguins ice", "penguins market fell")]
    context = build_context(passages, order="given")
    assert shown(context) == (
        "[1] | 0\n[+Penguins live on ice.+] Markets fell today. Cars stop.\n\n"
        "[2] | 0\nPenguins live on ice. [+Markets fell today.+] Cars stop.\n"
    )


def marks_of(html: str) -> list[tuple[str, str]]:
    """The texts of `mark` and `del`, of elements that are closed in order."""
    return [(tag, text) for tag, _, text in Elements(html).found]


def test_a_reply_in_html(reply: CitedReply) -> None:
    marks = [
        ("del", "[3]"),
        ("mark", "Penguins live in Antarctica."),
        ("mark", "Penguins live on ice."),
        ("mark", "Penguins live on ice."),
    ]
    assert marks_of(reply._repr_html_()) == marks
    page = reply.html_page("Where <do> penguins live?")
    assert marks_of(page) == marks
    assert "<title>Where &lt;do&gt; penguins live?</title>" in page
    assert page.count("<style>") == 2  # that of the page and that of its articles


def test_a_context_in_html(context: PromptContext) -> None:
    assert [tag for tag, _ in marks_of(context._repr_html_())] == ["mark"] * 4


def test_a_document_that_is_not_known_is_shown_in_spans() -> None:
    passage = ContextPassage(text="Penguins swim. Penguins sleep.", id="a", kept_spans=[[0, 14], [40, 55]])
    reply = resolve_citations("They do [1].", build_context([passage]))
    assert "[+Penguins swim.+] […] [+Penguins sleep.+]\n" in shown(reply)
    assert "<mark>Penguins swim.</mark> […] <mark>Penguins sleep.</mark>" in html_reply(reply)


def test_nothing_is_taken_for_markup() -> None:
    context = build_context([ContextPassage(text=HOSTILE, id=HOSTILE, title=HOSTILE)])
    reply = resolve_citations(f"{HOSTILE} [1]", context)
    assert shown(reply).count(SHOWN) == 4
    html = html_reply(reply)
    marks_of(html)
    assert "<b>" not in html
    assert not re.search("[\x1b\ud800]", html)
