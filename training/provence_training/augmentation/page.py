"""A page while it is written, with the positions of its answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["AskedQuestion", "Copy", "Page"]


@dataclass(frozen=True, kw_only=True)
class AskedQuestion:
    """A question and the places on its page that answer it."""

    text: str

    answers: tuple[tuple[int, int], ...]
    """Character offsets `(start, end)` into the page, at least one pair; no span begins or ends with white
    space."""

    reworded: bool
    """Whether the page words the question differently."""


class Page:
    """Text that grows piece by piece, with questions about it."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.end = 0
        """Characters written so far: where the next piece begins."""
        self._questions: dict[str, AskedQuestion] = {}

    @property
    def text(self) -> str:
        """The page without white space at its end."""
        return "".join(self._pieces).rstrip()

    @property
    def questions(self) -> list[AskedQuestion]:
        """The questions, without duplicates."""
        return list(self._questions.values())

    def write(self, text: str) -> None:
        """Add text."""
        self._pieces.append(text)
        self.end += len(text)

    def ask(self, text: str, answers: Iterable[tuple[int, int]], *, reworded: bool = False) -> None:
        """Add a question, or more answers to it if the page has it.

        Args:
            text: The question.
            answers: Spans of the text written so far. White space at their ends is trimmed; a question with
                only blank spans is not added.
            reworded: Whether the page words it differently.
        """
        before = self._questions.get(text)
        written = "".join(self._pieces)
        trimmed = (_trim(written, start, end) for start, end in answers)
        spans = dict.fromkeys([*(before.answers if before else ()), *filter(None, trimmed)])
        if spans:
            self._questions[text] = AskedQuestion(text=text, answers=tuple(spans), reworded=reworded)


class Copy:
    """Copies a text onto a page in parts, and finds its spans there.

    Args:
        page: The page.
        text: The original text.
    """

    def __init__(self, page: Page, text: str) -> None:
        self.page = page
        self._text = text
        self._parts: list[tuple[int, int, int, int]] = []  # start and end in the text, then on the page

    def write(self, start: int, end: int, rewritten: str | None = None) -> None:
        """Copy `text[start:end]`. Parts must be in order; the rest is left out.

        Args:
            start: Start of the part in the original text.
            end: Its end.
            rewritten: Text to write instead. If it has the same length, characters correspond one to one;
                otherwise all of it corresponds to the whole part.
        """
        begin = self.page.end
        self.page.write(self._text[start:end] if rewritten is None else rewritten)
        self._parts.append((start, end, begin, self.page.end))

    def locate(self, start: int, end: int) -> tuple[int, int] | None:
        """The position of `text[start:end]` on the page, as far as it was copied; None if it was not."""
        parts = [part for part in self._parts if max(start, part[0]) < min(end, part[1])]
        if not parts:
            return None
        return _offset(parts[0], max(start, parts[0][0]))[0], _offset(parts[-1], min(end, parts[-1][1]) - 1)[
            1
        ]


def _trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    content = text[start:end].lstrip()
    start = end - len(content)
    return (start, start + len(content.rstrip())) if content else None


def _offset(part: tuple[int, int, int, int], position: int) -> tuple[int, int]:
    """Start and end on the page of the character of the original at `position`."""
    start, end, begin, stop = part
    if end - start != stop - begin:
        return begin, stop
    return begin + position - start, begin + position - start + 1
