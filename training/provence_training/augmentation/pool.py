"""The material of pages in one language: passages, and single questions with their answers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from provence_training.augmentation.wordings import Wordings, as_printed, same_words

if TYPE_CHECKING:  # the command line lists the forms without loading numpy and torch
    from provence_training.data.passages import Passage, Question

__all__ = ["Entry", "Item", "Pool"]

_LONGEST_PASSAGE = 2500
_LONGEST_QUESTION, _LONGEST_ANSWER, _LONGEST_SENTENCE = 140, 160, 400
"""In characters; longer items are no entries of a list."""

_ENTRIES = (3, 9)
_PAGE_CHARACTERS = {"ja": 600, "default": 1400}
"""A page of entries is full when their answering sentences have this many characters."""

_SIBLINGS = 0.3
"""Chance that another question about the same passage follows, since pages have a topic."""

_LARGEST_SOURCE = 4000
"""Number of items above which a data set is not drawn more often."""

_CANDIDATES = 30
"""Items considered for the entries of one page."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1b\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML forbids."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A question with its answer. All texts are on one line."""

    source: str
    """Name of the data set."""
    passage_id: str
    question: str
    answers: tuple[str, ...]
    """The texts of the answer spans, each once."""
    parts: tuple[str, ...]
    """The answers that are not part of another one, for lists."""
    sentence: str
    """The sentences that the first answer touches."""
    following: str
    """The sentence after them; empty at the end of the passage or a paragraph."""

    @property
    def answer(self) -> str:
        """The first answer."""
        return self.answers[0]

    def confuses(self, other: Item) -> bool:
        """Whether the other item may answer this question as well."""
        text = f"{other.question} {other.sentence} {other.following}".casefold()
        return same_words(self.question, other.question) or any(a.casefold() in text for a in self.answers)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An item on a page."""

    item: Item
    printed: str
    """The question as the page words it."""
    query: str
    """The question as the query words it."""
    reworded: bool
    """Whether the two wordings differ on purpose."""


class Pool:
    """Draws from the passages of a language.

    Args:
        passages: Passages with questions; those without a marked answer are not used.
        language: One of `LANGUAGES`.
        wordings: Source of other wordings.
        paraphrase: Share of the entries, in [0, 1], whose query words the question differently from the page.
    """

    def __init__(
        self, passages: Sequence[Passage], language: str, wordings: Wordings, paraphrase: float
    ) -> None:
        self.language = language
        self._wordings = wordings
        self._paraphrase = paraphrase
        answered = [p for p in passages if p.language == language and _is_answered(p)]
        self.size = len(answered)
        self._passages = [p for p in answered if len(p.text) <= _LONGEST_PASSAGE]
        self._items: dict[str, list[Item]] = defaultdict(list)
        self._lists: dict[str, list[Item]] = defaultdict(list)
        self._siblings: dict[tuple[str, str], list[Item]] = defaultdict(list)
        for passage in answered:
            for item in _items(passage):
                self._items[item.source].append(item)
                if len(item.parts) > 1:
                    self._lists[item.source].append(item)
                self._siblings[item.source, item.passage_id].append(item)

    def passages(self, rng: Random, count: int) -> list[Passage]:
        """At most `count` random passages with different titles; long ones are never drawn."""
        drawn = rng.sample(self._passages, min(count, len(self._passages)))
        return list({passage.title or passage.id: passage for passage in drawn}.values())

    def entries(self, rng: Random, *, lists: bool = False) -> list[Entry]:
        """Entries for a page, from one data set. No entry answers the question of another.

        Args:
            rng: Random generator.
            lists: Draw items with several answers, if possible.
        """
        sources = (lists and self._lists) or self._items
        items = self._draw_items(list(sources.values()), rng) if sources else []
        taken = [item.question for item in items]
        return [self._entry(item, taken, rng) for item in items]

    def filler(self, entries: Sequence[Entry], rng: Random) -> str:
        """A sentence of another passage that answers none of the entries; empty if none is found."""
        items = [entry.item for entry in entries]
        source = self._items[items[0].source]
        for other in rng.sample(source, min(len(source), _CANDIDATES)):
            is_elsewhere = all(other.passage_id != item.passage_id for item in items)
            if is_elsewhere and not any(item.confuses(other) for item in items):
                return other.sentence
        return ""

    def _draw_items(self, sources: Sequence[Sequence[Item]], rng: Random) -> list[Item]:
        (source,) = rng.choices(sources, [min(len(items), _LARGEST_SOURCE) for items in sources])
        most = rng.randint(*_ENTRIES)
        characters = _PAGE_CHARACTERS.get(self.language, _PAGE_CHARACTERS["default"])
        chosen: list[Item] = []
        for item in self._candidates(source, rng):
            if not any(item.confuses(other) or other.confuses(item) for other in chosen):
                chosen.append(item)
            if len(chosen) == most or sum(len(other.sentence) for other in chosen) >= characters:
                break
        return chosen

    def _candidates(self, source: Sequence[Item], rng: Random) -> Iterator[Item]:
        for item in rng.sample(source, min(len(source), _CANDIDATES)):
            yield item
            if rng.random() < _SIBLINGS:
                yield rng.choice(self._siblings[item.source, item.passage_id])

    def _entry(self, item: Item, taken: list[str], rng: Random) -> Entry:
        """An entry; `taken` has the page's questions so far, none of which may be its other wording."""
        other = None
        if rng.random() < self._paraphrase:
            other = self._wordings.other(item.question, self.language, rng)
        if other is None or any(same_words(other, question) for question in taken):
            printed = as_printed(item.question, self.language, rng)
            return Entry(item=item, printed=printed, query=item.question, reworded=False)
        taken.append(other)
        printed, query = rng.sample([item.question, other], 2)
        return Entry(item=item, printed=printed, query=query, reworded=True)


def _is_answered(passage: Passage) -> bool:
    return bool(passage.sentences) and any(question.answers for question in passage.questions)


def _items(passage: Passage) -> Iterator[Item]:
    for question in passage.questions:
        if item := _item(passage, question):
            yield item


def _item(passage: Passage, question: Question) -> Item | None:
    """The question as an item; None if it has no short answer within the sentences of one paragraph."""
    text, sentences = passage.text, passage.sentences
    if not question.answers:
        return None
    first = question.answers[0]
    touched = [i for i, s in enumerate(sentences) if s.start < first.end and first.start < s.end]
    if not touched:
        return None
    start, end = sentences[touched[0]].start, sentences[touched[-1]].end
    following = ""
    if touched[-1] + 1 < len(sentences):
        after = sentences[touched[-1] + 1]
        if "\n" not in text[end : after.end]:
            following = _one_line(text[after.start : after.end])
    spans = [_one_line(text[start:end]) for start, end in question.answers]
    answers = tuple(dict.fromkeys(filter(None, spans)))
    item = Item(
        source=passage.source,
        passage_id=passage.id,
        question=_one_line(question.text),
        answers=answers,
        parts=tuple(a for a in answers if not any(a in other for other in answers if other != a)),
        sentence=_one_line(text[start:end]),
        following=following,
    )
    is_short = (
        len(item.question) <= _LONGEST_QUESTION
        and all(len(answer) <= _LONGEST_ANSWER for answer in item.answers)
        and len(item.sentence) <= _LONGEST_SENTENCE
    )
    has_words = item.answers and re.search(r"\w", item.question)
    return item if has_words and is_short and "\n" not in text[start:end] else None


def _one_line(text: str) -> str:
    return " ".join(_UNPRINTABLE.sub("", text).split())
