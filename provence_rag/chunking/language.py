"""Detection of languages by script, by common words, then by langdetect."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from provence_rag.chunking.escapes import without_escapes
from provence_rag.languages import language_code
from provence_rag.surrogates import without_surrogates

__all__ = ["detect_language", "detect_languages"]

_SAMPLE = 2000
_KANA = re.compile(r"[\u3041-\u309f\u30a1-\u30fa\uff66-\uff9d]")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
_HANGUL = re.compile(r"[\uac00-\ud7a3\u1100-\u11ff]")
_LETTERS = re.compile(r"[^\W\d_]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")

# How many letters of an alphabet one character of these scripts stands for.
_EAST_ASIAN_WEIGHT = 4
# Chinese names a Japanese thing now and then; Japanese has far more kana than this.
_KANA_SHARE = 0.05

_WORDS = re.compile(r"[a-z]+")
_WORD_SAMPLE = 150
# The commonest words of English that no other language in Latin letters has.
_ENGLISH = {
    *("the", "and", "that", "with", "from", "this", "which", "were", "been", "their", "they", "not", "you"),
    *("his", "would", "there", "its", "who"),
}
_ENGLISH_SHARE = 0.04
_FEWEST_WORDS = 25

_ENOUGH_LETTERS = 40
_LANGDETECT_SAMPLE = 600
_EXCERPTS = 10
_SURE = 0.9
_FALLBACK = "en"

_factories: list[Any] = []
_lock = threading.Lock()


def detect_language(text: str) -> str:
    """Return the ISO 639-1 code of the language that `text` is written in.

    Japanese, Chinese and Korean are told by their script. Text in Latin letters is English unless
    langdetect is sure of another language; it is asked only about text of at least 40 letters
    without the common words of English. Only the first 2,000 characters count; what JSON escapes counts as
    the characters that it stands for. The same text always gives the same answer, and no text raises an
    error.
    """
    sample = _sample(text)
    return _plain_language(sample) or _guess(sample)


def detect_languages(texts: Sequence[str]) -> list[str]:
    """Return the language of each of many texts that belong together.

    As `detect_language`, but langdetect, which takes milliseconds for a text, is asked only once for all
    texts in the same script that nothing simpler tells.
    """
    samples = [_sample(text) for text in texts]
    languages = [_plain_language(sample) for sample in samples]
    by_script: defaultdict[str, list[str]] = defaultdict(list)
    for sample, language in zip(samples, languages, strict=True):
        if language is None:
            by_script[_script(sample)].append(sample)
    guesses = {script: _guess(_excerpts(own)) for script, own in by_script.items()}
    return [
        guesses[_script(sample)] if language is None else language
        for sample, language in zip(samples, languages, strict=True)
    ]


def _sample(text: str) -> str:
    return without_escapes(text[:_SAMPLE])


def _plain_language(sample: str) -> str | None:
    """The language, if the script or common words tell it."""
    if not sample.isascii():
        east_asian = _east_asian_language(sample)
        if east_asian is not None:
            return east_asian
    return "en" if _is_plainly_english(sample) else None


def _script(sample: str) -> str:
    """The script of the first letter, such as LATIN or CYRILLIC; empty without letters."""
    letter = _LETTERS.search(sample)
    return "" if letter is None else unicodedata.name(letter[0], "").partition(" ")[0]


def _excerpts(samples: Sequence[str]) -> str:
    """Pieces of some of the samples, spread evenly, of the length that langdetect reads."""
    some = samples[:: -(-len(samples) // _EXCERPTS)]
    return "\n".join(sample[: _LANGDETECT_SAMPLE // len(some)] for sample in some)


def _guess(sample: str) -> str:
    letters = len(_LETTERS.findall(sample))
    is_latin = 2 * len(_LATIN.findall(sample)) >= letters
    if not letters or (is_latin and letters < _ENOUGH_LETTERS):
        return _FALLBACK
    return _ask_langdetect(without_surrogates(sample[:_LANGDETECT_SAMPLE]))


def _east_asian_language(sample: str) -> str | None:
    kana, han, hangul = (len(script.findall(sample)) for script in (_KANA, _HAN, _HANGUL))
    others = len(_LETTERS.findall(sample)) - kana - han - hangul
    if _EAST_ASIAN_WEIGHT * (kana + han + hangul) < others or not kana + han + hangul:
        return None
    if hangul > kana + han:
        return "ko"
    return "ja" if kana > _KANA_SHARE * (kana + han) else "zh"


def _is_plainly_english(sample: str) -> bool:
    words = _WORDS.findall(sample[: 8 * _WORD_SAMPLE].lower())[:_WORD_SAMPLE]
    return sum(word in _ENGLISH for word in words) > _ENGLISH_SHARE * max(len(words), _FEWEST_WORDS)


def _ask_langdetect(sample: str) -> str:
    from langdetect.lang_detect_exception import LangDetectException

    detector = _factory().create()
    try:
        detector.append(sample)
        guesses = detector.get_probabilities()
    except LangDetectException:  # none of its languages has any of these characters
        return _FALLBACK
    if not guesses or guesses[0].prob < _SURE:
        return _FALLBACK
    return language_code(str(guesses[0].lang))


def _factory() -> Any:
    """Return our own factory of detectors: langdetect's global one has a seed that others may rely on."""
    with _lock:
        if not _factories:
            from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

            factory = DetectorFactory()
            factory.load_profile(PROFILES_DIRECTORY)
            factory.set_seed(0)
            _factories.append(factory)
        return _factories[0]
