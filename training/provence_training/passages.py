"""Passages with their questions, and the training examples cut from them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from provence_rag.chunking import Span
from provence_rag.inference.pair_encoder import title_line
from provence_training.collator import Example
from provence_training.loss import IGNORE

__all__ = ["Passage", "Question", "cut_window", "make_example", "sentence_labels"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question and where its passage answers it."""

    id: str
    text: str

    answers: tuple[Span, ...] | None
    """Character spans of the passage; none if it does not answer, None if the evidence is not marked."""

    relevance: float | None = None
    """Relevance of the passage in [0, 1], where the data say more than the answers do; see `label`."""

    teacher_score: float | None = None
    """A teacher's relevance logit that came with the data."""

    @property
    def label(self) -> float:
        """Relevance of the passage: as given, or 1 if it answers (at a place known or unknown), else 0."""
        return float(self.answers != ()) if self.relevance is None else self.relevance


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A passage, its sentences and its questions."""

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


def cut_window(passage: Passage, labels: Sequence[int], characters: int, rng: random.Random) -> range:
    """Choose a run of sentences of about `characters` characters, around all that are to be kept.

    Training on windows costs less than on whole passages and moves the answer to every position.

    Args:
        passage: A passage with S sentences, at least one.
        labels: 1 for a sentence to keep, shape (S,).
        characters: The run is the shortest that reaches so many, if the passage does.
        rng: Decides where it lies.

    Returns:
        Indices of the sentences.
    """
    kept = [i for i, label in enumerate(labels) if label == 1]
    first = kept[0] if kept else rng.randrange(len(passage.sentences))
    last = kept[-1] if kept else first
    spans = passage.sentences
    while spans[last].end - spans[first].start < characters and (first > 0 or last < len(spans) - 1):
        if first > 0 and (last == len(spans) - 1 or rng.random() < 0.5):
            first -= 1
        else:
            last += 1
    return range(first, last + 1)


def make_example(
    query: str,
    passage: Passage,
    window: range,
    *,
    label: float | None = None,
    pruning_labels: Sequence[int] | None = None,
    teacher_score: float | None = None,
    sentence_teacher_scores: Sequence[float] | None = None,
    with_title: bool = False,
    guided: bool = True,
) -> Example:
    """An example from a run of a passage's sentences; the spans move with the cut.

    Args:
        query: The question.
        passage: A passage with S sentences.
        window: Indices of the run's W sentences.
        label: Relevance of the run.
        pruning_labels: Of all sentences, shape (S,).
        teacher_score: A teacher's relevance logit of the run.
        sentence_teacher_scores: Its keep logits of the run's sentences, shape (W,).
        with_title: Put the title in front, as a sentence of its own which is not learned from.
        guided: Whether a guide is learned from.
    """
    spans = [passage.sentences[i] for i in window]
    start = spans[0].start
    example = Example(
        query=query,
        document=passage.text[start : spans[-1].end],
        sentences=[Span(s.start - start, s.end - start) for s in spans],
        label=label,
        pruning_labels=None if pruning_labels is None else [pruning_labels[i] for i in window],
        teacher_score=teacher_score,
        sentence_teacher_scores=sentence_teacher_scores,
        guided=guided,
    )
    return _put_title(example, passage.title) if with_title and passage.title.strip() else example


def _put_title(example: Example, title: str) -> Example:
    line = title_line(title)
    shift = len(line)
    labels, scores = example.pruning_labels, example.sentence_teacher_scores
    return replace(
        example,
        document=line + example.document,
        sentences=[Span(0, shift - 1), *(Span(s.start + shift, s.end + shift) for s in example.sentences)],
        pruning_labels=None if labels is None else [IGNORE, *labels],
        sentence_teacher_scores=None if scores is None else [math.nan, *scores],
    )
