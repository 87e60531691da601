"""Questions with passages of known relevance, from two kinds of files, that models are evaluated on."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, TypeAdapter

from provence_rag.chunking import Span
from provence_rag.errors import InvalidInputError
from provence_rag.languages import check_language
from provence_training.data import JSON_LINES, Passage, Question, load_passages, read_json_lines
from provence_training.data.shapes import Integer, Text, Words, validated
from provence_training.evaluation.bm25 import BM25

__all__ = ["Topic", "TopicSet", "answered_topics", "load_topics"]


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
    """Grades of the best possible ranking, best first."""

    relevant_grade: int = 1
    """Lowest grade of a document that counts as relevant where relevance is yes or no."""

    first_stage: tuple[float, ...]
    """Each document's score without a model."""

    answers: tuple[Span, ...] | None
    """Spans of the first document that answer; None if they are not marked, so that only the ranking can be
    evaluated."""


@dataclass(frozen=True, kw_only=True)
class TopicSet:
    """The topics of a file."""

    name: str

    topics: tuple[Topic, ...]

    first_stage: str
    """The source of the scores in `Topic.first_stage`."""

    has_answers: bool
    """Whether the file has answer spans, not ranked documents."""


def load_topics(
    path: str | Path, *, distractors: int = 9, limit: int | None = None, relevant_grade: int = 1
) -> TopicSet:
    """Read a file with answers or with ranked documents.

    - **Answers**, in any of the shapes and formats of `load_passages`: each question meets its own passage
      and the best BM25 passages of the file, in the same language, that are not known to answer it. Questions
      that their passage does not answer are left out.
    - **Ranked documents**, JSON Lines, plain or gzip-compressed: `{"id", "lang", "query", "ideal_grades":
      [grade, ...], "documents": [{"id", "text", "grade"}]}`, the documents in the order of the search engine
      that found them. A grade of null (not judged) counts as 0.

    Args:
        path: The file, or a directory of `datasets`.
        distractors: Other passages that a question with answer spans meets.
        limit: Questions, at most, in a random sample, the same each time; None takes all.
        relevant_grade: Lowest grade of a relevant document.

    Raises:
        InvalidInputError: A record cannot be used (the message names file and line), or no question has an
            answer.
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
        raise InvalidInputError(f"{path} has no question that its passage answers: nothing can be evaluated")
    return TopicSet(
        name=path.name.split(".")[0],
        topics=tuple(topics),
        first_stage="BM25" if has_answers else "given order",
        has_answers=has_answers,
    )


def _sample(items: list[Any], limit: int | None) -> list[Any]:
    return items if limit is None or limit >= len(items) else random.Random(0).sample(items, limit)


class _Document(BaseModel):
    text: Text
    grade: Integer | None


class _Ranked(BaseModel):
    """A question with ranked documents."""

    lang: Text
    query: Words
    ideal_grades: list[Integer]
    documents: list[_Document]


_RANKED = TypeAdapter(_Ranked)


def _ranked(record: Any, relevant_grade: int, place: str) -> Topic:
    try:
        ranked = validated(_RANKED, record)
        language = check_language(ranked.lang)
    except InvalidInputError as error:
        raise InvalidInputError(f"{place}: {error}") from error
    return Topic(
        query=ranked.query,
        language=language,
        documents=tuple(document.text for document in ranked.documents),
        grades=tuple(document.grade or 0 for document in ranked.documents),
        ideal_grades=tuple(sorted(ranked.ideal_grades, reverse=True)),
        relevant_grade=relevant_grade,
        first_stage=tuple(float(-rank) for rank in range(len(ranked.documents))),
        answers=None,
    )


def _answered(passages: Sequence[Passage], distractors: int, limit: int | None) -> list[Topic]:
    asked = [(number, q) for number, p in enumerate(passages) for q in p.questions if q.is_answered]
    return answered_topics(passages, _sample(asked, limit), distractors)


def answered_topics(
    passages: Sequence[Passage], asked: Sequence[tuple[int, Question]], distractors: int
) -> list[Topic]:
    """A topic for each of some questions: its own passage, then its best BM25 passages, best first.

    Args:
        passages: All passages of a file.
        asked: Questions that their passage answers, each after the number of that passage.
        distractors: Other passages in the same language, not known to answer it, that a question meets.
    """
    topics: list[Topic] = []
    if not asked:
        return topics
    answering: dict[str, set[str]] = defaultdict(set)
    for passage in passages:
        for question in passage.questions:
            if question.is_answered:
                answering[question.text].add(passage.text)
    index = BM25([p.text for p in passages])
    for number, question in asked:
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
