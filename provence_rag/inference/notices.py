"""Warnings about what a checkpoint cannot read well, at the line of the caller that asked for it."""

from __future__ import annotations

import sys
import threading
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from provence_rag.chunking import detect_language
from provence_rag.errors import LanguageWarning
from provence_rag.languages import language_code

__all__ = [
    "Notice",
    "callers_level",
    "language_notice",
    "long_query_notice",
    "untrained_language",
    "warn_of_language",
    "warn_of_long_queries",
]

_LANGUAGES = {
    "ARABIC": ("ar", "fa", "ur", "ps", "ku", "sd", "ug"),
    "ARMENIAN": ("hy",),
    "BENGALI": ("bn", "as"),
    "CJK": ("zh", "ja"),
    "CYRILLIC": ("ru", "uk", "bg", "sr", "mk", "be", "kk", "ky", "mn", "tg", "tt"),
    "DEVANAGARI": ("hi", "mr", "ne", "sa"),
    "ETHIOPIC": ("am", "ti"),
    "GEORGIAN": ("ka",),
    "GREEK": ("el",),
    "GUJARATI": ("gu",),
    "GURMUKHI": ("pa",),
    "HANGUL": ("ko",),
    "HEBREW": ("he", "yi"),
    "HIRAGANA": ("ja",),
    "KANNADA": ("kn",),
    "KATAKANA": ("ja",),
    "KHMER": ("km",),
    "LAO": ("lo",),
    "MALAYALAM": ("ml",),
    "MYANMAR": ("my",),
    "ORIYA": ("or",),
    "SINHALA": ("si",),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
    "THAI": ("th",),
    "TIBETAN": ("bo", "dz"),
}
"""Script, as its characters' names begin -> the languages (ISO 639-1) written in it, the commonest first.
Latin is left out: its words occur in every language, and a short question does not tell which it is in."""

_EAST_ASIAN = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA")
_EAST_ASIAN_WEIGHT = 2
"""Letters of an alphabet that a character of these scripts counts for."""

_SAMPLE = 500

_warned: set[str] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class Notice:
    """Why a query is not read as well as others."""

    type: Literal["language", "long_query"]

    message: str


def untrained_language(query: str, trained: Sequence[str]) -> str | None:
    """The language of a question, where a checkpoint was not trained on it.

    It is told by the script of most letters. Letters that stand alone, as in formulas, do not count.

    Args:
        query: The question.
        trained: `ProvenceConfig.languages`.

    Returns:
        ISO 639-1 code. None if the checkpoint was trained on a language of that script, if the script is
        Latin or unknown, or if it is not known what the checkpoint was trained on.
    """
    if not trained or query.isascii():
        return None
    script, share = _main_script(query)
    known = {language_code(language) for language in trained}
    if share <= 0.5 or script not in _LANGUAGES or not known.isdisjoint(_LANGUAGES[script]):
        return None
    detected = detect_language(query)
    return detected if detected in _LANGUAGES[script] else _LANGUAGES[script][0]


def _main_script(query: str) -> tuple[str, float]:
    """The script of most letters, and its share of them."""
    text = unicodedata.normalize("NFKC", query[:_SAMPLE])
    words = "".join(c if unicodedata.category(c)[0] in "LM" else " " for c in text).split()
    letters: Counter[str] = Counter()
    for word in words:
        for character in word:
            script = unicodedata.name(character, "").replace("-", " ").partition(" ")[0]
            if script in _EAST_ASIAN:
                letters[script] += _EAST_ASIAN_WEIGHT
            elif len(word) > 1:
                letters[script] += 1
    if letters["HIRAGANA"] + letters["KATAKANA"]:  # Japanese is written in both, and in Han
        letters["HIRAGANA"] += letters.pop("KATAKANA", 0) + letters.pop("CJK", 0)
    ((script, count),) = letters.most_common(1) or [("", 0)]
    return script, count / max(1, letters.total())


def language_notice(language: str, trained: Sequence[str]) -> Notice:
    """The checkpoint was not trained on the language of a question."""
    return Notice(
        "language",
        f"a question is in {language!r}, and the checkpoint was trained on {', '.join(trained)} only: "
        "scores say little, and what is kept may be wrong. Use a checkpoint for that language",
    )


def long_query_notice(count: int, limit: int) -> Notice:
    """Only the first `limit` tokens of some queries are read."""
    return Notice(
        "long_query",
        f"{count} quer{'y is' if count == 1 else 'ies are'} longer than half of the window: "
        f"only the first {limit} tokens are read. Shorten the query, or raise max_length",
    )


def warn_of_language(language: str, trained: Sequence[str]) -> None:
    """Tell, once per language and process, that questions in it cannot be relied on."""
    with _lock:
        if language in _warned:
            return
        message = language_notice(language, trained).message
        warnings.warn(message, LanguageWarning, stacklevel=callers_level())
        _warned.add(language)  # not before: where warnings are errors, each call raises


def warn_of_long_queries(count: int, limit: int) -> None:
    """Tell that only the first `limit` tokens of some queries are read."""
    warnings.warn(long_query_notice(count, limit).message, stacklevel=callers_level())


def callers_level() -> int:
    """How many frames up the caller of this package is, for a warning that points there."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("provence_rag."):
        frame, level = frame.f_back, level + 1
    return level
