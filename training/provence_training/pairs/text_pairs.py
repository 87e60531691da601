"""Pairs as text, for teachers, which have their own tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provence_rag.chunking import Span
from provence_training.data.passages import Passage
from provence_training.pairs.packing import asked_questions, readable
from provence_training.pairs.pair_set import Kind, PairSet

__all__ = ["TextPair", "text_pairs"]


@dataclass(frozen=True, kw_only=True)
class TextPair:
    """A question with a run of sentences of a passage."""

    question: str
    """The question in its original words."""

    question_source: str
    """The data set of the question."""

    passage: Passage

    window: range
    """Indices of the passage's sentences, at least one."""

    kind: Kind
    """How the passage was found."""

    label: float | None
    """Relevance of the question's own passage."""

    @property
    def text(self) -> str:
        """The run of sentences."""
        return self.passage.text[self._start : self.passage.sentences[self.window[-1]].end]

    @property
    def sentences(self) -> list[Span]:
        """The run's sentences as spans of `text`."""
        spans = [self.passage.sentences[i] for i in self.window]
        return [Span(span.start - self._start, span.end - self._start) for span in spans]

    @property
    def _start(self) -> int:
        return self.passage.sentences[self.window[0]].start


def text_pairs(pairs: PairSet, passages: Sequence[Passage], indices: NDArray[np.int64]) -> list[TextPair]:
    """The text of some pairs' first windows.

    Args:
        pairs: Of the pack that was made of the passages.
        passages: All of them.
        indices: Pairs with passages of text, not with junk.
    """
    pack = pairs.pack
    texts, asked = readable(passages), asked_questions(passages)
    windows = pairs.windows[indices, 0]
    numbers = np.searchsorted(pack.passages, windows[:, 0], "right") - 1
    windows = windows - pack.passages[numbers][:, None]
    found = zip(pairs.questions[indices], numbers, windows, pairs.kinds[indices], strict=True)
    return [
        TextPair(
            question=asked[question].question.text,
            question_source=asked[question].holder.source,
            passage=texts[number],
            window=range(*window.tolist()),
            kind=Kind(kind),
            label=asked[question].question.label,
        )
        for question, number, window, kind in found
    ]
