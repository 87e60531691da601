"""Passages with their questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from provence_rag.chunking import Span

__all__ = ["Passage", "Question", "sentence_labels"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question and where its passage answers it."""

    id: str
    text: str

    answers: tuple[Span, ...] | None
    """Character spans of the passage: empty if it does not answer, None if the evidence is not marked."""

    relevance: float | None = None
    """Relevance of the passage in [0, 1], if the data have one besides the answers; see `label`."""

    teacher_score: float | None = None
    """A teacher's relevance logit from the data."""

    is_judged: bool = True
    """Whether the passage is known to be relevant or not; otherwise only a teacher can tell."""

    @property
    def label(self) -> float | None:
        """Relevance of the passage: as given, or 1 if it answers (at a marked place or not), else 0.

        None if it is not known.
        """
        if not self.is_judged:
            return None
        return float(self.answers != ()) if self.relevance is None else self.relevance

    @property
    def is_answered(self) -> bool:
        """Whether the passage answers: at a marked place, or as a whole with a relevance of at least 0.5."""
        return bool(self.answers) if self.answers is not None else (self.label or 0.0) >= 0.5


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A passage, its sentences and its questions.

    Questions without a passage belong to a passage without text.
    """

    id: str
    source: str
    """Name of the data set."""
    language: str
    title: str
    text: str
    sentences: tuple[Span, ...]
    questions: tuple[Question, ...]


def sentence_labels(sentences: Sequence[Span], answers: Sequence[Span]) -> list[int]:
    """1 for each sentence that an answer touches, else 0."""
    return [int(any(a.start < s.end and s.start < a.end for a in answers)) for s in sentences]
