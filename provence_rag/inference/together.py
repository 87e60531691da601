"""What is kept together: following the links between sentences."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from provence_rag.chunking import Chunks, Link
from provence_rag.inference.arrays import FloatArray, IntArray, Mask

__all__ = [
    "Partners",
    "asks_how",
    "clearly_named",
    "leading",
    "outranked",
    "settled",
    "standing_out",
    "without_frames",
]


_FRAME_SCORE = -1.0
"""Below that of any sentence."""

_LEAST_ODDS = 0.2
"""Share of the best record's odds that a record has to reach beside it. Of 131 questions to tables and lists
of records, 96 % of the records that answer reach it, and 15 % of the others."""

_LEAST_RECORD = 1 / 5
"""Share of the rule's floor that the best record of a list has to reach: records have lower scores than
sentences of prose."""

_FEWEST_RIVALS = 3
_STANDS_OUT = 5.0
_LEAST_SHARE_OF_FLOOR = 1 / 50
"""A question with its answer, or a record, is kept although nothing reaches the rule's floor, if it is at
least this many times as likely as the next one, and reaches this share of the floor. Of the 120
questions of examples/faq.jsonl, asked in other words, 52 instead of 22 keep their answer; of 120 pages that
do not answer, 24 instead of 3 keep something."""

_LEAST_SHARE_OF_BEST = 0.5
"""Share of the document's best score from which a step takes the others along."""

_ASKS_HOW = re.compile(
    r"\bhow (?:do|does|did|can|could|to|should|would|must|is|are|shall)\b(?! (?:you know|long|many|much))"
    r"|\b(?:steps?|procedure|instructions?|recipe)\b"
    r"|手順|方法|やり方|仕方|(?:どう|どのように|どうやって)(?:すれば|したら|やって|行|使|し|作|変|設)|手续|步骤|怎么|如何|어떻게"
    r"|\bwie (?:kann|muss|soll|wird|werden|macht|mache|geht)\b|\bcomment\b|\bcómo\b"
    r"|\bcomo (?:faço|posso|se)\b"
    r"|\bcome (?:si|posso|faccio)\b|\bкак (?:мне|можно|сделать)\b",
    re.IGNORECASE,
)


def asks_how(query: str) -> bool:
    """Whether a question asks how something is done, so that one step of a list is no answer."""
    return _ASKS_HOW.search(query) is not None


class Partners:
    """Follows the links of one document.

    Args:
        links: The document's.
        keep_together: Whether those are followed that the text's form does not need.
        leading: Which sentences are among the best, if the question asks how something is done: these take
            the other steps along; None if it does not.
    """

    def __init__(
        self, links: Sequence[Link], *, keep_together: bool = False, leading: Mask | None = None
    ) -> None:
        self._leading = leading
        self._announced: defaultdict[int, list[int]] = defaultdict(list)
        self._needed: defaultdict[int, list[int]] = defaultdict(list)
        self._steps: defaultdict[int, list[int]] = defaultdict(list)
        for source, target, kind in links:
            if kind == "frame" or (kind == "needs" and keep_together):
                self._needed[source].append(target)
            elif keep_together and kind == "steps":
                self._steps[source].append(target)
            elif keep_together and kind != "needs":
                self._announced[source].append(target)

    def __bool__(self) -> bool:
        return bool(self._announced or self._needed or self._steps)

    def of(self, chosen: IntArray) -> IntArray:
        """The chosen sentences with what they announce and with what these need, in ascending order.

        What is only needed announces nothing: an answer takes its question along, but not the rest of the
        question's answer.
        """
        members = _reached(chosen, self._announced)
        if self._leading is not None and self._steps and len(chosen):
            members = np.union1d(members, _reached(chosen[self._leading[chosen]], self._steps))
        return self.needed_by(members)

    def needed_by(self, members: IntArray) -> IntArray:
        """The members with what they need, in ascending order."""
        return _reached(members, self._needed)


def _reached(sources: IntArray, targets: Mapping[int, Iterable[int]]) -> IntArray:
    if not targets or not len(sources):
        return sources
    waiting = sources.tolist()
    seen = set(waiting)
    while waiting:
        for target in targets.get(waiting.pop(), ()):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return np.array(sorted(seen), dtype=np.int64)


def without_frames(scores: FloatArray, chunks: Chunks) -> FloatArray:
    """The scores that sentences compete with: frames have none of their own."""
    if chunks.frames:
        scores = scores.copy()
        scores[list(chunks.frames)] = _FRAME_SCORE
    return scores


def leading(scores: FloatArray) -> Mask:
    """Which sentences are among the best of a document."""
    return np.asarray(scores >= _LEAST_SHARE_OF_BEST * scores.max(initial=0.0))


def standing_out(scores: FloatArray, chunks: Chunks, floor: float) -> IntArray:
    """What to keep where no sentence reaches the floor: the best records, or a pair that stands out.

    The model is less sure of a record, and of a page's question in other words, than of a sentence. Beside
    others of its kind the right one is known nevertheless.
    """
    rows = np.array(sorted(chunks.records), dtype=np.int64)
    if len(rows) >= _FEWEST_RIVALS and scores[rows].max() >= floor * _LEAST_RECORD:
        return rows[~outranked(scores, chunks.records)[rows]]
    rivals = [[number] for number in chunks.records]
    answers: defaultdict[int, list[int]] = defaultdict(list)
    for source, target, kind in chunks.links:
        if kind == "answer":
            answers[source].append(target)
    rivals += [[question, *own] for question, own in answers.items()]
    if len(rivals) < _FEWEST_RIVALS:
        return np.zeros(0, dtype=np.int64)
    # A pair is as likely as its question or its answer is.
    second, best = sorted((float(scores[pair].max()), pair) for pair in rivals)[-2:]
    if best[0] < floor * _LEAST_SHARE_OF_FLOOR or best[0] < _STANDS_OUT * second[0]:
        return np.zeros(0, dtype=np.int64)
    return np.array([max(best[1], key=scores.__getitem__)], dtype=np.int64)


def outranked(scores: FloatArray, records: frozenset[int]) -> Mask:
    """Which records of a table or list are far less likely than its best one.

    What a table says in its header raises all rows alike, and keep probabilities near 1 hide how they
    differ: so their odds are compared.
    """
    mask = np.zeros(len(scores), dtype=bool)
    if not records:
        return mask
    rows = np.array(sorted(records), dtype=np.int64)
    odds = scores[rows] / np.maximum(1.0 - scores[rows], 1e-9)
    mask[rows[odds < _LEAST_ODDS * odds.max()]] = True
    return mask


def clearly_named(
    names: frozenset[int], scores: FloatArray, records: frozenset[int], floor: float
) -> list[int]:
    """Which of the records that the question names are kept although others outrank them.

    Those whose score is that of a record, and the only one if it is also the best of all. Of 300 questions
    for a value in a row of a made-up table (Markdown, CSV, JSON, JSON Lines, HTML), 99.7 instead
    of 92.3 % keep it, and as many of the other rows stay.
    """
    kept = [name for name in sorted(names) if scores[name] >= _LEAST_RECORD * floor]
    if not kept and len(names) == 1 and scores[list(names)].max() >= scores[list(records)].max():
        kept = list(names)
    return kept


def settled(mask: Mask, chunks: Chunks) -> Mask:
    """The mask with the frames that kept pieces need, and without those that hold nothing."""
    partners = Partners(chunks.links)
    if not partners:
        return mask
    content = mask.copy()
    content[list(chunks.frames)] = False
    settled = np.zeros(len(mask), dtype=bool)
    settled[partners.needed_by(np.flatnonzero(content))] = True
    return settled
