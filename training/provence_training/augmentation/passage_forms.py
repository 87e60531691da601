"""Passages in other forms of text, with their answers at the same places in it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, TypeVar

from provence_training.augmentation.page import Copy, Page
from provence_training.augmentation.pool import Pool
from provence_training.augmentation.wordings import keywords

if TYPE_CHECKING:
    from provence_training.data.passages import Passage

T = TypeVar("T")

__all__ = [
    "as_html",
    "bullets",
    "captions",
    "glued",
    "logs",
    "one_passage",
    "sections",
    "unpunctuated",
    "wrapped",
]

_WIDTHS = {"ja": (18, 24, 30, 36), "default": (38, 50, 60, 72, 80)}
_MARGINS = ("", "", "", "  ", "> ")
# A line may end after any Japanese character, but does not begin with punctuation.
_UNBREAKABLE = {
    "ja": re.compile(r"(\s*)((?:[A-Za-z0-9]+|\S)[。、，．！？」』）]*)"),
    "default": re.compile(r"(\s*)(\S+)"),
}

_PUNCTUATION = re.compile(r"[.,](?!\d)|[;:!?\"()。、！？「」]")
_JAPANESE_ENDS = frozenset("。！？")
_HTML_SPECIAL = re.compile("[&<>]")
_SENTENCE_GAP = re.compile(r"(?<=[.!?]) +")

_CAPTION_WORDS = {"ja": (12, 20), "default": (5, 10)}
_CAPTION_WORD = {"ja": re.compile(r"\S"), "default": re.compile(r"\S+")}

_LEVELS = ("INFO", "WARN", "DEBUG", "ERROR")
_LOG_PREFIXES = ("2025-03-{day:02d} {clock} {level} ", "[{clock}] [{level}] ", "2025-03-{day:02d}T{clock}Z ")

_BULLETS = {
    "en": ("- ", "* ", "• ", "[ ] ", "{number}. ", "{number}) "),
    "ja": ("・", "- ", "■", "● ", "{number}. "),
}
_LIST_TITLES = ("# {}\n\n", "{}\n", "{}:\n", "**{}**\n")

_SECTION_HEADINGS = {
    "en": (
        "# {title}\n\n",
        "## {title}\n",
        "### {title}\n\n",
        "{title}\n\n",
        "{title}\n====\n",
        "**{title}**\n",
        "{number}. {title}\n",
        "{number} {title}\n\n",
        "== {title} ==\n",
        "{title}:\n",
    ),
    "ja": (
        "# {title}\n\n",
        "## {title}\n",
        "■{title}\n",
        "【{title}】\n",
        "○{title}\n",
        "{title}\n\n",
        "{number}. {title}\n",
        "第{number}章 {title}\n\n",
    ),
}
_LONG_SECTION, _SECTION_SENTENCES = 700, 5
"""Most sections with more characters than the first number keep only their first sentences."""


def one_passage(
    write: Callable[[Passage, Page, Copy, Random], None],
) -> Callable[[Pool, Random], Page | None]:
    """A form from a function that writes one passage onto a page, through a `Copy` of its text."""

    def make(pool: Pool, rng: Random) -> Page | None:
        for passage in pool.passages(rng, 1):
            page = Page()
            copy = Copy(page, passage.text)
            write(passage, page, copy, rng)
            _carry_over(passage, page, copy, len(passage.text))
            if page.questions and page.text != passage.text.rstrip():
                return page
        return None

    return make


def wrapped(passage: Passage, page: Page, copy: Copy, rng: Random) -> None:
    """Write lines of a fixed width, some of them hyphenated, indented or quoted."""
    width = rng.choice(_of_language(_WIDTHS, passage))
    new_line = f"\n{rng.choice(_MARGINS)}"
    hyphenates = passage.language != "ja" and rng.random() < 0.25
    page.write(new_line[1:])
    column = 0
    for match in _of_language(_UNBREAKABLE, passage).finditer(passage.text):
        (gap, start), end = match.span(1), match.end()
        if "\n" in match[1]:
            page.write("\n" * (match[1].count("\n") - 1) + new_line)
            column = 0
        elif column and column + end - gap > width:
            room = width - column - len("-")
            if hyphenates and end - start > 8 and match[2].isalpha() and room >= start - gap + 3:
                hyphen = min((start + end) // 2, gap + room)
                copy.write(gap, hyphen)
                page.write("-")
                start = hyphen
            page.write(new_line)
            column = 0
        else:
            start = gap
        copy.write(start, end)
        column += end - start


def unpunctuated(passage: Passage, page: Page, copy: Copy, rng: Random) -> None:
    """Leave out punctuation and often capitals."""
    lowers, spaces = rng.random() < 0.6, rng.random() < 0.5

    def write(start: int, end: int) -> None:
        copy.write(start, end, _lower(passage.text[start:end]) if lowers else None)

    start = 0
    for match in _PUNCTUATION.finditer(passage.text):
        write(start, match.start())
        if spaces and match[0] in _JAPANESE_ENDS:
            page.write(" ")
        start = match.end()
    write(start, len(passage.text))


def glued(passage: Passage, page: Page, copy: Copy, rng: Random) -> None:
    """Leave out all or some of the spaces between sentences."""
    share = rng.choice((0.3, 1.0))
    start = 0
    for match in _SENTENCE_GAP.finditer(passage.text):
        if rng.random() < share:
            copy.write(start, match.start())
            start = match.end()
    copy.write(start, len(passage.text))


def as_html(passage: Passage, page: Page, copy: Copy, rng: Random) -> None:
    """Write paragraphs or a list, usually with the title as a heading."""
    page.write(rng.choice(("", '<div class="content">\n', "<article>\n")))
    if passage.title.strip() and rng.random() < 0.7:
        page.write(f"<h2>{html.escape(_title(passage), quote=False)}</h2>\n")
    is_list = rng.random() < 0.3
    page.write("<ul>\n" if is_list else "<p>")
    previous_end = 0
    for number, (start, end) in enumerate(passage.sentences):
        if is_list:
            page.write("<li>")
        elif number:
            page.write("</p>\n<p>" if rng.random() < 0.3 else " " * (previous_end < start))
        _write_escaped(copy, passage, start, end)
        page.write("</li>\n" if is_list else "")
        previous_end = end
    page.write("</ul>" if is_list else "</p>")


def captions(passage: Passage, page: Page, copy: Copy, rng: Random) -> None:
    """Write a few words at a time, with their times: as SRT, or in brackets."""
    is_srt = rng.random() < 0.5
    size = rng.randint(*_of_language(_CAPTION_WORDS, passage))
    seconds = rng.randrange(600)
    words = list(_of_language(_CAPTION_WORD, passage).finditer(passage.text))
    for number, first in enumerate(range(0, len(words), size), 1):
        until = seconds + rng.randint(2, 5)
        if is_srt:
            page.write(f"{number}\n{_clock(seconds)},000 --> {_clock(until)},000\n")
        else:
            page.write(f"[{_clock(seconds)[3:]}] ")
        previous_end = words[first].start()
        for word in words[first : first + size]:
            page.write(" " * (previous_end < word.start()))
            copy.write(*word.span())
            previous_end = word.end()
        page.write("\n\n" if is_srt else "\n")
        seconds = until


def logs(passage: Passage, page: Page, copy: Copy, rng: Random) -> None:
    """Write each sentence as a line of a log, with a time and usually a level."""
    prefix, day = rng.choice(_LOG_PREFIXES), rng.randint(1, 28)
    seconds = rng.randrange(80_000)
    for start, end in passage.sentences:
        seconds += rng.randint(1, 90)
        page.write(prefix.format(day=day, clock=_clock(seconds % 86_400), level=rng.choice(_LEVELS)))
        _write_line(copy, passage, start, end)


def bullets(passage: Passage, page: Page, copy: Copy, rng: Random) -> None:
    """Write each sentence as a list item, usually under the title."""
    bullet = rng.choice(_BULLETS[passage.language])
    if passage.title.strip() and rng.random() < 0.7:
        page.write(rng.choice(_LIST_TITLES).format(_title(passage)))
    for number, (start, end) in enumerate(passage.sentences, 1):
        page.write(bullet.format(number=number))
        _write_line(copy, passage, start, end)


def sections(pool: Pool, rng: Random) -> Page | None:
    """Two to four passages, each under its title or, without one, the keywords of its first question."""
    heading = rng.choice(_SECTION_HEADINGS[pool.language])
    page = Page()
    for number, passage in enumerate(pool.passages(rng, rng.randint(2, 4)), 1):
        title = _title(passage) or keywords(passage.questions[0].text.strip(), pool.language)
        page.write(heading.format(title=title, number=number))
        end = len(passage.text)
        if end > _LONG_SECTION and rng.random() < 0.7:
            end = passage.sentences[:_SECTION_SENTENCES][-1].end
        copy = Copy(page, passage.text)
        copy.write(0, end)
        page.write("\n\n")
        _carry_over(passage, page, copy, end)
    return page if page.questions else None


def _carry_over(passage: Passage, page: Page, copy: Copy, end: int) -> None:
    """Add the passage's questions whose answers end at `end` or before it."""
    for question in passage.questions:
        spans = [copy.locate(*answer) for answer in question.answers or () if answer.end <= end]
        if found := [span for span in spans if span]:
            page.ask(question.text.strip(), found)


def _write_line(copy: Copy, passage: Passage, start: int, end: int) -> None:
    """Write a sentence on one line."""
    copy.write(start, end, re.sub(r"\s", " ", passage.text[start:end]))
    copy.page.write("\n")


def _write_escaped(copy: Copy, passage: Passage, start: int, end: int) -> None:
    for match in _HTML_SPECIAL.finditer(passage.text, start, end):
        copy.write(start, match.start())
        copy.write(*match.span(), html.escape(match[0], quote=False))
        start = match.end()
    copy.write(start, end)


def _title(passage: Passage) -> str:
    return " ".join(passage.title.split())


def _lower(text: str) -> str:
    """Lower case, except for letters that would become two characters, such as "İ"."""
    return "".join(low if len(low := character.lower()) == 1 else character for character in text)


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _of_language(values: Mapping[str, T], passage: Passage) -> T:
    return values.get(passage.language, values["default"])
