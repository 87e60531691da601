"""List items: the markers that begin them, in a column or in running text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

__all__ = ["BULLETS", "ITEM", "item_borders"]

# Bullets of word processors, the private characters that PDFs have for them, arrows and ticks.
_GLYPHS = "•‣⁃∙◦▪▫■□▢●○◆◇◉★☆➢➣➤►▶▸▹✓✔✗✘☑☐❖✦\uf0b7\uf0a7\uf0d8\uf0fc\uf076"
_CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳"
_COUNT = {mark: value for value, mark in enumerate(_CIRCLED, 1)}
_BULLET = rf"(?:[{_GLYPHS}]|[-*+→⇒–—※·](?=[ \t\u3000])|・)"
_NUMBER = (
    r"(?:\(?(?:\d{1,3}|[A-Za-z]|[ivx]{2,5})(?:\.\)|\))|（(?:\d{1,2}|[０-９]{1,2}|[ア-コ])）|"
    r"(?:\d{1,3}|[a-z]|[ivx]{2,5})\.)"
)
_SPACES = " \t\u3000\xa0"
_GAP = r"[ \t\u3000]"
_MARKERS = (rf"{_BULLET}{_GAP}*(?:{_NUMBER}{_GAP}+)?", rf"{_NUMBER}{_GAP}+", rf"[{_CIRCLED}]{_GAP}*")

ITEM = re.compile(rf"{_GAP}*(?:{'|'.join(_MARKERS)})(?=\S)")
"""The marker that begins a list item, with the white space around it."""

BULLETS = f"{_GLYPHS}・{_CIRCLED}"
"""The characters that begin list items in running text, for a class of a regular expression."""

_INLINE = re.compile(f"[{BULLETS}]")
_FIRST_DASH = re.compile(r"[:：] ([–—*→-])(?= \S)")
_FIRST_ARROW = re.compile(r"(→)(?= \S)")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_FIRST_NUMBER = re.compile(r"[1ai](?:(?<!\S.)|(?<=[(0].))(?:\.\)|[.)]) ")
_INLINE_NUMBERS = re.compile(
    r"(?<!\S)(?P<open>\(?)(?:(?P<number>\d{1,2})|(?P<roman>[ivx]{1,4})|(?P<letter>[a-z]))"
    r"(?P<close>\.\)|\)|\.)(?=[ \t]+\S)"
)
_NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")
_ROMAN = {numeral: value for value, numeral in enumerate(_NUMERALS, 1)}
_FEWEST_BETWEEN = 3
_IN_NAME = re.compile("[\u30a0-\u30ff]・[\u30a0-\u30ff]")
_COLON = re.compile(r"[:：](?=\s)")
_LIST_MARKS = re.compile(r"[:：;.!?。](?:(?<=。)|(?=\s|$))")
_LONGEST_ITEM = 160


def item_borders(text: str, start: int, end: int) -> Iterator[int]:
    """Yield where the items of lists in the running text `text[start:end]` begin, in any order.

    A list is made of bullets, of dashes after a colon, of numbers or letters that count up from the first, or
    of at least two semicolons after a colon.
    """
    yield from _bullets(text, start, end)
    yield from _dashes(text, start, end)
    yield from _numbers(text, start, end)
    yield from _semicolons(text, start, end)


def _bullets(text: str, start: int, end: int) -> Iterator[int]:
    if text[start:end].isascii():
        return
    circled: list[int] = []
    is_list = text[start] == "・"
    for match in _INLINE.finditer(text, start + 1, end):
        position, mark = match.start(), match.group()
        if mark in _COUNT:
            circled.append(position)
        # A middle dot also stands within Japanese names, and so at the start of a wrapped line.
        elif text[position - 1] in _SPACES or (mark == "・" and text[position - 1] in "：:。"):
            yield position
            is_list = mark == "・"
        elif is_list and mark == "・" and not _IN_NAME.match(text, position - 1, end):
            yield position
    if circled:
        yield from _counting(text, [start, *circled] if text[start] in _COUNT else circled, start)


def _counting(text: str, circled: list[int], start: int) -> Iterator[int]:
    """Yield the circled numbers that count up from one."""
    run: list[int] = []
    for position in circled:
        value = _COUNT[text[position]]
        if run and not (value == len(run) + 1 and position - run[-1] > _FEWEST_BETWEEN):
            yield from _if_list(run, start)
            run = []
        if run or value == 1:
            run.append(position)
    yield from _if_list(run, start)


def _if_list(run: list[int], start: int) -> list[int]:
    return [position for position in run if position > start] if len(run) > 1 else []


def _dashes(text: str, start: int, end: int) -> Iterator[int]:
    """Yield the items of "Bring: – a towel – a lamp" and "→ a towel → a lamp", up to the sentence's end."""
    first = _FIRST_ARROW.match(text, start, end) or _FIRST_DASH.search(text, start, end)
    if first is None:
        return
    stop = _SENTENCE_END.search(text, first.end(), end)
    last = stop.start() if stop else end
    dash = f" {first.group(1)} "
    positions = [first.start(1)]
    while (position := text.find(dash, positions[-1] + 1, last)) >= 0:
        positions.append(position + 1)
    yield from (position for position in positions if position > start and len(positions) > 1)


def _numbers(text: str, start: int, end: int) -> Iterator[int]:
    """Yield the items that count up: each style of marker (`1.`, `1)`, `(a)`) has a count of its own."""
    if text.find(") ", start, end) < 0 and text.find(". ", start, end) < 0:
        return
    first = _FIRST_NUMBER.search(text, start, end)
    if first is None:
        return
    runs: dict[tuple[str, str, str], list[int]] = {}
    for match in _INLINE_NUMBERS.finditer(text, max(start, first.start() - 2), end):
        for kind, value in _values(match):
            style = (match["open"], kind, match["close"])
            run = runs.setdefault(style, [])
            if value == len(run) + 1 and (run or _may_begin(text, start, match)):
                run.append(match.start())
            elif value == 1 and _may_begin(text, start, match):
                yield from _if_items(text, run, start)
                runs[style] = [match.start()]
    for run in runs.values():
        yield from _if_items(text, run, start)


def _values(match: re.Match[str]) -> Iterator[tuple[str, int]]:
    if match["number"]:
        yield "number", int(match["number"])
        return
    word = match["roman"] or match["letter"]
    if word in _ROMAN:
        yield "roman", _ROMAN[word]
    if len(word) == 1:
        yield "letter", ord(word) - ord("a") + 1


def _may_begin(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether a list may begin here: at the start, after a colon or at the end of a sentence."""
    before = text[max(start, match.start() - 3) : match.start()].rstrip()
    return not before or before[-1] in ":：.;!?。"


def _if_items(text: str, run: list[int], start: int) -> list[int]:
    """Return the positions unless they are close together, as in "(a) and (b)" or "(a), (b) or (c)"."""
    fewest = _FEWEST_BETWEEN if len(run) == 2 else _FEWEST_BETWEEN - 1
    if len(run) < 2 or any(len(text[one:other].split()) < fewest for one, other in pairwise(run)):
        return []
    return [position for position in run if position > start]


def _semicolons(text: str, start: int, end: int) -> Iterator[int]:
    """Yield the items of an enumeration within one sentence: a colon, then at least two semicolons."""
    if text.count(";", start, end) < 2:
        return
    for colon in _COLON.finditer(text, start, end):
        items = [colon.end()]
        for mark in _LIST_MARKS.finditer(text, colon.end(), end):
            if mark.group() != ";" or mark.end() - items[-1] > _LONGEST_ITEM:
                break
            items.append(mark.end())
        if len(items) > 2:
            yield from items[1:]
