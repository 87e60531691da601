"""What line breaks say: paragraphs, list items, headings, entries, and the lines of wrapped prose."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise

from provence_rag.chunking.base import Span
from provence_rag.chunking.emoji import EMOJI, FACES, emoji_borders
from provence_rag.chunking.entries import entry_lines, turn_borders
from provence_rag.chunking.items import BULLETS, ITEM, item_borders
from provence_rag.chunking.markup import tag_borders

__all__ = ["HEADING", "LINE_BREAK", "line_spans", "prose_blocks"]

_Line = tuple[int, str]  # where it begins, and what is in it without white space at its end

LINE_BREAK = re.compile(r"[\n\r\v\f\x85\u2028\u2029](?:(?<=\r)\n)?")
"""What ends a line. One class of characters comes first, since alternatives take several times as long."""

HEADING = re.compile(r"[ ]{0,3}(#{1,6})(?=[ \t]|$)")
"""The number signs that begin a Markdown (ATX) heading."""

_SHORT_LINE = 45
_SHORT_SHARE = 0.6
# Where the first word of the next line would have fitted in a line, the line was ended on purpose.
_FITTING_SHARE = 0.8
_FEWEST_LINES = 3

_EMOJI = re.compile(EMOJI)
_CONNECTORS = frozenset(",;-–—(（&/、，")
_CONNECTING_WORDS = re.compile(
    r"(?:^|\s)(?:and|or|of|the|to|a|an|in|on|for|with|by|from|at|as|that|which|is|are|und|der|die|das|et|de|la|le|y|e|o|и|в|vs?\.)$"
)

_FINDERS = (item_borders, turn_borders, tag_borders, emoji_borders)
# Without one of these no finder finds anything: a single search passes over most prose.
_SIGN = re.compile(
    f"[<:;=：.)・→{BULLETS}{FACES}]"
    r"(?:(?<![.)・])|(?<=[\s：:。]・)|(?<=・)(?<![\s\S]・)|(?<=[1ai][.)])(?= )|(?<=[1ai]\.\))(?= ))"
)

_EAST_ASIAN = re.compile(r"[\u3005-\u3007\u3040-\u30ff\u3400-\u9fff]")
_WRAPPED_SHARE = 0.85
_WRAPPED_LENGTH = 12
# Of the lines of wrapped prose that end in the middle of a sentence, so many are full.
_FULL_SHARE = 0.75
_SAMPLE_LINES, _SAMPLE = 5, 200  # that show the language of a paragraph
_MID_LINE_PAUSE = re.compile(r"[、。，；！？](?=.)")
# A line that ends with one of these particles goes on below; 在 also ends nouns (現在, 存在).
_PARTICLES = frozenset("のはがをにへとでもやて的和于於从把")
_NOUN = re.compile(r"[現现存所実实健潜駐驻正不内]在$")
_EAST_ASIAN_STOPS = frozenset("。！？!?：:.…；;")
_EAST_ASIAN_CLOSERS = frozenset("」』】）)〉》")
_QUOTED = re.compile(r"を|と[いの言思考問叫答聞述、]|って")
_DECIMAL = re.compile(r"\d\.$")
_BEFORE_DOT = re.compile(r"[\u3005-\u3007\u30a1-\u30fa\u30fc\u3400-\u9fff]$")


def line_spans(text: str) -> Iterator[Span]:
    """Yield the lines of `text` without their line breaks; blank lines are included."""
    start = 0
    for match in LINE_BREAK.finditer(text):
        yield Span(start, match.start())
        start = match.end()
    yield Span(start, len(text))


def _paragraphs(text: str) -> Iterator[list[_Line]]:
    """Yield the runs of lines that blank lines separate."""
    lines: list[_Line] = []
    start = 0
    for end, after in [*(match.span() for match in LINE_BREAK.finditer(text)), (len(text), 0)]:
        content = text[start:end].rstrip()
        if content:
            lines.append((start, content))
        elif lines:
            yield lines
            lines = []
        start = after
    if lines:
        yield lines


def prose_blocks(text: str) -> Iterator[Span]:
    """Yield the pieces of `text` that no sentence runs across.

    A blank line always separates. A single line break separates when the next line begins a list item, a
    heading or an entry (see `entry_lines`), when the line is a heading, or when the line was ended on
    purpose: it is short, ends without a connecting mark or word, and the next one begins like a sentence.
    Other line breaks are taken for wrapped prose. Within lines, block-level tags, list items, turns of a
    dialogue and emoji separate.
    """
    sign = -1
    for lines in _paragraphs(text):
        for start, end in _line_blocks(lines):
            if sign < start:
                found = _SIGN.search(text, start)
                sign = found.start() if found else len(text)
            if sign < end:
                yield from _pieces(text, start, end)
            else:
                yield Span(start, end)


def _pieces(text: str, start: int, end: int) -> Iterator[Span]:
    """Cut a run of lines where something in them separates."""
    borders = sorted(border for find in _FINDERS for border in find(text, start, end))
    for border in (*borders, end):
        if border > start:
            yield Span(start, border)
            start = border


def _line_blocks(lines: Sequence[_Line]) -> Iterator[tuple[int, int]]:
    """Cut a paragraph before each line that does not go on from the line above."""
    start, content = lines[0]
    end = start + len(content)
    paragraph = _Paragraph([content for _, content in lines])
    for number in range(1, len(lines)):
        begin, content = lines[number]
        if paragraph.is_ended_before(number):
            yield start, end
            start = begin
        end = begin + len(content)
    yield start, end


class _Paragraph:
    """Some lines, and how they are wrapped, if they are.

    The lines of wrapped prose are about equally long, so what counts is the longest line.

    Args:
        lines: None is blank, or has white space at its end.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines

    def is_ended_before(self, number: int) -> bool:
        """Whether something new begins with a line, from 1."""
        before, line = self._lines[number - 1], self._lines[number]
        last = before[-1]
        if last == "。" or (last in _EAST_ASIAN_STOPS and _EAST_ASIAN.match(line)):
            return True  # what is true of most lines of Japanese comes first
        return bool(
            self._entries[number]
            or (ITEM.match(line) and not self._is_cut_name(number - 1, before, line))
            or HEADING.match(line)
            or HEADING.match(before)
            or self._is_ended(number - 1, before, line, after_entry=self._entries[number - 1])
        )

    @cached_property
    def _entries(self) -> list[bool]:
        return entry_lines(self._lines)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._lines))

    @cached_property
    def _has_lower_case(self) -> bool:
        """Wrapped prose begins some of its lines in lower case. Where none does, nothing was wrapped."""
        return any(line.lstrip()[0].islower() for line in self._lines)

    @cached_property
    def _short(self) -> float:
        return max(_SHORT_SHARE * self._longest, 0 if self._has_lower_case else _SHORT_LINE)

    @cached_property
    def _is_list(self) -> bool:
        """Whether every line begins like a sentence, and half of them could have held another word."""
        if self._has_lower_case or len(self._lines) < _FEWEST_LINES:
            return False
        if not any(line.lstrip()[0].isupper() for line in self._lines):
            return False  # a script without capitals
        fitting = sum(self._fits(line, following) for line, following in pairwise(self._lines))
        return 2 * fitting >= len(self._lines) - 1

    @cached_property
    def _has_pauses(self) -> bool:
        return any(_MID_LINE_PAUSE.search(line) for line in self._lines)

    def _is_ended(self, number: int, line: str, following: str, *, after_entry: bool) -> bool:
        """Whether `line`, number `number`, was ended on purpose, so that `following` begins something new."""
        last, first = line[-1], following.lstrip()[0]
        if _EAST_ASIAN.match(last) or _EAST_ASIAN.match(first) or self._is_east_asian:
            return not self._goes_on(number, line, following.lstrip())
        if last in _CONNECTORS or _EMOJI.match(first):
            return last not in _CONNECTORS
        begin = following.lstrip("\"'“‘«([ \t¿¡")[:1]
        if not (begin.isdigit() or (begin.isalpha() and not begin.islower())):
            return False
        if after_entry or len(line) < self._short or self._is_list:
            return _CONNECTING_WORDS.search(line[-12:]) is None
        return False

    def _fits(self, line: str, following: str) -> bool:
        """Whether the first word of `following` would have fitted in `line`."""
        return len(line) + 1 + len(following.split(maxsplit=1)[0]) < _FITTING_SHARE * self._longest

    @cached_property
    def _is_east_asian(self) -> bool:
        """Whether most characters are Japanese or Chinese, so that a line may be cut inside a number."""
        if all(map(str.isascii, self._lines)):
            return False
        sample = "".join(self._lines[:_SAMPLE_LINES])[:_SAMPLE]
        return 2 * len(_EAST_ASIAN.findall(sample)) > len(sample)

    @cached_property
    def _is_full(self) -> list[bool]:
        """Whether each line is about as long as the longest, in characters or in columns."""
        least = max(_WRAPPED_SHARE * self._longest, _WRAPPED_LENGTH)
        found = [len(line) >= least for line in self._lines]
        if all(found[:-1]):
            return found
        widths = [_width(line) for line in self._lines]
        least = max(_WRAPPED_SHARE * max(widths), 2 * _WRAPPED_LENGTH)
        return [full or width >= least for full, width in zip(found, widths, strict=True)]

    @cached_property
    def _is_wrapped(self) -> bool:
        """Whether the lines are those of Japanese or Chinese prose: only the end of a sentence is short."""
        lines = zip(self._lines[:-1], self._is_full, strict=False)
        cut = [is_full for line, is_full in lines if line[-1] not in _EAST_ASIAN_STOPS]
        return self._has_pauses and sum(cut) >= _FULL_SHARE * len(cut)

    @cached_property
    def _beginnings(self) -> Counter[str]:
        return Counter(_kind(line.lstrip()[0]) for line in self._lines)

    def _goes_on(self, number: int, line: str, following: str) -> bool:
        """Whether a line of Japanese or Chinese goes on below: it is full, or ends with a particle.

        Before a number, a Latin word or a bracket, and after a closing bracket, as many labels and turns of
        a dialogue end as sentences go on. There the whole paragraph has to look wrapped.
        """
        last, first = line[-1], following[0]
        if last in _EAST_ASIAN_STOPS and not (_DECIMAL.search(line) and first.isdecimal()):
            return False
        is_closed = last in _EAST_ASIAN_CLOSERS
        if _EAST_ASIAN.match(first) and not is_closed:
            if last in _CONNECTORS or last in _PARTICLES or (last == "在" and not _NOUN.search(line)):
                return True
            return self._is_full[number] and self._has_pauses
        if not (self._is_full[number] and self._is_wrapped) or _EMOJI.match(first):
            return False
        if is_closed and line.lstrip()[0] == "「":  # perhaps a turn
            return _QUOTED.match(following) is not None
        # Lines that begin alike are a list.
        kind = _kind(first)
        return kind == "word" or 2 * self._beginnings[kind] <= len(self._lines)

    def _is_cut_name(self, number: int, line: str, following: str) -> bool:
        """Whether the middle dot that begins a line is no bullet, but within a name (ジョン・スミス)."""
        if following[0] != "・" or line[0] == "・" or not _BEFORE_DOT.search(line):
            return False
        dots = self._beginnings["・"]
        return (dots == 1 or 5 * dots <= len(self._lines)) and self._is_full[number] and self._is_wrapped


def _kind(first: str) -> str:
    """Return what a line begins with: a word of Japanese, a number, a Latin word or a sign."""
    if first.isdecimal():
        return "number"
    if first.isalpha() or _EAST_ASIAN.match(first):
        return "latin" if first.isascii() else "word"
    return first


def _width(line: str) -> float:
    """Return how many columns a line takes: characters of three bytes are twice as wide as ASCII."""
    return (len(line) + len(line.encode("utf-8", "surrogatepass"))) / 2
