"""Other wordings of a question: by keywords, by rules, and from similar questions of the data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

from provence_training.augmentation.wording_rules import (
    ENGLISH,
    JAPANESE_ENDINGS,
    JAPANESE_QUESTION,
    JAPANESE_QUESTION_WORDS,
    JAPANESE_WORDS,
)

__all__ = ["Wordings", "as_printed", "keywords", "same_words"]

_AS_KEYWORDS, _WITHOUT_MARK = 0.15, 0.1
"""Shares of the questions on a page that are printed as keywords, and without a question mark."""

_FUNCTION_WORD = re.compile(
    "a|an|the|of|to|in|on|at|for|by|with|from|as|and|or|is|are|was|were|be|been|do|does|did|has|have|had|can|"
    "could|will|would|shall|should|may|might|must|what|which|who|whom|whose|when|where|why|how|that|this|these|those|"
    "there|i|me|my|you|your|we|us|our|he|his|she|her|it|its|they|their|them",
    re.IGNORECASE,
)
_ENGLISH_WORD = re.compile(r"[\w'’-]+")

# What makes a Japanese noun phrase a question ...
_JAPANESE_QUESTION = re.compile(
    r"(?:の?は、?|が|を)?(?:何|なに|なん|どこ|いつ|誰|だれ|いくら|いくつ|どれくらい|どのくらい|なぜ|どう)[年月日時歳人名個回]?"
    r"(?:のこと|頃|ごろ)?(?:です|でした|でしょう|だった|なの)?か?$"
    r"|(?:は|が|も)(?:あり|でき|出|もらえ|使え)ま(?:す|した)か$|でき(?:ます|ました)か$"
    r"|(?:です|でした|でしょう)?か$|の?は$"
)
# ... and the particles between its nouns.
_NOUN = r"一-鿿々ァ-ヺーA-Za-z0-9"
_JAPANESE_PARTICLE = re.compile(
    rf"(?<=[{_NOUN}」』）])"
    "(?:において|における|について|によって|による|として|から|まで|では|には|は|が|を|に|で|へ|と|の|も|や)、?"
    rf"(?=[{_NOUN}「『（])"
)
_HOW_MUCH = re.compile(r"\bhow (?:much|many|long|often|old|far)\b", re.IGNORECASE)


def keywords(question: str, language: str) -> str:
    """The question as people ask a search engine: "What is the shipping fee?" becomes "shipping fee".

    Args:
        question: A question.
        language: "ja", or anything else for English words.

    Returns:
        Its words without question words, auxiliaries, articles, prepositions and pronouns; the question
        itself if fewer than two words are left of an English one, or nothing of a Japanese one.
    """
    if language == "ja":
        phrase = _JAPANESE_QUESTION.sub("", question.rstrip("?？。 "))
        return _JAPANESE_PARTICLE.sub(" ", phrase).strip() or question
    phrase = _HOW_MUCH.sub("", question)
    words = [word for word in _ENGLISH_WORD.findall(phrase) if not _FUNCTION_WORD.fullmatch(word)]
    return " ".join(words) if len(words) > 1 else question


def as_printed(question: str, language: str, rng: Random) -> str:
    """The question as a page may print it: most have a capital and a question mark, some are keywords."""
    draw = rng.random()
    if draw < _AS_KEYWORDS:
        return keywords(question, language)
    if draw < _AS_KEYWORDS + _WITHOUT_MARK:
        return question.rstrip("?？")
    if language == "ja":
        return question
    return _capitalized(question.rstrip("?")) + "?"


def same_words(first: str, second: str) -> bool:
    """Whether two questions differ at most in case, punctuation and white space."""
    bare = [re.sub(r"\W+", "", text).casefold() for text in (first, second)]
    return bare[0] == bare[1]


class Wordings:
    """Rewords questions by rules, as keywords, and like the nearest questions.

    Args:
        neighbours: Questions that ask nearly the same, for each question; see `nearest_questions`.
    """

    def __init__(self, neighbours: Mapping[str, Sequence[str]] | None = None) -> None:
        self._neighbours = neighbours or {}

    def other(self, question: str, language: str, rng: Random) -> str | None:
        """Another wording, of a kind drawn from those that have one; None if no kind has one."""
        by_rule = _by_rules_ja(question) if language == "ja" else _by_rules_en(question)
        kinds = [self._neighbours.get(question, ()), by_rule, [keywords(question, language)]]
        found = [[text for text in kind if not same_words(text, question)] for kind in kinds]
        found = [kind for kind in found if kind]
        return rng.choice(rng.choice(found)) if found else None


def _by_rules_en(question: str) -> list[str]:
    text = question.strip().rstrip("?").strip()
    for pattern, wordings in ENGLISH:
        if match := pattern.fullmatch(text):
            return [_capitalized(wording.format(*match.groups())) for wording in wordings]
    return []


def _by_rules_ja(question: str) -> list[str]:
    text = question.strip().rstrip("?？。")
    found = []
    if match := JAPANESE_QUESTION.fullmatch(text):
        found += _about_topic(*match.groups())
    for ending, wordings in JAPANESE_ENDINGS:
        if text.endswith(ending):
            found += [text.removesuffix(ending) + wording for wording in wordings]
            break
    for word, wordings in JAPANESE_WORDS:
        if word in text:
            found += [text.replace(word, wording, 1) for wording in wordings]
    return found


def _about_topic(topic: str, nominalized: str | None, word: str | None) -> list[str]:
    """Other wordings of a question about a topic or, with `nominalized`, about an action."""
    nouns, synonyms = JAPANESE_QUESTION_WORDS[word] if word else ((), ())
    joined = topic if nominalized else f"{topic}の"
    found = [joined + noun + ending for noun in nouns for ending in ("", "を教えてください")]
    found += [f"{topic}{nominalized or ''}は{synonym}ですか" for synonym in synonyms]
    if not nouns and not nominalized:
        found += [topic + ending for ending in ("とは", "について", "を教えてください")]
    return found


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
