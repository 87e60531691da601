"""Sentences of Japanese and Chinese text, by rules."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provence_rag.chunking.base import BaseChunker, Span, cut
from provence_rag.chunking.captions import split_unpunctuated
from provence_rag.chunking.lines import prose_blocks

__all__ = ["CJKChunker", "JapaneseChunker"]

_CLOSER_OF = dict(zip('「『｢“‘"（(【〈《〔［[｛{', '」』｣”’"）)】〉》〕］]｝}', strict=True))
_CLOSERS = frozenset(_CLOSER_OF.values())
_QUOTES = frozenset('「『｢“‘"')

# A pair further apart than this is taken for two stray brackets: no sentence holds that much.
_LONGEST_PAIR = 400

_BRACKETS = _CLOSER_OF.keys() | _CLOSERS
_END_MARKS = "。！？!?｡．…‥."
# One class of characters comes first: the search for it is several times as fast as for alternatives.
_MARKS = re.compile(f"[{re.escape(''.join(_BRACKETS))}{_END_MARKS}](?:(?<=[{_END_MARKS}])[{_END_MARKS}]+)?")
_SPACE = re.compile(r"\s*")

# Behind the end of a sentence: footnote marks, [要出典], [誰?], （笑）, the end of Markdown emphasis.
_NOTE = r"(?:(?:注釈?|脚注)? ?\d{1,3}|要[^\s\[\]［］]{1,8}|[^\s\[\]［］]{1,6}[?？])"
_ASIDE = re.compile(rf"(?:[\[［]{_NOTE}[\]］]|[（(][笑泣汗爆涙][）)]|[*_]+(?=\s|$))*")

_ASIDE_BEGINS = frozenset("[［（(*_")
_TAIL_BEGINS = _ASIDE_BEGINS | _CLOSERS

# No sentence begins with these particles; the mark before them is part of a name (モーニング娘。の).
_PARTICLE = re.compile(r"を|の(?![ちどばびべぼりるろん])|は(?=[、ァ-ヺ一-鿿])(?!虫)|が(?=[ァ-ヺ一-鿿])")
# "なぜ？と聞いた", "すごい！って言う": the quoted words go on although nothing encloses them.
_QUOTED = re.compile(r"\s*(?:って|と(?:[いのは、]|も(?!あれ|かく)|(?![同共或])[一-鿿]))")

_LATIN = re.compile(r"[0-9A-Za-z０-９Ａ-Ｚａ-ｚ]")
_LATIN_WORD = re.compile(r"[A-Za-z][A-Za-z0-9.'’-]*$")
_ABBREVIATIONS = re.compile(
    r"(?:al|cf|co(?:rp)?|dr|e\.g|etc|fig|i\.e|inc|ltd|mrs?|ms|no|prof|[sj]r|st|u\.s|vol|vs)$", re.IGNORECASE
)


class CJKChunker(BaseChunker):
    """Cuts after 。！？!?｡．, after … before white space, and at the borders that layout makes.

    Closing quotation marks and brackets stay with their sentence, and nothing is cut inside a pair of
    them. Brackets pair up within a block of lines only, so that a stray one does no harm. An ASCII full stop
    ends a sentence after a Latin word and before white space.
    """

    def spans(self, text: str) -> list[Span]:
        """Return where the sentences of `text` are; an empty list if there is only white space."""
        found: list[Span] = []
        for start, end in prose_blocks(text):
            for sentence in cut(text, start, end, _sentence_borders(text, start, end)):
                found.extend(split_unpunctuated(text, sentence, "ja"))
        return found


class JapaneseChunker(CJKChunker):
    """Cuts Japanese text into sentences; see `CJKChunker`."""


def _sentence_borders(text: str, start: int, end: int) -> Iterator[int]:
    """Yield where the sentences of one block end, but the last one."""
    marks = [(match.start(), match.group()) for match in _MARKS.finditer(text, start, end)]
    brackets = [mark for mark in marks if mark[1] in _BRACKETS]
    opener_of = _bracket_pairs(brackets) if brackets else {}
    openers = frozenset(opener_of.values())
    depth = 0
    begin = start  # where the sentence at hand begins
    ended = -1  # where the last end of a sentence within brackets is
    for position, mark in marks:
        border = -1
        if mark not in _BRACKETS:
            if _is_end(text, position, mark, end):
                ended = position + len(mark)
                border = ended if depth == 0 else -1
        elif position in openers:
            depth += 1
        elif position in opener_of:
            depth -= 1
            if ended == position:
                ended = position + 1
                if depth == 0 and _stands_alone(text, opener_of[position], begin, ended, end):
                    border = ended
        if begin <= border < end:
            if text[border] in _TAIL_BEGINS:
                border = _after_closers(text, border, end, openers)
                if border == end:
                    return
            yield border
            begin = _after(_SPACE, text, border, end) if text[border].isspace() else border


def _bracket_pairs(brackets: list[tuple[int, str]]) -> dict[int, int]:
    """Return the opening position of each closing one; brackets without a partner are left out."""
    pairs: dict[int, int] = {}
    waiting: list[tuple[int, str]] = []  # the open brackets: position and the closer that they wait for
    awaited: dict[str, int] = {}
    for position, mark in brackets:
        if awaited.get(mark):
            while True:  # brackets opened after the partner stay without one
                opener, closer = waiting.pop()
                awaited[closer] -= 1
                if closer == mark:
                    break
            if position - opener <= _LONGEST_PAIR:
                pairs[position] = opener
        elif mark in _CLOSER_OF:
            closer = _CLOSER_OF[mark]
            waiting.append((position, closer))
            awaited[closer] = awaited.get(closer, 0) + 1
    return pairs


def _stands_alone(text: str, opener: int, begin: int, border: int, end: int) -> bool:
    """Whether brackets whose content ends like a sentence are followed by a new sentence.

    "「はい。」「いいえ。」" are two; "「はい。」と言った。" goes on. A bracketed sentence after
    another one ("雨だ。（昨日も降った。）寒い。") is complete as well.
    """
    following = text[border : border + 1]
    if following in _QUOTES:
        return True
    if text[opener] in _QUOTES:
        return following.isspace() and not _QUOTED.match(text, border, end)
    return opener == begin


def _is_end(text: str, position: int, mark: str, end: int) -> bool:
    """Whether the punctuation `mark` at `position` ends a sentence."""
    border = position + len(mark)
    if "。" in mark or "｡" in mark:
        return not _PARTICLE.match(text, border, end)
    before, after = text[max(0, position - 1) : position], text[border : min(border + 1, end)]
    if not frozenset("！？!?").isdisjoint(mark):
        goes_on = _QUOTED.match(text, border, end) or _PARTICLE.match(text, border, end)
        return not (goes_on or _is_inside_word(before, mark, after))
    if mark == "．":
        return not (before.isdecimal() or (_LATIN.match(before) and _LATIN.match(after)))
    if mark == ".":
        return after.isspace() and _is_latin_end(text, position, border, end)
    return not after or after.isspace() or after in _QUOTES  # an ellipsis


def _is_inside_word(before: str, mark: str, after: str) -> bool:
    """Yahoo!ニュース, /search?q=1, a!=b; but すごい!明日も is two sentences."""
    if not mark.isascii() or not after or not before.isascii():
        return False
    if after.isascii():
        return after.isalnum() or after in "=&/"
    return before.isalnum() and after.isalpha()


def _is_latin_end(text: str, position: int, border: int, end: int) -> bool:
    word = _LATIN_WORD.search(text[max(0, position - 40) : position])
    if word is None or len(word.group()) == 1 or _ABBREVIATIONS.match(word.group()):
        return False
    begin = _after(_SPACE, text, border, end)
    return not text[begin : begin + 1].islower()


def _after_closers(text: str, border: int, end: int, openers: frozenset[int]) -> int:
    if text[border : border + 1] in _ASIDE_BEGINS:
        border = _after(_ASIDE, text, border, end)
    while border < end and text[border] in _CLOSERS and border not in openers:
        border += 1
    return border


def _after(pattern: re.Pattern[str], text: str, position: int, end: int) -> int:
    match = pattern.match(text, position, end)
    return match.end() if match else position
