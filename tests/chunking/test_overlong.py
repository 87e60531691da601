from __future__ import annotations

import re

import numpy as np
import pytest

from provence_rag.chunking import Span, split_overlong


def split(text: str, max_length: int, starts: list[int] | None = None) -> list[str]:
    """Split a whole text; without `starts` every character that is not white space is a token."""
    if starts is None:
        starts = [match.start() for match in re.finditer(r"\S", text)]
    return [text[start:end] for start, end in split_overlong(text, Span(0, len(text)), starts, max_length)]


def words(text: str) -> list[int]:
    return [match.start() for match in re.finditer(r"\w+|[^\w\s]", text)]


def test_short_sentence_stays() -> None:
    assert split_overlong(" ab cd. ", Span(1, 7), [1, 4, 6], 3) == [Span(1, 7)]


def test_clauses_go_first() -> None:
    text = "one two three four, five six 1,000 seven; eight nine ten"
    assert split(text, 9, words(text)) == ["one two three four,", "five six 1,000 seven;", "eight nine ten"]


def test_words_go_before_tokens() -> None:
    starts = [0, 3, 6, 10, 13, 16]
    assert split("abcdefghi jklmnopqr", 4, starts) == ["abcdefghi", "jklmnopqr"]
    assert split("abcdefghi jklmnopqr", 2, starts) == ["abcdef", "ghi", "jklmno", "pqr"]


def test_quotes_stay_with_their_clause() -> None:
    text = "彼は「行く、行く。」それで、帰った"
    assert split(text, 12) == ["彼は「行く、行く。」", "それで、帰った"]


def test_japanese_phrases() -> None:
    text = "私は昨日の夜に東京の大学で先生と長い時間話していました"
    parts = split(text, 10)
    assert "".join(parts) == text
    assert all(len(part) <= 10 for part in parts)
    assert all(part[0] not in "はのにでといま" for part in parts)


def test_chinese_phrases() -> None:
    assert split("我们今天在北京大学学习中文和历史", 9) == ["我们今天在北京大学", "学习中文和历史"]
    assert "".join(split("我們今天在臺灣大學學習中文和歷史", 9)) == "我們今天在臺灣大學學習中文和歷史"


def test_characters_are_not_torn() -> None:
    accents = "e\u0301" * 6
    assert split(accents, 5) == ["e\u0301" * 2] * 3
    assert split("\ud83d\ude00" * 3, 3) == ["\ud83d\ude00"] * 3
    assert split("👍\U0001f3fd" * 3, 3) == ["👍\U0001f3fd"] * 3


def test_several_tokens_of_one_character() -> None:
    assert split("a𠮷b", 2, [0, 1, 1, 1, 2]) == ["a", "𠮷", "b"]
    assert split("𠮷", 1, [0, 0, 0]) == ["𠮷"]


def test_tokens_that_begin_with_their_space() -> None:
    text = "x. ab cd ef"
    assert split_overlong(text, Span(3, 11), [0, 1, 2, 5, 8], 2) == [Span(3, 8), Span(9, 11)]


def test_only_tokens_of_the_sentence_count() -> None:
    text = "a b c. d e f. g h i."
    starts = np.array([0, 2, 4, 7, 9, 11, 14, 16, 18])
    assert split_overlong(text, Span(7, 13), starts, 3) == [Span(7, 13)]
    assert split_overlong(text, Span(7, 13), starts, 2) == [Span(7, 10), Span(11, 13)]


def test_text_without_tokens_stays() -> None:
    assert split("abc def", 1, []) == ["abc def"]
    assert split("  ", 1, []) == []


@pytest.mark.parametrize(
    "unit", ["a", "あ", "漢字", "a ", "a,", "、", "\u0301", "\u200d", "👍", "aあ", "a    "]
)
@pytest.mark.parametrize("max_length", [1, 100])
def test_long_sentence_ends(unit: str, max_length: int) -> None:
    text = unit * (50_000 // len(unit))
    starts = np.arange(len(text))
    spans = split_overlong(text, Span(0, len(text)), starts, max_length)
    assert sum(end - start for start, end in spans) <= len(text)


def test_a_megabyte_of_japanese_ends() -> None:
    text = "すもももももももものうち" * 80_000
    spans = split_overlong(text, Span(0, len(text)), np.arange(0, len(text), 2), 500)
    assert max(end - start for start, end in spans) <= 1000
