"""How right a reply is: exact match, token F1, and whether an answer occurs in it."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from provence_training.qa.prompts import no_answers

__all__ = ["exact_match", "is_no_answer", "match", "normalised", "token_f1"]

_UNSPACED = ("ja", "zh")
"""Languages without spaces between words: their tokens are characters."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str, language: str) -> list[str]:
    """The tokens that replies and answers are compared by.

    As the evaluation script of SQuAD v1.1 (Rajpurkar et al. 2016, arXiv 1606.05250) has it: lower case,
    without punctuation and English articles, in words. Punctuation is that of all scripts, as in MLQA (Lewis
    et al. 2020, arXiv 1910.07475). In Japanese and Chinese: characters after NFKC, without white space.
    """
    unspaced = language in _UNSPACED
    if unspaced:
        text = unicodedata.normalize("NFKC", text)
    text = "".join(character for character in text.lower() if not _is_punctuation(character))
    return list("".join(text.split())) if unspaced else _ARTICLES.sub(" ", text).split()


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def exact_match(reply: str, answers: Sequence[str], language: str) -> float:
    """1 if the normalised reply is one of the normalised answers, else 0."""
    given = normalised(reply, language)
    return float(any(given == normalised(answer, language) for answer in answers))


def token_f1(reply: str, answers: Sequence[str], language: str) -> float:
    """F1 of the reply's tokens with those of an answer, of the best answer, in [0, 1]."""
    given = Counter(normalised(reply, language))
    return max(_f1(given, Counter(normalised(answer, language))) for answer in answers)


def _f1(given: Counter[str], right: Counter[str]) -> float:
    common = (given & right).total()
    return 2 * common / (given.total() + right.total()) if common else 0.0


def match(reply: str, answers: Sequence[str], language: str) -> float:
    """1 if a normalised answer occurs in the normalised reply, else 0.

    The match of BERGEN (Rau et al. 2024, arXiv 2407.01102), which forgives a reply that says more. An answer
    of nothing but articles and punctuation occurs nowhere.
    """
    given = _joined(reply, language)
    return float(any(right in given for answer in answers if (right := _joined(answer, language))))


def _joined(text: str, language: str) -> str:
    return ("" if language in _UNSPACED else " ").join(normalised(text, language))


def is_no_answer(reply: str, language: str) -> bool:
    """Whether a reply is empty, or begins with the words that stand for no answer."""
    given = _joined(reply, language)
    return not given or given.startswith(tuple(_joined(phrase, language) for phrase in no_answers()))
