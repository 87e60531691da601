from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from provence_rag.chunking import BaseChunker, EnglishChunker, as_chunker
from provence_rag.errors import InvalidInputError

TEXT = "Intro: one two. Three four!  Five."


class Splitter:
    """Has the method of LangChain's text splitters."""

    def split_text(self, text: str) -> list[str]:
        return [piece.strip() for piece in re.split(r"(?<=[.!])", text)]


class Chunker:
    """Has our method, but is no subclass."""

    def chunk(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        return [("one two.", (7, 15)), (" Three four!", (15, 27))]


class Paragraphs(BaseChunker):
    """A subclass with `chunk` alone."""

    def chunk(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        return [(match[0], match.span()) for match in re.finditer(r"[^;]+;", text)]


def test_a_subclass_needs_chunk_alone() -> None:
    chunker = Paragraphs()
    assert as_chunker(chunker) is chunker
    assert chunker.spans("one; two;  three") == [(0, 4), (5, 16)]
    assert chunker.chunk("one; two;  three") == [("one;", (0, 4)), (" two;", (4, 9))]
    assert chunker.spans(" ") == []


def test_a_subclass_with_bad_offsets() -> None:
    class Backwards(BaseChunker):
        def chunk(self, text: str) -> list[tuple[str, tuple[int, int]]]:
            return [(text[2:], (2, len(text))), (text[:2], (0, 2))]

    with pytest.raises(InvalidInputError, match=r"^chunk 1 begins at 0, before the one that precedes it"):
        Backwards().spans(TEXT)


def test_a_subclass_with_neither_method() -> None:
    class Nothing(BaseChunker):
        pass

    for chunker in (Nothing, BaseChunker):
        message = f"^{chunker.__name__} cuts nothing: define chunk\\(text\\) or spans\\(text\\)$"
        with pytest.raises(TypeError, match=message):
            chunker()


def test_chunker_passes_through() -> None:
    chunker = EnglishChunker()
    assert as_chunker(chunker) is chunker


def test_strings() -> None:
    expected = [("Intro: one two.", (0, 15)), ("Three four!", (16, 27)), ("Five.", (29, 34))]
    assert as_chunker(Splitter()).chunk(TEXT) == expected
    assert as_chunker(Splitter().split_text).chunk(TEXT) == expected


def test_what_is_left_out_joins_the_piece_before() -> None:
    assert as_chunker(Chunker()).spans(TEXT) == [(0, 15), (16, 34)]
    assert as_chunker(lambda text: ["two", "Five"]).chunk(TEXT) == [
        ("Intro: one two. Three four!", (0, 27)),
        ("Five.", (29, 34)),
    ]


@pytest.mark.parametrize(
    "offsets", [(7, 15), [7, 15], np.array([7, 15]).tolist(), (np.int64(7), np.int32(15))]
)
def test_offsets(offsets: Any) -> None:
    assert as_chunker(lambda text: iter([(0, 6), offsets, (15, 16), (16, 34)])).spans(TEXT) == [
        (0, 6),
        (7, 15),
        (16, 34),
    ]


def test_no_pieces() -> None:
    assert as_chunker(lambda text: []).spans(" a b ") == [(1, 4)]
    assert as_chunker(lambda text: []).spans("  ") == []
    assert as_chunker(lambda text: ["", " "]).spans("a") == [(0, 1)]


def test_equal_strings_are_found_in_order() -> None:
    assert as_chunker(str.split).spans("a a ba a") == [(0, 1), (2, 3), (4, 6), (7, 8)]


class OverlappingSplitter:
    """Returns pieces as a text splitter does that repeats the last words of each piece in the next."""

    def __init__(self, size: int, overlap: int) -> None:
        self.size = size
        self.step = size - overlap

    def split_text(self, text: str) -> list[str]:
        words = text.split()
        last = max(1, len(words) - self.size + self.step)
        return [" ".join(words[i : i + self.size]) for i in range(0, last, self.step)]


@pytest.mark.parametrize("n_words", [1, 5, 6, 50, 20_000])
def test_overlapping_pieces_are_cut_at_the_later_start(n_words: int) -> None:
    text = " ".join(f"w{number % 100}" for number in range(n_words))
    spans = as_chunker(OverlappingSplitter(5, 2)).spans(text)
    words = [text[start:end].split() for start, end in spans]
    assert [word for sentence in words for word in sentence] == text.split()
    assert all(len(sentence) == 3 for sentence in words[:-1])


def test_overlapping_offsets_are_cut_at_the_later_start() -> None:
    assert as_chunker(lambda text: [(0, 15), (7, 27), (16, 34)]).chunk(TEXT) == [
        ("Intro:", (0, 6)),
        ("one two.", (7, 15)),
        ("Three four!  Five.", (16, 34)),
    ]


def test_a_repeated_piece_is_no_overlap() -> None:
    assert as_chunker(lambda text: ["aa", "a", "aa"]).spans("aa a, aa") == [(0, 2), (3, 5), (6, 8)]


def test_a_splitter_of_langchain_with_overlap() -> None:
    splitters = pytest.importorskip("langchain_text_splitters")
    splitter = splitters.RecursiveCharacterTextSplitter(chunk_size=40, chunk_overlap=15)
    for text in (TEXT, " ".join([TEXT] * 200), "word " * 500):
        spans = as_chunker(splitter).spans(text)
        assert " ".join(text[start:end] for start, end in spans).split() == text.split()


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (
            ["Five.", "Intro"],
            "chunk 1 is not in the text after character 29: 'Intro'; chunks must be unchanged and in order",
        ),
        (["x" * 1000], f"chunk 0 is not in the text after character 0: '{'x' * 56}...; chunks must"),
        (
            [(5, 9), (0, 3)],
            "chunk 1 begins at 0, before the one that precedes it (5): chunks must be in order",
        ),
        ([(0, 99)], "chunk 0 has offsets (0, 99) outside the text, which has 34 characters"),
        ([(-1, 9)], "chunk 0 has offsets (-1, 9) outside the text"),
        ([(9, 5)], "chunk 0 has offsets (9, 5) outside the text"),
        ([(0.5, 9)], "chunk 0 must have whole numbers as offsets, got (0.5, 9)"),
        ([("Five", (0, 4))], "chunk 0: the text at (0, 4) is 'Intr', not 'Five'; offsets count characters"),
        ([7], "chunk 0 must be a string, (start, end) or (string, (start, end)), got 7"),
        ([("a", "b")], "chunk 0 must be a string, (start, end) or (string, (start, end)), got ('a', 'b')"),
        ("Intro", "a chunker must return a list of pieces, got str"),
        (None, "a chunker must return a list of pieces, got NoneType"),
    ],
)
def test_pieces_that_cannot_be(pieces: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}"):
        as_chunker(lambda text: pieces).spans(TEXT)


def test_not_a_chunker() -> None:
    with pytest.raises(
        InvalidInputError, match=r"^chunker must be an instance, got the class EnglishChunker: call"
    ):
        as_chunker(EnglishChunker)
    with pytest.raises(InvalidInputError, match=r"^chunker must be a BaseChunker, .*, got int$"):
        as_chunker(3)
