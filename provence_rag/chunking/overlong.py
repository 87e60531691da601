"""Cutting a sentence that holds more tokens than a window."""

from __future__ import annotations

import json
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from provence_rag.chunking.base import Span, cut, trim
from provence_rag.errors import InvalidInputError

__all__ = ["split_overlong"]

# Behind these a part ends wherever they are; behind the ASCII ones only in front of white space ("1,000").
_CLAUSE_ENDS = frozenset("、，；：。！？，｡､")
_ASCII_CLAUSE_ENDS = frozenset(",;:.!?")

# Phrases are a few characters long, so this much text in front of a limit is enough to find the last one.
_PHRASE_WINDOW = 64
_TRADITIONAL = frozenset("們這個來時國說對為會學與後麼還過開關")
_JOINERS = frozenset("\u200c\u200d\ufe0e\ufe0f")


def split_overlong(
    text: str, span: Span, token_starts: Sequence[int] | npt.NDArray[Any], max_length: int
) -> list[Span]:
    """Cut one sentence into parts of at most `max_length` tokens each.

    The best border within reach is taken: behind clause punctuation, then between phrases (BudouX, for
    Japanese and Chinese) or words, then between any two tokens. Borders in the second half of what fits
    are preferred to those in the first, so that parts are not tiny.

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
    inside = starts[np.searchsorted(starts, sentence.start) : np.searchsorted(starts, sentence.end)]
    return cut(text, sentence.start, sentence.end, _borders(text, sentence, inside, max_length))
