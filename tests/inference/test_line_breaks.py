"""What is read in place of a text with line breaks."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag.inference.line_breaks import with_plain_line_breaks


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", ""),
        ("a b", "a b"),
        ("a\nb\n", "a\nb\n"),
        ("a\n\nb", "a\n\nb"),
        ("a\r\nb", "a\nb"),
        ("a\r\n\r\nb\r\n", "a\n\nb\n"),
        ("a\rb\r\rc", "a\nb\n\nc"),
        ("a\u2028b\u2029c\x85d\ve\ff", "a\nb\nc\nd\ne\nf"),
        ("a\n\fb", "a\n\nb"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("a\n  \nb\n\u3000\n\tc", "a\n\nb\n\n\tc"),
        ("a  \n  - b", "a\n  - b"),
        ("\n \r\n  a", "  a"),
        (" \n\n", ""),
        ("   ", "   "),
    ],
)
def test_line_breaks(text: str, read: str) -> None:
    assert with_plain_line_breaks(text).text == read


@settings(deadline=None, derandomize=True)
@given(text=st.text(st.sampled_from("ab \t\u3000\n\r\f\u2028"), max_size=30))
def test_what_is_read_stands_in_the_text_given(text: str) -> None:
    reading = with_plain_line_breaks(text)
    borders = reading.original(np.arange(len(reading.text) + 1)).tolist()
    assert borders == sorted(borders)
    assert borders[-1] == len(text)
    for character, start in zip(reading.text, borders[:-1], strict=True):
        assert text[start] == character or (character == "\n" and text[start].isspace())
    # Line breaks stand for stretches of white space, and each of them for its own.
    for match in re.finditer("\n+", reading.text):
        stretch = text[borders[match.start()] : borders[match.end()]]
        assert not stretch.strip()
        assert bool(re.match(r"\s*?(\r\n|[\n\r\f\u2028])\s*?[\n\r\f\u2028]", stretch)) == (len(match[0]) == 2)
    assert with_plain_line_breaks(reading.text).text == reading.text
