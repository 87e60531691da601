"""For any text, the spans of every chunker cover it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag.chunking import (
    BaseChunker,
    EnglishChunker,
    JapaneseChunker,
    MarkdownChunker,
    MultilingualChunker,
    Span,
    as_chunker,
    detect_language,
    heading_level,
    split_overlong,
)

_FRAGMENTS = [
    *(
        "Dr. Smith said: ",
        "U.S. ",
        "e.g. ",
        "3.5 ",
        "... ",
        "!? ",
        "(a) ",
        '"Hi." ',
        "[1]",
        "word",
        "a",
        "A",
        ".",
    ),
    *(
        "日本語。",
        "「はい。",
        "」",
        "（",
        "）",
        "！",
        "？",
        "…",
        "漢字",
        "かな",
        "한국어. ",
        ";",
        ",",
        "、",
        "«Non!»",
        " » ",
    ),
    *(
        "# Head\n",
        "## ",
        "- item\n",
        "1. ",
        "```\n",
        "~~~",
        "~~~~ py\n",
        "| a | b |\n",
        "|---|---|\n",
        "|",
        "**",
    ),
    *(
        "---\n",
        "===\n",
        "> ",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        " ",
        "\u3000",
        "\t",
        "\u2028",
        "\x85",
        "\x1c",
        "\xa0",
    ),
    *(
        "<p>",
        "</p>",
        "<br/>",
        "<td a='b'>",
        "</b>",
        '{"a": [1, ',
        '"b": "c. d"},',
        "2024-05-01 12:00:01 INFO x\n",
        "a,b,c\n",
        "key: value\n",
        "Ana: hi ",
        "• ",
        "➢ ",
        "①",
        "②",
        "1) ",
        "2) ",
        "(a) ",
        "(b) ",
        "; ",
        ": ",
        "・",
        "🔋 ",
        "😢",
        ":) ",
        "end.The ",
        "z. B. ",
        ".12 In ",
        "[citation needed]",
        ". . . . ",
        "and then we go on ",
        "ですから",
        "焼きます",
    ),
    *("\x00", "\ud800", "\udc00", "\u200b", "\u200d", "\u0301", "👍🏽", "ß", "İ", "Ünïcode", "\ufeff"),
]
TEXTS = st.one_of(
    st.text(alphabet=st.characters()),
    st.lists(st.sampled_from(_FRAGMENTS), max_size=30).map("".join),
)
CHUNKERS = [
    EnglishChunker(),
    JapaneseChunker(),
    MultilingualChunker(),
    MultilingualChunker("el"),
    MultilingualChunker("ko"),
    MarkdownChunker(EnglishChunker()),
    MarkdownChunker(JapaneseChunker()),
    as_chunker(lambda text: re.findall(r"\w+", text)),
    as_chunker(lambda text: [match.span() for match in re.finditer(r"..", text)]),
]
_settings = settings(deadline=None, derandomize=True, max_examples=80)


def check_cover(text: str, spans: Sequence[tuple[int, int]]) -> None:
    """Assert that spans are in order, trimmed and not empty, and leave out only white space."""
    position = 0
    for start, end in spans:
        assert position <= start < end <= len(text)
        assert not text[position:start].strip()
        assert text[start:end].strip() == text[start:end]
        position = end
    assert not text[position:].strip()


@pytest.mark.parametrize("chunker", CHUNKERS, ids=lambda chunker: type(chunker).__name__)
@_settings
@given(text=TEXTS)
def test_spans_cover_the_text(chunker: BaseChunker, text: str) -> None:
    spans = chunker.spans(text)
    check_cover(text, spans)
    assert chunker.chunk(text) == [(text[start:end], (start, end)) for start, end in spans]
    assert chunker.spans(text) == spans


@pytest.mark.parametrize("chunker", CHUNKERS[:2], ids=lambda chunker: type(chunker).__name__)
@_settings
@given(text=TEXTS)
def test_white_space_at_the_end_changes_nothing(chunker: BaseChunker, text: str) -> None:
    assert chunker.spans(f"{text} \n") == chunker.spans(text)


@_settings
@given(text=TEXTS)
def test_any_text_has_a_language(text: str) -> None:
    assert re.fullmatch("[a-z]{2}", detect_language(text))
    assert 0 <= heading_level(text) <= 6


@_settings
@given(text=TEXTS, data=st.data())
def test_parts_cover_the_sentence(text: str, data: st.DataObject) -> None:
    starts = sorted(data.draw(st.lists(st.integers(0, max(0, len(text) - 1)))))
    max_length = data.draw(st.integers(1, 5))
    parts = split_overlong(text, Span(0, len(text)), starts, max_length)
    check_cover(text, parts)
    for start, end in parts:
        inside = [position for position in starts if start <= position < end]
        assert len(inside) <= max_length or len(set(inside)) == 1


@_settings
@given(text=TEXTS, data=st.data())
def test_parts_of_any_slice(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    parts = split_overlong(text, Span(start, end), range(len(text)), 3)
    check_cover(text[start:end], [(first - start, last - start) for first, last in parts])
