"""Which rows of a table or list a question names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from provence_rag.inference.arrays import Mask

__all__ = ["named"]

_CJK = re.compile("[\u30a0-\u30ff\u3400-\u9fff々]{2,}")
"""Katakana and ideographs: names stand in them without blanks, so their pairs of characters are compared."""

_CJK_TEXT = re.compile("[\u3040-\u30ff\u3400-\u9fff々]+")

_WORD = re.compile(r"[^\W_]+(?:[-.:/@_][^\W_]+)*")
"""Also what has marks inside: web-03, 10.0.0.1, 2024-05-01."""

_SHORTEST_WORD = 3
_LARGEST_SHARE = 0.25
"""Of the rows, that a word may occur in: one that occurs in more does not tell them apart."""


def named(query: str, rows: Sequence[str]) -> Mask:
    """The rows that have the most words of the question which tell rows apart, shape (R,).

    A model reads all rows of a table at once, and its scores for rows that look alike run into each other;
    the name in the question does not.

    Args:
        query: The question.
        rows: The R rows.
    """
    counts = np.zeros(len(rows), dtype=np.int64)
    pattern = _pattern(query)
    if pattern is not None:
        found = [{word.casefold() for word in pattern.findall(row)} for row in rows]
        frequency = Counter(word for words in found for word in words)
        most = max(1, int(_LARGEST_SHARE * len(rows)))
        counts[:] = [sum(frequency[word] <= most for word in words) for words in found]
    mask: Mask = (counts > 0) & (counts == counts.max(initial=0))
    return mask


def _pattern(query: str) -> re.Pattern[str] | None:
    """What finds the words of a question in a row."""
    pairs = {run[i : i + 2] for run in _CJK.findall(query) for i in range(len(run) - 1)}
    words = {
        word
        for word in _WORD.findall(_CJK_TEXT.sub(" ", query))
        if len(word) >= _SHORTEST_WORD or any(map(str.isdigit, word))
    }
    if not pairs and not words:
        return None
    # Longer ones first: "web-03" before "web".
    either = "|".join(map(re.escape, sorted(words, key=lambda word: (-len(word), word))))
    whole = rf"(?<![0-9A-Za-z])(?:{either})(?![0-9A-Za-z])" if words else ""
    return re.compile("|".join(filter(None, [whole, *map(re.escape, sorted(pairs))])), re.IGNORECASE)
