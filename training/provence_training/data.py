"""Question answering records, and the training examples drawn from them."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from provence_rag.chunking import MultilingualChunker, Span
from provence_rag.errors import InvalidInputError
from provence_training.collator import Example
from provence_training.loss import IGNORE

__all__ = ["Passage", "Question", "cut_window", "load_passages", "make_example", "sentence_labels"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question and where its passage answers it."""

    id: str
    text: str
    answers: tuple[Span, ...] | None
    """Character spans of the passage; none if it does not answer, None if the evidence is not marked."""


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


def load_passages(path: str | Path) -> list[Passage]:
    """Read passages with answer spans from JSON Lines, plain or gzip-compressed.

    A record is `{"id", "lang", "title", "text", "questions": [{"id", "question", "answers": [{"start",
    "end"}] | null}]}`.

    Raises:
        InvalidInputError: A record lacks a field or has a span outside its text; it names file and line.
    """
    path = Path(path)
    source = path.name.split(".")[0]
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    passages = []
    # Not str.splitlines: JSON strings may hold line separators that are not newlines.
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            passages.append(_passage(json.loads(line), source))
        except KeyError as error:
            raise InvalidInputError(f"{path}:{number}: there is no field {error}") from error
        except (TypeError, ValueError) as error:  # no JSON, a wrong type, or one of ours
            raise InvalidInputError(f"{path}:{number}: {error}") from error
    return passages


def _passage(record: dict[str, Any], source: str) -> Passage:
    text = record["text"]
    questions = []
    for q in record["questions"]:
        spans = None if q["answers"] is None else tuple(Span(a["start"], a["end"]) for a in q["answers"])
        for span in spans or ():
            if not 0 <= span.start < span.end <= len(text):
                raise InvalidInputError(f"question {q['id']}: answer {tuple(span)} is outside the text")
        questions.append(Question(id=q["id"], text=q["question"], answers=spans))
    return Passage(
        id=record["id"],
        source=source,
        language=record["lang"],
        title=record["title"],
        text=text,
        sentences=tuple(MultilingualChunker(record["lang"]).spans(text)),
        questions=tuple(questions),
    )


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
    label: float | None,
    pruning_labels: Sequence[int] | None,
    with_title: bool = False,
) -> Example:
    """An example from a run of a passage's sentences; the spans move with the cut.

    With a title, it goes in front as a sentence of its own, which is not learned from.
    """
    spans = [passage.sentences[i] for i in window]
    start = spans[0].start
    example = Example(
        query=query,
        document=passage.text[start : spans[-1].end],
        sentences=[Span(s.start - start, s.end - start) for s in spans],
        label=label,
        pruning_labels=None if pruning_labels is None else [pruning_labels[i] for i in window],
    )
    title = passage.title.strip()
    return _put_title(example, title) if with_title and title else example


def _put_title(example: Example, title: str) -> Example:
    shift = len(title) + 1
    labels = example.pruning_labels
    return replace(
        example,
        document=f"{title}\n{example.document}",
        sentences=[Span(0, len(title)), *(Span(s.start + shift, s.end + shift) for s in example.sentences)],
        pruning_labels=None if labels is None else [IGNORE, *labels],
    )
