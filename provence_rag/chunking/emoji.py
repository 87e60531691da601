"""Emoji and emoticons that end a sentence, or begin each item of a list."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["EMOJI", "FACE", "FACES", "emoji_borders"]

_PICTURE = (
    r"[\u231a\u231b\u23e9-\u23f3\u2600-\u26ff\u2702\u2705-\u270d\u2728\u274c\u274e\u2753-\u2757\u2763\u2764"
    r"\u2b50\u2b55\U0001f000-\U0001faff]"
)
_TONE = r"[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff]"
EMOJI = rf"(?:{_PICTURE}{_TONE}*(?:\u200d{_PICTURE}{_TONE}*)*)"
"""A regular expression of one emoji, with its variation, its skin tone and what is joined to it."""

FACE = r"[:;=]['’]?-?[)(DP]"
"""A regular expression of an emoticon that stands upright when the head is tilted: `:-)`."""

FACES = ":;=\u231a-\u2b55\U0001f000-\U0001faff"
"""The characters that begin emoji and emoticons, and others, for a class of a regular expression."""

_EMOTICON = rf"(?:(?<!\S){FACE}(?!\S))"
_FIRST = re.compile(f"[{FACES}]")
_RUN = re.compile(rf"(?:{EMOJI}|[♪♡♥](?![ァ-ヶ一-龯])|{_EMOTICON})(?:[ \t]?(?:{EMOJI}|[♪♡♥]|{_EMOTICON}))*")
_FEWEST_CHARACTERS = 10
_FEWEST_EAST_ASIAN = 3
# Where a text has several, lower case is no sign that the sentence goes on, but these words are.
_CONNECTING = re.compile(
    r"\s+(?:and|or|to|in|of|with|but|for|at|from|on|that|which|is|are|was|were|so|und|et|y|e|o)\b"
)
_EAST_ASIAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff。！？]")


def emoji_borders(text: str, start: int, end: int) -> Iterator[int]:
    """Yield where emoji say that a sentence of `text[start:end]` ends.

    That is after them, or before them where the text begins with one: then they are bullets. An emoji is
    taken for a word ("I ❤️ New York") if the words before it are few or the next one is in lower case.
    """
    runs = list(_runs(text, start, end))
    if not runs:
        return
    if len(runs) > 1 and not text[start : runs[0][0]].strip():
        yield from (first for first, _ in runs[1:] if text[first - 1].isspace())
        return
    begin = start
    for first, last in runs:
        sentence = text[max(begin, first - 2 * _FEWEST_CHARACTERS) : first].strip()
        if last < end and _ends_sentence(text, sentence, last, end, several=len(runs) > 1):
            yield last
            begin = last


def _runs(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where emoji and emoticons are that only white space separates.

    The search for one class of characters is many times as fast as that for the runs themselves.
    """
    for first in _FIRST.finditer(text, start, end):
        if first.start() >= start and (run := _RUN.match(text, first.start(), end)):
            yield run.span()
            start = run.end()


def _ends_sentence(text: str, sentence: str, last: int, end: int, *, several: bool) -> bool:
    following = text[last : min(end, last + 8)].lstrip()[:1]
    if sentence and _EAST_ASIAN.match(sentence[-1]):
        return len(sentence) >= _FEWEST_EAST_ASIAN and following not in "、。，！？」』）はがをのにでともや"
    if len(sentence) < _FEWEST_CHARACTERS and sentence[-1:] not in tuple(".!?…"):
        return False
    if not text[last].isspace():
        return False
    if following.islower():
        return several and _CONNECTING.match(text, last) is None
    return following.isalnum()
