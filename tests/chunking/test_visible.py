"""Borders that a model is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provence_rag.chunking import MultilingualChunker
from provence_rag.chunking.visible import is_glued, visible_borders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was visited in May.2 In all 412 came.", "It was visited in May.  In all 412 came."),
        (
            "The birds were ringed.[3] It was noon.[citation needed] Rain fell.",
            "The birds were ringed.    It was noon.                  Rain fell.",
        ),
        (
            "It lasts two full days 🔋 The strap broke 😢 It is blue 🎨",
            "days 🔋\nThe strap broke 😢\nIt is blue 🎨",
        ),
        ("We met at 3.50 in Room B. The lift is out.", "We met at 3.50 in Room B. The lift is out."),
        ("Bring: • a coat • a hat. It is late. Go.", "Bring:\n• a coat\n• a hat.\nIt is late. Go."),
        ("• Bring a coat. It is cold.\n• Go. Now.", "• Bring a coat. It is cold.\n• Go. Now."),
        (
            "A line\nand the next one.\n\nA third. A fourth.",
            "A line\nand the next one.\n\nA third. A fourth.",
        ),
    ],
)
def test_what_is_read(text: str, expected: str) -> None:
    read = MultilingualChunker("en").chunks(text).reading or text
    assert len(read) == len(text)
    assert read.endswith(expected)


def test_captions_are_read_as_lines() -> None:
    text = (
        "hello everybody today we are baking my grandmother's bread which is really easy you only need a "
        "bowl now put in six hundred grams of flour and a spoon of salt and stir it with your hand like this "
        "don't forget to like the video and tell me where you are watching from i read all of it"
    )
    chunks = MultilingualChunker("en").chunks(text)
    assert chunks.reading is not None
    assert chunks.reading.split("\n") == [text[start:end] for start, end in chunks.spans]


@given(st.text(alphabet="ab .!?1[]²\n🔋😢•今日。", max_size=60))
def test_it_differs_in_marks_and_blanks_alone(text: str) -> None:
    spans = MultilingualChunker("en").spans(text)
    read = visible_borders(text, spans)
    if read is not None:
        assert len(read) == len(text)
        assert all(a == b or b in " \n" for a, b in zip(text, read, strict=True))


@pytest.mark.parametrize(
    ("text", "border", "glued"),
    [
        ("It is.The", 6, True),
        ('"No."The', 5, True),
        ("days🔋The", 5, True),
        ("It is. The", 7, False),
        ("It is. The", 6, False),
        ("晴れ。明日", 3, False),
        ("crossword", 5, False),
    ],
)
def test_glued_sentences(text: str, border: int, glued: bool) -> None:
    assert is_glued(text, border) is glued
