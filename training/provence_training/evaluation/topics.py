"""What a model is judged on: questions with passages of known relevance, from two kinds of files."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from provence_rag.chunking import Span
from provence_rag.errors import InvalidInputError
from provence_training.data import JSON_LINES, Passage, Question, load_passages, read_json_lines
from provence_training.evaluation.bm25 import BM25

__all__ = ["Topic", "TopicSet", "load_topics"]


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A question with D documents."""

    query: str

    language: str
    """ISO 639-1 code of the documents."""

    documents: tuple[str, ...]

    grades: tuple[int, ...]
    """Relevance of each document, 0 for none."""

    ideal_grades: tuple[int, ...]
    """Grades of the best ranking there could be, best first."""

    relevant_grade: int = 1
    """Grade from which a document is relevant, where that is yes or no."""

    first_stage: tuple[float, ...]
    """The score that each document has without a model."""

    answers: tuple[Span, ...] | None
    """Spans of the first document that answer; None if none are marked: the ranking alone can be judged."""


@dataclass(frozen=True, kw_only=True)
class TopicSet:
    """The topics of a file."""

    name: str

    topics: tuple[Topic, ...]

    first_stage: str
    """What `Topic.first_stage` are the scores of."""

    has_answers: bool
    """Whether the file is one with answer spans."""


def load_topics(
    path: str | Path, *, distractors: int = 9, limit: int | None = None, relevant_grade: int = 1
) -> TopicSet:
    """Read a file with answers or one with ranked documents.

    - **Answers**, in any of the shapes and formats of `load_passages`: each question meets its own passage
      and the best BM25 passages of the file, in the same language, that are not known to answer it. Questions
      that their passage does not answer are not asked.
    - **Ranked documents**, JSON Lines, plain or gzip-compressed: `{"id", "lang", "query", "ideal_grades":
      [grade, ...], "documents": [{"id", "text", "grade"}]}`, the documents in the order of the search engine
      that found them; a grade of null (not judged) counts as 0.

    Args:
        path: The file, or a directory of `datasets`.
        distractors: How many passages a question with answer spans meets beside its own.
        limit: Take a random sample of so many questions, the same each time; None takes all.
        relevant_grade: Grade from which a ranked document is relevant.

    Raises:
        InvalidInputError: A record cannot be used (it names file and line), or there is nothing to judge.
    """
    path = Path(path)
    if not path.exists():
        raise InvalidInputError(f"{path} does not exist")
    records = read_json_lines(str(path)) if path.name.endswith(JSON_LINES) else iter(())
    first = next(records, None)
    has_answers = first is None or not (isinstance(first[1], dict) and "documents" in first[1])
    if has_answers:
        topics = _answered(load_passages(path), distractors, limit)
    else:
        chosen = _sample([first, *records], limit)
        topics = [_ranked(record, relevant_grade, place) for place, record in chosen]
    if not topics:
        raise InvalidInputError(f"{path} has no question that its passage answers: there is nothing to judge")
    return TopicSet(
        name=path.name.split(".")[0],
        topics=tuple(topics),
        first_stage="BM25" if has_answers else "given order",
        has_answers=has_answers,
    )


def _sample(items: list[Any], limit: int | None) -> list[Any]:
    return items if limit is None or limit >= len(items) else random.Random(0).sample(items, limit)


def _ranked(record: dict[str, Any], relevant_grade: int, place: str) -> Topic:
    try:
        documents = record["documents"]
        return Topic(
            query=record["query"],
            language=record["lang"],
            documents=tuple(document["text"] for document in documents),
            grades=tuple(int(document["grade"] or 0) for document in documents),
            ideal_grades=tuple(sorted(map(int, record["ideal_grades"]), reverse=True)),
            relevant_grade=relevant_grade,
            first_stage=tuple(float(-rank) for rank in range(len(documents))),
            answers=None,
        )
    except KeyError as error:
        raise InvalidInputError(f"{place}: there is no field {error}") from error
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{place}: {error}") from error


def _answered(passages: Sequence[Passage], distractors: int, limit: int | None) -> list[Topic]:
    asked = [(number, q) for number, p in enumerate(passages) for q in p.questions if _is_answered(q)]
    topics: list[Topic] = []
    if not asked:
        return topics
    answering: dict[str, set[str]] = defaultdict(set)
    for number, question in asked:
        answering[question.text].add(passages[number].text)
    index = BM25([p.text for p in passages])
    for number, question in _sample(asked, limit):
        own = passages[number]
        scores = index.scores(question.text)
        order = np.argsort(-scores, kind="stable").tolist()
        candidates = (
            i
            for i in order
            if passages[i].sentences
            and passages[i].language == own.language
            and passages[i].text not in answering[question.text]
        )
        found = list(islice(candidates, distractors))
        rows = [number, *found]
        topics.append(
            Topic(
                query=question.text,
                language=own.language,
                documents=tuple(passages[i].text for i in rows),
                grades=(1, *[0] * len(found)),
                ideal_grades=(1,),
                first_stage=tuple(scores[rows].tolist()),
                answers=question.answers,
            )
        )
    return topics


def _is_answered(question: Question) -> bool:
    """Whether the passage answers: at a place that is marked, or relevant as a whole."""
    return bool(question.answers) if question.answers is not None else (question.label or 0.0) >= 0.5
