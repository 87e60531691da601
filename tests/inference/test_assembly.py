from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag.chunking import Span
from provence_rag.inference.assembly import assemble


def sentences(text: str) -> list[Span]:
    """Every capital letter begins a sentence, which ends at white space or in front of the next one."""
    return [Span(*match.span()) for match in re.finditer(r"[A-Z][^A-Z\s]*", text)]


@pytest.mark.parametrize(
    ("text", "kept", "expected"),
    [
        ("A. B. C.", "ABC", "A. B. C."),
        ("  A. B.\n", "AB", "  A. B.\n"),  # kept whole: as it was
        ("  A. B.\n", "A", "A."),
        ("A. B. C.", "", ""),
        ("A. B.  C.", "BC", "B.  C."),  # neighbours keep what stood between them
        ("A. B.  C.", "AC", "A. C."),  # across a gap the shorter space
        ("A.\nB. C.", "AC", "A.\nC."),  # a line break before a space
        ("A. B.\n\nC. D.", "AD", "A.\n\nD."),  # a paragraph break before both
        ("A。B。C。", "AC", "A。C。"),  # nothing where there is nothing
        ("A。B。 C。", "AC", "A。 C。"),
        ("A.\r\nB. C.", "AC", "A.\r\nC."),
    ],
)
def test_examples(text: str, kept: str, expected: str) -> None:
    spans = sentences(text)
    mask = np.array([text[span.start] in kept for span in spans], dtype=bool)
    assert assemble(text, spans, mask) == expected


def test_a_document_of_white_space_gives_nothing() -> None:
    assert assemble(" \n ", [], np.empty(0, dtype=bool)) == ""


@settings(deadline=None, derandomize=True)
@given(
    pieces=st.lists(st.tuples(st.sampled_from(["A.", "Bc", "D。"]), st.text(" \n\t\u3000", max_size=3))),
    data=st.data(),
)
def test_kept_sentences_stand_in_order_with_one_of_their_separators(
    pieces: list[tuple[str, str]], data: st.DataObject
) -> None:
    text = "".join(piece + space for piece, space in pieces)
    spans = sentences(text)
    mask = data.draw(st.lists(st.booleans(), min_size=len(spans), max_size=len(spans)))
    result = assemble(text, spans, np.array(mask, dtype=bool))
    if all(mask) and spans:
        assert result == text
        return
    pattern = ""
    previous = None
    for index in np.flatnonzero(mask).tolist():
        if previous is not None:
            skipped = spans[previous : index + 1]
            pattern += "|".join({re.escape(text[a.end : b.start]) for a, b in pairwise(skipped)}).join(
                ["(?:", ")"]
            )
        pattern += re.escape(text[spans[index].start : spans[index].end])
        previous = index
    assert re.fullmatch(pattern, result)


@pytest.mark.parametrize("line_break", ["\r", "\u2028", "\x85"])
def test_a_line_break_of_any_kind_is_stronger_than_a_space(line_break: str) -> None:
    text = f"A.{line_break}B. C."
    spans = [Span(0, 2), Span(3, 5), Span(6, 8)]
    assert assemble(text, spans, np.array([True, False, True])) == f"A.{line_break}C."
