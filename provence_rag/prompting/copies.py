"""Which sentences of different passages say the same in the same words.

An overlap of words or characters does not tell: "rose by 3 %" and "fell by 3 %" share most of both. So a copy
has to have the same words in the same order. Only what carries no meaning may differ: case, white space,
punctuation, forms of one character (NFKC), footnote numbers, articles, and linking words such as "however".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from provence_rag.surrogates import without_surrogates

__all__ = ["SentenceKey", "sentence_keys"]

_FEWEST_WORDS = 3
"""Shorter sentences ("Yes.", "See below.") mean what their context makes of them."""

_CJK = "\u3040-\u30ff\u3400-\u9fff"

_FOOTNOTE = re.compile(r"(?<=[.!?。！？])(?:\[\d{1,3}\])+(?=\s|$)")
_DASH = re.compile("[‐‑‒–—―]")
_CONTRACTIONS = [
    (re.compile(r"\bcan(?:no|['’])t\b", re.IGNORECASE), "can not"),
    (re.compile(r"\bwon['’]t\b", re.IGNORECASE), "will not"),
    (re.compile(r"(?<=[a-z])n['’]t\b", re.IGNORECASE), " not"),
]

# "Hepatitis A" and "The Who" are names: only articles in lower case, or before a word in lower case, go.
_LINKING = "also|however|moreover|furthermore|additionally|indeed"
_HARMLESS = re.compile(
    "^(?:また|さらに|なお|しかし|そして)[、,]?"
    rf"|^(?i:{_LINKING}|in addition)\b,?|^(?:A|An|The)(?=\s+[a-z])|\b(?:a|an|the|{_LINKING})\b"
)

# What could change a number, a sign or a comparison is kept; other punctuation is not.
# Each Japanese or Chinese character is a word, so that a comma or a space between two does not matter.
_WORD = re.compile(
    rf"(?=[^\W_])(?:[{_CJK}]|[^\W_{_CJK}]+)|(?<![{_CJK}])[.,:;](?=\d)|-(?=\s?\d)|(?<![{_CJK}])!(?=[\w(=])"
    r"|[^\w\s.,:;!…\"'“”„‘’`«»‹›()\[\]{}\-*·•、。・「」『』（）【】〈〉《》〔〕]"
)

_POINTS_BACK = frozenset(
    ["he", "she", "it", "they", "him", "her", "them", "his", "hers", "its", "their", "theirs"]
)
_STARTS_BACK = frozenset(("this", "that", "these", "those", "such", "both"))
_DEFINITE = re.compile(r"\W*The(?=\s+[a-z])")
_JAPANESE = re.compile("[\u3040-\u30ff]")
_JAPANESE_SUBJECT = re.compile("[はがも]")
_POINTS_BACK_CJK = re.compile("彼女?|[これそあ]れ|[こそ]の|同[社年氏国]|前者|後者|[他她它]|这|那|該|该")


@dataclass(frozen=True)
class SentenceKey:
    """What a sentence is compared by."""

    digest: bytes | None
    """Equal for copies. None for a sentence that is never a copy, because it has no words."""

    context: int | None
    """Number of the sentence that gives it its meaning, because it has a pronoun, say, or is very short. None
    if it needs no context, or if nothing is known of what stands before it."""


def sentence_keys(
    sentences: Sequence[str], *, gaps: Collection[int] = (), passage: int = 0
) -> list[SentenceKey]:
    """The keys of a passage's sentences, in order.

    A sentence that needs its context is a copy only of one after a copy: "He died in 1905." says something
    else of everyone. At the start of a passage it is a copy only if the whole passages are, and after a
    gap it is never one.

    Args:
        sentences: The sentences of the passage.
        gaps: Numbers of the sentences before which sentences of the document may be missing.
        passage: A number that no other passage has, to tell gaps apart.
    """
    words = [_words(sentence) for sentence in sentences]
    before = _digest("\n".join(" ".join(own) for own in words), b"")
    context: int | None = None
    keys = []
    for number, (own, sentence) in enumerate(zip(words, sentences, strict=True)):
        if number in gaps:
            before, context = _digest("", f"{passage} {number}".encode()), None
        if not own:
            keys.append(SentenceKey(None, None))
            continue
        needs_context = _needs_context(own, sentence)
        before = _digest(" ".join(own), before if needs_context else b"")
        keys.append(SentenceKey(before, context if needs_context else None))
        context = number
    return keys


def _digest(text: str, before: bytes) -> bytes:
    return blake2b(without_surrogates(text).encode() + b"\n" + before, digest_size=16).digest()


def _words(sentence: str) -> list[str]:
    """What must not differ between copies: words, numbers with their signs, and symbols."""
    text = _FOOTNOTE.sub("", sentence.strip())
    # NFKC would turn 5² into 52 and 1½ into 11⁄2.
    text = "".join(f"\ue000{c}\ue000" if unicodedata.category(c) == "No" else c for c in text)
    text = _DASH.sub("-", unicodedata.normalize("NFKC", text))
    for contraction, written_out in _CONTRACTIONS:
        text = contraction.sub(written_out, text)
    text = _HARMLESS.sub(" ", text)
    return [str(word) for word in _WORD.findall(text.casefold())]


def _needs_context(words: Sequence[str], sentence: str) -> bool:
    if re.search(f"[{_CJK}]", sentence):
        drops_its_subject = bool(_JAPANESE.search(sentence)) and not _JAPANESE_SUBJECT.search(sentence)
        return drops_its_subject or _POINTS_BACK_CJK.search(sentence) is not None
    if _DEFINITE.match(sentence):  # "The warranty is two years.": of what, the sentence before says
        return True
    return len(words) < _FEWEST_WORDS or words[0] in _STARTS_BACK or not _POINTS_BACK.isdisjoint(words)
