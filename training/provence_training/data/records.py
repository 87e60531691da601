"""The shapes of training records, and the passages that they become."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from provence_rag.chunking import MultilingualChunker, Span, detect_language
from provence_rag.errors import InvalidInputError
from provence_training.data.fields import (
    Fields,
    check_flags,
    check_indices,
    check_number,
    check_share,
    check_span,
    check_spans,
    expect,
)
from provence_training.data.passages import Passage, Question
from provence_training.data.tables import read_table

__all__ = ["TeacherColumn", "parse_record"]

_NO_SPACE = ("ja", "zh")
"""Languages that put nothing between sentences."""

_SURE = 1e-4
"""A teacher's probabilities are taken as at least so far from 0 and 1, whose logits are infinite."""


@dataclass(frozen=True)
class TeacherColumn:
    """A field with a teacher's relevance scores."""

    name: str
    scale: Literal["probability", "logit"] = "probability"

    def logit(self, value: Any, path: str) -> float:
        """A score as a logit."""
        if self.scale == "logit":
            return check_number(value, path)
        probability = min(max(check_share(value, path), _SURE), 1 - _SURE)
        return math.log(probability / (1 - probability))


def parse_record(
    record: Any,
    *,
    source: str,
    default_id: str,
    teacher: TeacherColumn | None = None,
    title_queries: bool = False,
) -> list[Passage]:
    """Turn a record of any shape into passages.

    A record with `rows` is a table, one with `questions` has answer spans, one with `sentences` has labelled
    sentences, one with `texts` is in OpenProvence's context-relevance format, and one with a `question` alone
    has no passage. Fields that its shape does not have are not looked at.

    Args:
        record: A mapping, as JSON or a data set gives it.
        source: Name of the data set.
        default_id: Id of a record without one.
        teacher: A teacher's scores that are to be used; every record has to have them.
        title_queries: Take the title of a passage without questions as its query.

    Returns:
        One passage, or one for each of the `texts`. A question without a passage is that of a passage without
        text.

    Raises:
        InvalidInputError: A field is missing or wrong; the message names it.
    """
    fields = Fields(record)
    reader = _Reader(fields, source, fields.identifier(default_id), teacher)
    if "rows" in fields:
        return [reader.table()]
    if "questions" in fields:
        return [reader.titled() if title_queries and not fields.get("questions") else reader.answer_spans()]
    if "sentences" in fields:
        return [reader.labelled_sentences()]
    if "texts" in fields:
        return reader.context_relevance()
    if "text" in fields and title_queries:
        return [reader.titled()]
    if "question" in fields and {*fields} <= {"id", "lang", "question", *([teacher.name] if teacher else ())}:
        return [reader.question()]
    hint = ": a text without questions needs title_queries, or an empty list of them" * ("text" in fields)
    raise InvalidInputError(
        "the record has none of the fields questions (answer spans), sentences (labelled sentences), texts "
        "(context relevance), rows (a table) and question (alone), but "
        f"{', '.join(fields) or 'nothing'}{hint}"
    )


class _Reader:
    """Reads one record."""

    def __init__(self, record: Fields, source: str, record_id: str, teacher: TeacherColumn | None) -> None:
        self._record = record
        self._source = source
        self._id = record_id
        self._teacher = teacher
        self._given_language = record.string("lang", "auto")
        try:
            self._chunker = _chunker(self._given_language)
        except InvalidInputError as error:
            raise InvalidInputError(f"lang: {error}") from error

    def answer_spans(self) -> Passage:
        """`{"text", "questions": [{"question", "answers": [{"start", "end"}] | null}]}`."""
        text = self._record.string("text")
        questions = self._questions(lambda fields: _answers(fields, text))
        return self._passage(self._id, text, self._chunker.spans(text), questions)

    def question(self) -> Passage:
        """`{"question"}`: a passage without text, of which nothing is known."""
        text = self._record.question("question")
        question = self._unjudged(text)
        return replace(self._passage(self._id, "", [], [question]), language=self._language(text))

    def titled(self) -> Passage:
        """`{"title", "text"}`: the title is the query, if it has words."""
        text, title = self._record.string("text"), self._record.string("title", "").strip()
        question = self._unjudged(title)
        return self._passage(self._id, text, self._chunker.spans(text), [question] if title else [])

    def table(self) -> Passage:
        """`{"header", "rows", "questions": [{"question", "answers": [{"row", "column"?}] | null}]}`."""
        table = read_table(self._record)
        questions = self._questions(table.answers)
        return self._passage(self._id, table.text, self._chunker.spans(table.text), questions)

    def labelled_sentences(self) -> Passage:
        """`{"query", "sentences": [...], "labels": [0 | 1] | null}`."""
        text, spans = self._text_and_spans()
        labels = self._record.get("labels")
        if labels is not None:
            labels = check_flags(labels, "labels", len(spans), "sentences")
        question = Question(
            id=self._id,
            text=self._record.question("query"),
            answers=None if labels is None else _chosen(spans, labels),
            relevance=self._record.share("relevance"),
            teacher_score=self._teacher_score(self._record),
        )
        return self._passage(self._id, text, spans, [question])

    def context_relevance(self) -> list[Passage]:
        """`{"query", "texts": [...], "labels", "context_spans", "context_spans_relevance"}`.

        The older names are `chunks_pos` for the spans, and `relevant_chunks`, which holds the indices of the
        relevant ones, for their relevance.
        """
        query, texts = self._record.question("query"), self._record.array("texts")
        for number, text in enumerate(texts):
            expect(isinstance(text, str), f"texts[{number}]", "a string", text)
        labels = self._record.parallel("labels", len(texts), "texts")
        scores = None
        if self._teacher is not None:
            self._record.get(self._teacher.name)
            scores = self._record.parallel(self._teacher.name, len(texts), "texts")
        passages = []
        for number, text in enumerate(texts):
            sentences = self._given_spans(number, texts)
            answers = self._relevant_spans(number, texts, sentences)
            score = None
            if self._teacher is not None and scores is not None:
                score = self._teacher.logit(scores[number], f"{self._teacher.name}[{number}]")
            question = Question(
                id=f"{self._id}-{number}",
                text=query,
                answers=answers,
                relevance=None if labels is None else check_share(labels[number], f"labels[{number}]"),
                teacher_score=score,
            )
            spans = self._chunker.spans(text) if sentences is None else sentences
            passages.append(self._passage(question.id, text, spans, [question]))
        return passages

    def _questions(self, answers: Callable[[Fields], tuple[Span, ...] | None]) -> list[Question]:
        """The record's `questions`; `answers` reads the evidence of one."""
        questions = []
        for number, entry in enumerate(self._record.array("questions")):
            fields = Fields(entry, f"questions[{number}]")
            questions.append(
                Question(
                    id=fields.identifier(f"{self._id}-{number}"),
                    text=fields.question("question"),
                    answers=answers(fields),
                    relevance=fields.share("relevance"),
                    teacher_score=self._teacher_score(fields),
                )
            )
        return questions

    def _unjudged(self, text: str) -> Question:
        """A question that only a teacher or a guide can tell anything of."""
        score = self._teacher_score(self._record)
        return Question(id=self._id, text=text, answers=None, is_judged=False, teacher_score=score)

    def _given_spans(self, number: int, texts: list[Any]) -> list[Span] | None:
        for name in ("context_spans", "chunks_pos"):
            spans = self._record.parallel(name, len(texts), "texts")
            if spans is not None:
                return check_spans(spans[number], f"{name}[{number}]", texts[number])
        return None

    def _relevant_spans(
        self, number: int, texts: list[Any], spans: list[Span] | None
    ) -> tuple[Span, ...] | None:
        flags = self._record.parallel("context_spans_relevance", len(texts), "texts")
        indices = self._record.parallel("relevant_chunks", len(texts), "texts")
        if flags is None and indices is None:
            return None
        if spans is None:
            raise InvalidInputError("context_spans: there is no such field, but the relevance of its spans")
        if flags is not None:
            path = f"context_spans_relevance[{number}]"
            return _chosen(spans, check_flags(flags[number], path, len(spans), "spans"))
        assert indices is not None
        path = f"relevant_chunks[{number}]"
        return tuple(spans[i] for i in check_indices(indices[number], path, len(spans), "chunks"))

    def _text_and_spans(self) -> tuple[str, list[Span]]:
        """Sentences are strings, with or without a text that they are found in, or spans of that text."""
        given = self._record.array("sentences")
        if "text" in self._record and not all(isinstance(entry, str) for entry in given):
            text = self._record.string("text")
            return text, check_spans(given, "sentences", text)
        for number, sentence in enumerate(given):
            is_sentence = isinstance(sentence, str) and bool(sentence.strip())
            expect(is_sentence, f"sentences[{number}]", "a string with more than white space", sentence)
        given = [sentence.strip() for sentence in given]
        text = self._record.string("text", "") or self._joined(given)
        spans, start = [], 0
        for number, sentence in enumerate(given):
            start = text.find(sentence, start)
            expect(start >= 0, f"sentences[{number}]", "found in text behind the one before", sentence)
            spans.append(Span(start, start + len(sentence)))
            start += len(sentence)
        return text, spans

    def _joined(self, sentences: Sequence[str]) -> str:
        language = self._language(" ".join(sentences))
        return ("" if language in _NO_SPACE else " ").join(sentences)

    def _language(self, text: str) -> str:
        return detect_language(text) if self._given_language == "auto" else self._given_language

    def _teacher_score(self, fields: Fields) -> float | None:
        if self._teacher is None:
            return None
        return self._teacher.logit(fields.get(self._teacher.name), fields.path(self._teacher.name))

    def _passage(
        self, passage_id: str, text: str, sentences: Sequence[Span], questions: Sequence[Question]
    ) -> Passage:
        return Passage(
            id=passage_id,
            source=self._source,
            language=self._language(text),
            title=self._record.string("title", ""),
            text=text,
            sentences=tuple(sentences),
            questions=tuple(questions),
        )


@cache
def _chunker(language: str) -> MultilingualChunker:
    return MultilingualChunker(language)


def _answers(question: Fields, text: str) -> tuple[Span, ...] | None:
    if question.get("answers") is None:
        return None
    spans = []
    for number, answer in enumerate(question.array("answers")):
        fields = Fields(answer, f"{question.path('answers')}[{number}]")
        span = check_span(fields.get("start"), fields.get("end"), fields.own_path, text)
        found = text[span.start : span.end]
        # Offsets in bytes or UTF-16 units look right until they are compared with what they stand for.
        said = fields.string("text", found)
        if said != found:
            raise InvalidInputError(f"{fields.path('text')}: is {said!r}, but {tuple(span)} is {found!r}")
        spans.append(span)
    return tuple(spans)


def _chosen(spans: Sequence[Span], labels: Sequence[int]) -> tuple[Span, ...]:
    return tuple(span for span, label in zip(spans, labels, strict=True) if label)
