"""What a model reads of prose whose borders are not written as prose writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from provence_rag.chunking.base import Span
from provence_rag.chunking.emoji import EMOJI, FACE
from provence_rag.chunking.items import ITEM

__all__ = ["is_glued", "visible_borders"]

_REFERENCE = re.compile(
    r"(?:(?<=[^\W\d_]{2}\.)\d{1,3}(?:[,–-] ?\d{1,3}){0,5}|"
    r"(?<=[.!?。！？\"”’)])(?:\[[^\[\]\n]{1,24}\]|[⁰¹²³⁴-⁹†‡])+)$"
)
"""Reference marks after the end of a sentence: `.12`, `.[3]`, `.[citation needed]`."""
_LONGEST_REFERENCE = 80

_PICTURE = re.compile(rf"(?:{EMOJI}|{FACE}|[♪♡♥])$")
_LONGEST_PICTURE = 12
_BLANKS = re.compile(r"[ \t\xa0\u202f\u3000]+")
_WRITTEN_WITHOUT_BLANKS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]"
)
_USUAL_ENDS = frozenset(".!?…。！？")
_ENDS = frozenset(".!?…\"'”’»)]")


def visible_borders(text: str, spans: Sequence[Span]) -> str | None:
    """Return a text as a model reads it, in as many characters; None if that is the text itself.

    A model that cannot see where a sentence ends takes the next ones for parts of it. So reference marks
    after a sentence are blank. Where a sentence ends without a mark, as in captions or with an emoji, the
    blank after it is a line break, and so are the blanks around the items of a list in running text.
    """
    parts: list[str] = []
    position = 0
    in_list = False
    for (start, end), (following, limit) in pairwise(spans):
        if text[end - 1] in _USUAL_ENDS and text[following].isalpha() and not in_list:
            continue  # most sentences of prose, in a hurry
        reference = _reference(text, start, end)
        if reference < end:
            parts += (text[position:reference], " " * (end - reference))
            position = end
        is_blank = _BLANKS.fullmatch(text, end, following) is not None
        was_in_list, in_list = in_list, is_blank and ITEM.match(text, following, limit) is not None
        ends_without_mark = reference == end and _ends_without_mark(text, start, end)
        if is_blank and (was_in_list or in_list or ends_without_mark):
            parts += (text[position:end], "\n")
            position = end + 1
    if spans and (reference := _reference(text, *spans[-1])) < spans[-1].end:
        parts += (text[position:reference], " " * (spans[-1].end - reference))
        position = spans[-1].end
    return "".join([*parts, text[position:]]) if parts else None


def _reference(text: str, start: int, end: int) -> int:
    """Where the reference marks at the end of a sentence begin; its end without any."""
    if text[end - 1] not in "]†‡⁰¹²³⁴⁵⁶⁷⁸⁹" and not text[end - 1].isdecimal():
        return end
    found = _REFERENCE.search(text, max(start, end - _LONGEST_REFERENCE), end)
    return found.start() if found else end


def _ends_without_mark(text: str, start: int, end: int) -> bool:
    last = text[end - 1]
    if last.isalnum():
        return True
    return last not in _ENDS and _PICTURE.search(text, max(start, end - _LONGEST_PICTURE), end) is not None


def is_glued(text: str, border: int) -> bool:
    """Whether a sentence begins at `border` with no blank before it, though its script has blanks there."""
    before, after = text[border - 1], text[border]
    if before.isspace() or after.isspace():
        return False
    if _WRITTEN_WITHOUT_BLANKS.match(before) or _WRITTEN_WITHOUT_BLANKS.match(after):
        return False
    return before in _ENDS or _PICTURE.search(text, max(0, border - _LONGEST_PICTURE), border) is not None
