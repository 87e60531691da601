"""Cutting a sentence that holds more tokens than a window."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from provence_rag.chunking.base import Span, cut, trim
from provence_rag.chunking.captions import phrase_parser
from provence_rag.errors import InvalidInputError

__all__ = ["split_overlong"]

# After these a clause ends wherever they are; after the ASCII ones only before white space ("1,000").
_CLAUSE_ENDS = frozenset("、，；：。！？｡､")
_ASCII_CLAUSE_ENDS = frozenset(",;:.!?")
_CLOSERS = frozenset("」』）】》〉”’)]}\"'")

# Phrases are a few characters long: this much text before a limit is enough to find the last border.
_PHRASE_WINDOW = 64
_KANA = re.compile(r"[\u3041-\u30ff]")
_HAN = re.compile(r"[\u3400-\u9fff]")
_TRADITIONAL = re.compile(r"[們這個來時國說對為會學與後麼還過開關]")

_HIGH_SURROGATES, _LOW_SURROGATES = ("\ud800", "\udbff"), ("\udc00", "\udfff")


class _Candidates(NamedTuple):
    """Where a sentence may be cut: where a token begins."""

    positions: list[int]
    """Character offsets, ascending."""

    counts: list[int]
    """How many of the sentence's tokens come before each."""


def split_overlong(
    text: str, span: Span, token_starts: Sequence[int] | npt.NDArray[Any], max_length: int
) -> list[Span]:
    """Cut one sentence into parts of at most `max_length` tokens each.

    The best border within reach is taken: after clause punctuation, else between phrases (BudouX, for
    Japanese and Chinese) or words, else between any two tokens. Borders in the second half of what fits
    go before those in the first, so that parts are not tiny.

    Args:
        text: The whole text.
        span: The sentence.
        token_starts: Where the tokens of the whole text begin: ascending character offsets.
        max_length: Tokens that a part may hold, >= 1. Only a single character that alone has more
            tokens exceeds it.

    Returns:
        The parts, in order and without white space at their ends; they cover all of the sentence that
        is not white space. The sentence itself if it is short enough.

    Raises:
        InvalidInputError: `max_length` is below 1.
    """
    if max_length < 1:
        raise InvalidInputError(f"max_length must be an integer >= 1, got {max_length!r}")
    sentence = trim(text, *span)
    if sentence is None:
        return []
    starts = np.asarray(token_starts, dtype=np.int64)
    first, after = np.searchsorted(starts, sentence).tolist()
    # A token may begin at the white space before its word: it belongs to the sentence nevertheless.
    if first and (first == len(starts) or starts[first] > sentence.start):
        first -= 1
    if after - first <= max_length:
        return [sentence]
    positions, counts = np.unique(starts[first:after], return_index=True)
    candidates = _Candidates(positions.tolist(), counts.tolist())
    borders = _borders(text, candidates, after - first, max_length)
    return cut(text, sentence.start, sentence.end, borders)


def _borders(text: str, candidates: _Candidates, n_tokens: int, max_length: int) -> Iterator[int]:
    positions, counts = candidates
    begin = 0  # tokens before the part at hand
    while n_tokens - begin > max_length:
        low = bisect_right(counts, begin)
        high = bisect_right(counts, begin + max_length) - 1
        if low >= len(counts):
            return  # one character with more tokens than fit
        chosen = low
        if high > low:
            middle = max(low, bisect_left(counts, begin + (max_length + 1) // 2))
            chosen = _best_border(text, positions, low, middle, high)
        yield positions[chosen]
        begin = counts[chosen]


def _best_border(text: str, positions: list[int], low: int, middle: int, high: int) -> int:
    """Return the index of the best of `positions[low : high + 1]`."""
    found = _last(text, positions, middle, high, _is_clause_border)
    if found is not None:
        return found
    phrases = _phrase_borders(text, positions[low], positions[high])
    is_phrase_border = partial(_is_phrase_border, phrases=phrases)
    for first, last, is_border in (
        (middle, high, is_phrase_border),
        (low, middle - 1, _is_clause_border),
        (low, middle - 1, is_phrase_border),
        (low, high, _is_character_border),
    ):
        found = _last(text, positions, first, last, is_border)
        if found is not None:
            return found
    return high


def _last(
    text: str, positions: list[int], low: int, high: int, is_border: Callable[[str, int], bool]
) -> int | None:
    return next((index for index in range(high, low - 1, -1) if is_border(text, positions[index])), None)


def _is_clause_border(text: str, position: int) -> bool:
    spaced = text[position].isspace()
    before = position - 1
    if before > 0 and text[before].isspace():
        spaced = True
        before -= 1
    elif text[position] in _CLOSERS:
        return False  # it belongs to what comes before it
    while before > 0 and text[before] in _CLOSERS and position - before < 4:
        before -= 1
    return text[before] in _CLAUSE_ENDS or (spaced and text[before] in _ASCII_CLAUSE_ENDS)


def _is_phrase_border(text: str, position: int, phrases: frozenset[int]) -> bool:
    return text[position].isspace() or text[position - 1].isspace() or position in phrases


def _is_character_border(text: str, position: int) -> bool:
    """Whether the border is not within what readers take for one character."""
    before, after = text[position - 1], text[position]
    if _HIGH_SURROGATES[0] <= before <= _HIGH_SURROGATES[1]:
        return not _LOW_SURROGATES[0] <= after <= _LOW_SURROGATES[1]
    if before == "\u200d" or after in "\u200c\u200d" or "\U0001f3fb" <= after <= "\U0001f3ff":
        return False  # emoji are joined, and have a skin colour after them
    return not unicodedata.category(after).startswith("M")


def _phrase_borders(text: str, low: int, high: int) -> frozenset[int]:
    """Return where BudouX sees phrases begin, in the last characters of `text[low:high]` and at its end."""
    start = max(0, max(low, high - _PHRASE_WINDOW) - 3)  # BudouX looks at three characters on either side
    window = text[start : high + 3]
    if _KANA.search(window):
        parser = phrase_parser("japanese")
    elif _HAN.search(window):
        parser = phrase_parser("traditional_chinese" if _TRADITIONAL.search(window) else "simplified_chinese")
    else:
        return frozenset()
    return frozenset(accumulate((len(phrase) for phrase in parser.parse(window)), initial=start))
