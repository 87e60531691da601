"""Questions for QA evaluation, from files and from retrievers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter

from provence_rag.chunking import MultilingualChunker, detect_language
from provence_rag.errors import InvalidInputError
from provence_rag.languages import check_language
from provence_rag.validation import check_count, shown
from provence_training.data import (
    JSON_LINES,
    Passage,
    Question,
    load_passages,
    read_json_lines,
    sentence_labels,
)
from provence_training.data.shapes import Identifier, Text, Words, validated
from provence_training.evaluation.topics import Topic, answered_topics
from provence_training.qa.metrics import occurs
from provence_training.qa.questions import QAQuestion

__all__ = ["load_questions", "retrieved_questions"]

T = TypeVar("T")

_NO_SPACE = ("ja", "zh")
"""Languages that put nothing between sentences."""


def load_questions(path: str | Path, *, k: int, limit: int | None = None) -> list[QAQuestion]:
    """Read questions with answers, of one of two kinds.

    - **Marked answers**, in any of the shapes and formats of `load_passages`: each question meets its own
      passage among the best BM25 passages of the file, in the same language, that are not known to answer it,
      in the order of their BM25 scores. Each begins with its title, if it has one, in a line of its own.
      Questions without marked answers are left out.
    - **Retrieved passages**, JSON Lines, plain or gzip-compressed: `{"question", "answers": [text, ...],
      "passages": [text, ...]}`, the passages as a retriever found them, with or without `id` and `lang`.

    Args:
        path: The file, or a directory of `datasets`.
        k: Passages of a question, at most.
        limit: Questions, at most, in a random sample: the same each time, and a smaller one is part of a
            larger one. None takes all.

    Raises:
        InvalidInputError: A record cannot be used (the message names file and line), or no question has an
            answer.
    """
    check_count("k", k, 1)
    if limit is not None:
        check_count("limit", limit, 1)
    if not Path(path).exists():
        raise InvalidInputError(f"{path} does not exist")
    records = read_json_lines(str(path)) if str(path).endswith(JSON_LINES) else iter(())
    first = next(records, None)
    if first is not None and isinstance(first[1], dict) and "passages" in first[1]:
        return [_read(record, place, k) for place, record in _sample([first, *records], limit)]
    passages = load_passages(path)
    asked = [(number, q) for number, p in enumerate(passages) for q in p.questions if q.answers]
    if not asked:
        raise InvalidInputError(f"{path} has no question with marked answers: no reply can be judged")
    asked = _sample(asked, limit)
    topics = answered_topics(passages, asked, k - 1)
    titles = {passage.text: passage.title for passage in passages}
    return [
        _marked(passages[number], question, topic, titles)
        for (number, question), topic in zip(asked, topics, strict=True)
    ]


def retrieved_questions(
    retriever: Any, questions: Iterable[Mapping[str, Any]], *, k: int
) -> list[QAQuestion]:
    """Ask a retriever for the passages of questions.

    Args:
        retriever: A retriever of LangChain (`invoke`) or LlamaIndex (`retrieve`), or a query engine of
            LlamaIndex, whose retriever is asked: its postprocessors are left out, since strategies take
            their place.
        questions: `{"question", "answers": [text, ...]}`, with or without `id` and `lang`.
        k: Passages of a question, at most; the retriever should find as many.

    Raises:
        InvalidInputError: It is not a retriever, or a question cannot be used.
    """
    check_count("k", k, 1)
    retrieve = _retrieval(retriever)
    found = []
    for number, record in enumerate(questions):
        asked = validated(_ASKED, dict(record), f"questions[{number}]")
        found.append(_question(asked, retrieve(asked.question)[:k], f"questions[{number}]"))
    return found


def _sample(items: list[T], limit: int | None) -> list[T]:
    """A random sample whose beginning is a smaller sample."""
    items = list(items)
    random.Random(0).shuffle(items)
    return items[:limit]


def _marked(
    passage: Passage, question: Question, topic: Topic, titles: Mapping[str, str | None]
) -> QAQuestion:
    assert question.answers is not None
    evidence = _evidence(passage, sentence_labels(passage.sentences, question.answers))
    order = sorted(range(len(topic.documents)), key=lambda i: -topic.first_stage[i])
    answers = (passage.text[span.start : span.end].strip() for span in question.answers)
    return QAQuestion(
        id=question.id,
        text=question.text,
        language=topic.language,
        answers=tuple(dict.fromkeys(answer for answer in answers if answer)),
        passages=tuple(_titled(topic.documents[i], titles[topic.documents[i]]) for i in order),
        own=order.index(0),
        evidence=_titled(evidence, passage.title) if evidence else evidence,
    )


def _titled(text: str, title: str | None) -> str:
    """A text after its title: an LLM that reads a sentence of it has to know what it is about."""
    return text if title is None or text.startswith(title) else f"{title}\n{text}"


def _evidence(passage: Passage, labels: Sequence[int]) -> str:
    """The labelled sentences, neighbours with what is between them."""
    labelled = zip(labels, passage.sentences, strict=True)
    runs = [[span for _, span in run] for kept, run in groupby(labelled, lambda pair: pair[0]) if kept]
    parts = [passage.text[run[0].start : run[-1].end] for run in runs]
    return ("" if passage.language in _NO_SPACE else " ").join(parts)


class _Asked(BaseModel):
    """A question with the texts that answer it."""

    id: Identifier | None = None
    lang: Text | None = None
    question: Words
    answers: list[Words] = Field(min_length=1)


class _Retrieved(_Asked):
    """The same with passages."""

    passages: list[Text]


_ASKED = TypeAdapter(_Asked)
_RETRIEVED = TypeAdapter(_Retrieved)


def _read(record: Any, place: str, k: int) -> QAQuestion:
    try:
        retrieved = validated(_RETRIEVED, record)
        return _question(retrieved, retrieved.passages[:k], place)
    except InvalidInputError as error:
        raise InvalidInputError(f"{place}: {error}") from error


def _question(asked: _Asked, passages: Sequence[str], default_id: str) -> QAQuestion:
    language = check_language(asked.lang or "auto")
    if language == "auto":
        language = detect_language("\n".join(passages) or asked.question)
    chunker = MultilingualChunker(language)
    sentences = [text[span.start : span.end] for text in passages for span in chunker.spans(text)]
    evidence = [sentence for sentence in sentences if occurs(asked.answers, sentence, language)]
    return QAQuestion(
        id=default_id if asked.id is None else asked.id,
        text=asked.question,
        language=language,
        answers=tuple(dict.fromkeys(asked.answers)),
        passages=tuple(passages),
        evidence=("" if language in _NO_SPACE else " ").join(evidence),
    )


def _retrieval(retriever: Any) -> Any:
    """A function from a question to the texts that are found."""
    if callable(getattr(retriever, "invoke", None)):
        return lambda text: [document.page_content for document in retriever.invoke(text)]
    source = getattr(retriever, "retriever", retriever)
    if callable(getattr(source, "retrieve", None)):
        return lambda text: [node.get_content() for node in source.retrieve(text)]
    raise InvalidInputError(
        "retriever must be one of LangChain (with `invoke`) or LlamaIndex (with `retrieve`), or a query "
        f"engine of LlamaIndex, got {shown(retriever)}"
    )
