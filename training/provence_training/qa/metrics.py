"""How correct a reply is: exact match, token F1, and whether an answer occurs in it."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from provence_training.qa.prompts import no_answers

__all__ = ["exact_match", "is_no_answer", "match", "normalised", "occurs", "token_f1"]

_BY_CHARACTERS = ("ja", "zh", "th", "ko")
"""Languages whose tokens are characters: the first three put no blanks between words, and Korean appends
particles to them, so KorQuAD (Lim et al. 2019, arXiv 1909.07005) compares by characters as well."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")

_PHRASES = "|".join(r"\s+".join(map(re.escape, phrase.lower().split())) for phrase in no_answers())
_REFUSAL = re.compile(
    rf"[\W_]*(?:{_PHRASES})"
    # "No answer is given in the passages", 回答なしです
    r"(?:\s+(?:is|was|found|given|provided|available|mentioned|stated|in|from|by|any|of|the|these|this"
    r"|passages?|texts?|context|documents?)\b|です|でした)*"
    # The end, of the reply or of a clause; the apostrophe or hyphen of a word ends none.
    r"\s*(?:$|\n|(?![-'’]\w)[^\w\s]|_)"
)


def normalised(text: str, language: str, *, articles: bool = False) -> list[str]:
    """The tokens that replies and answers are compared by.

    As the evaluation script of SQuAD v1.1 (Rajpurkar et al. 2016, arXiv 1606.05250) has it: lower case,
    without punctuation and English articles, in words. Punctuation is that of all scripts, as in MLQA (Lewis
    et al. 2020, arXiv 1910.07475). In Japanese, Chinese, Thai and Korean: characters after NFKC, without
    white space.

    Args:
        text: A reply or an answer.
        language: ISO 639-1 code.
        articles: Whether to leave the articles.
    """
    return _tokens("".join(c for c in _folded(text, language) if not _is_punctuation(c)), language, articles)


def _folded(text: str, language: str) -> str:
    return (unicodedata.normalize("NFKC", text) if language in _BY_CHARACTERS else text).lower()


def _tokens(text: str, language: str, articles: bool) -> list[str]:
    if language in _BY_CHARACTERS:
        return list("".join(text.split()))
    return (text if articles else _ARTICLES.sub(" ", text)).split()


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def _pair(reply: str, answer: str, language: str) -> tuple[list[str], list[str]]:
    """The tokens of both. If one is nothing but articles, such as the answer "A", they stay in both."""
    given, right = normalised(reply, language), normalised(answer, language)
    if given and right:
        return given, right
    return normalised(reply, language, articles=True), normalised(answer, language, articles=True)


def exact_match(reply: str, answers: Sequence[str], language: str) -> float:
    """1 if the normalised reply is one of the normalised answers, else 0, as for "No answer"."""
    if is_no_answer(reply, language):
        return 0.0
    pairs = (_pair(reply, answer, language) for answer in answers)
    return float(any(given == right for given, right in pairs))


def token_f1(reply: str, answers: Sequence[str], language: str) -> float:
    """F1 of the reply's tokens with those of the best answer, in [0, 1]; 0 for "No answer"."""
    if is_no_answer(reply, language):
        return 0.0
    pairs = (_pair(reply, answer, language) for answer in answers)
    return max(_f1(Counter(given), Counter(right)) for given, right in pairs)


def _f1(given: Counter[str], right: Counter[str]) -> float:
    common = (given & right).total()
    return 2 * common / (given.total() + right.total()) if common else 0.0


def match(reply: str, answers: Sequence[str], language: str) -> float:
    """1 if an answer occurs in the reply, else 0, as for "No answer".

    The match of BERGEN (Rau et al. 2024, arXiv 2407.01102), which forgives a reply that says more, but with
    whole words.
    """
    return float(not is_no_answer(reply, language) and occurs(answers, reply, language))


def occurs(answers: Sequence[str], text: str, language: str) -> bool:
    """Whether a normalised answer occurs in a normalised text, in whole words.

    Punctuation and symbols may end words ("Paris's", "1908–1912"), but not in numbers ("3.5" has no 5). In
    Japanese, Chinese, Thai and Korean, an answer may begin and end anywhere. An answer of nothing but
    punctuation occurs nowhere.
    """
    return any(_occurs(answer, text, language) for answer in answers)


def _occurs(answer: str, text: str, language: str) -> bool:
    given, right = _pair(text, answer, language)
    if language in _BY_CHARACTERS:
        return bool(right) and "".join(right) in "".join(given)
    return _has_words(given, right) or _has_words(_parted(text), _parted(answer))


def _has_words(given: Sequence[str], right: Sequence[str]) -> bool:
    return bool(right) and f" {' '.join(right)} " in f" {' '.join(given)} "


def _parted(text: str) -> list[str]:
    """Words without articles, cut at each punctuation mark and symbol that is not in a number."""
    text = re.sub(r"(?<!\S)(?:a|an|the)(?!\S)|(?<=\d)[.,](?=\d)", "", text.lower())
    ends = (_is_punctuation(c) or unicodedata.category(c).startswith("S") for c in text)
    return "".join(" " if end else c for c, end in zip(text, ends, strict=True)).split()


def is_no_answer(reply: str, language: str) -> bool:
    """Whether a reply is empty, or begins by saying that there is no answer.

    "No answer. The passages do not name him" does; "No answer was ever given; it is Paris" does not.
    """
    if not normalised(reply, language, articles=True):
        return True
    return _REFUSAL.match(unicodedata.normalize("NFKC", reply).lower()) is not None
