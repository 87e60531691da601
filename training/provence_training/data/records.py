"""From records of any shape to passages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from provence_rag.chunking import MultilingualChunker, Span, detect_language
from provence_rag.errors import InvalidInputError
from provence_rag.languages import check_language
from provence_rag.validation import shown
from provence_training.data.passages import Passage, Question
from provence_training.data.shapes import (
    AnswerSpans,
    CellQuestion,
    ContextRelevance,
    LabelledSentences,
    LabelledSpans,
    Number,
    QuestionAlone,
    Shape,
    Share,
    SpanQuestion,
    Table,
    Titled,
    validated,
)
from provence_training.data.tables import TableText

__all__ = ["TeacherColumn", "parse_record"]

T = TypeVar("T")
Bounds = tuple[int, int]

_NO_SPACE = ("ja", "zh")
"""Languages that put nothing between sentences."""

_SURE = 1e-4
"""A teacher's probabilities are kept at least this far from 0 and 1, whose logits are infinite."""

_adapter = cache(TypeAdapter[Any])
_NUMBER: TypeAdapter[float] = TypeAdapter(Number)
_SHARE: TypeAdapter[float] = TypeAdapter(Share)
_LIST: TypeAdapter[list[Any]] = TypeAdapter(list[Any])


@dataclass(frozen=True)
class TeacherColumn:
    """A field with a teacher's relevance scores."""

    name: str
    scale: Literal["probability", "logit"] = "probability"

    def logit(self, value: Any, path: str) -> float:
        """A score as a logit.

        Raises:
            InvalidInputError: The value is not a number, or not a probability.
        """
        if self.scale == "logit":
            return validated(_NUMBER, value, path)
        probability = min(max(validated(_SHARE, value, path), _SURE), 1 - _SURE)
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
    has no passage (see `provence_training.data.shapes`). Fields that its shape does not have are ignored.

    Args:
        record: A mapping, as JSON or a data set gives it.
        source: Name of the data set.
        default_id: Id of a record without one.
        teacher: The field with a teacher's scores; every record must have it.
        title_queries: Take the title of a passage without questions as its query.

    Returns:
        One passage, or one for each of the `texts`. A question without a passage becomes a passage without
        text.

    Raises:
        InvalidInputError: A field is missing or wrong; the message names it.
    """
    if not isinstance(record, Mapping):
        raise InvalidInputError(f"the record: must be an object, got {shown(record)}")
    fields = dict(record)
    shape = validated(_adapter(_shape_of(fields, teacher, title_queries)), fields)
    reader = _Reader(shape, fields, source, default_id, teacher)
    match shape:
        case Table():
            return [reader.table(shape)]
        case AnswerSpans():
            return [reader.answer_spans(shape)]
        case LabelledSentences() | LabelledSpans():
            return [reader.labelled_sentences(shape)]
        case ContextRelevance():
            return reader.context_relevance(shape)
        case Titled():
            return [reader.titled(shape)]
        case QuestionAlone():
            return [reader.question_alone(shape)]
    raise AssertionError(shape)


def _shape_of(record: dict[str, Any], teacher: TeacherColumn | None, title_queries: bool) -> type[Shape]:
    if "rows" in record:
        return Table
    if "questions" in record:
        return Titled if title_queries and not record["questions"] else AnswerSpans
    if "sentences" in record:
        sentences = record["sentences"]
        are_spans = isinstance(sentences, list) and not all(isinstance(x, str) for x in sentences)
        return LabelledSpans if "text" in record and are_spans else LabelledSentences
    if "texts" in record:
        return ContextRelevance
    if "text" in record and title_queries:
        return Titled
    if "question" in record and record.keys() <= {"id", "lang", "question", teacher.name if teacher else ""}:
        return QuestionAlone
    hint = ": a text without questions needs title_queries, or an empty list of them" * ("text" in record)
    raise InvalidInputError(
        "the record must have one of the fields questions (answer spans), sentences (labelled sentences), "
        "texts (context relevance), rows (a table) and question (alone); it has "
        f"{', '.join(map(str, record)) or 'no field'}{hint}"
    )


class _Reader:
    """Makes passages of one record whose fields have the right types, and checks how they fit together."""

    def __init__(
        self,
        shape: Shape,
        fields: Mapping[str, Any],
        source: str,
        default_id: str,
        teacher: TeacherColumn | None,
    ) -> None:
        self._fields = fields
        self._source = source
        self._id = default_id if shape.id is None else shape.id
        self._title = shape.title or ""
        self._teacher = teacher
        try:
            self._given_language = check_language(shape.lang or "auto")
        except InvalidInputError as error:
            raise InvalidInputError(f"lang: {error}") from error
        self._chunker = _chunker(self._given_language)

    def answer_spans(self, record: AnswerSpans) -> Passage:
        questions = [
            self._question(number, question, _answers(question, f"questions[{number}].answers", record.text))
            for number, question in enumerate(record.questions)
        ]
        return self._passage(record.text, questions)

    def table(self, record: Table) -> Passage:
        table = TableText.of(record)
        questions = [
            self._question(number, question, table.answers(question, f"questions[{number}].answers"))
            for number, question in enumerate(record.questions)
        ]
        return self._passage(table.text, questions)

    def question_alone(self, record: QuestionAlone) -> Passage:
        question = self._unjudged(record.question)
        return self._passage("", [question], sentences=[], language=self._language(record.question))

    def titled(self, record: Titled) -> Passage:
        question = self._unjudged(self._title.strip())
        return self._passage(record.text, [question] if question.text else [])

    def labelled_sentences(self, record: LabelledSentences | LabelledSpans) -> Passage:
        if isinstance(record, LabelledSpans):
            text, spans = record.text, _spans(record.sentences, "sentences", record.text)
        else:
            text, spans = self._found(record)
        answers = None
        if record.labels is not None:
            answers = _chosen(spans, _parallel(record.labels, "labels", len(spans), "sentences"))
        question = Question(
            id=self._id,
            text=record.query,
            answers=answers,
            relevance=record.relevance,
            teacher_score=self._teacher_score(self._fields),
        )
        return self._passage(text, [question], sentences=spans)

    def context_relevance(self, record: ContextRelevance) -> list[Passage]:
        size = len(record.texts)
        labels, scores = record.labels, self._teacher_scores(size)
        if labels is not None:
            _parallel(labels, "labels", size, "texts")
        passages = []
        for number, text in enumerate(record.texts):
            sentences = _given_spans(record, number)
            question = Question(
                id=f"{self._id}-{number}",
                text=record.query,
                answers=_relevant_spans(record, number, sentences),
                relevance=None if labels is None else labels[number],
                teacher_score=None if scores is None else scores[number],
            )
            passages.append(self._passage(text, [question], sentences=sentences, passage_id=question.id))
        return passages

    def _question(
        self, number: int, question: SpanQuestion | CellQuestion, answers: tuple[Span, ...] | None
    ) -> Question:
        """One of the record's `questions`, with its evidence."""
        fields = self._fields["questions"][number]
        return Question(
            id=f"{self._id}-{number}" if question.id is None else question.id,
            text=question.question,
            answers=answers,
            relevance=question.relevance,
            teacher_score=self._teacher_score(fields, f"questions[{number}]."),
        )

    def _unjudged(self, text: str) -> Question:
        """A question about which only a teacher or a guide knows anything."""
        score = self._teacher_score(self._fields)
        return Question(id=self._id, text=text, answers=None, is_judged=False, teacher_score=score)

    def _teacher_score(self, fields: Mapping[str, Any], path: str = "") -> float | None:
        if self._teacher is None:
            return None
        return self._teacher.logit(_column(self._teacher, fields, path), f"{path}{self._teacher.name}")

    def _teacher_scores(self, size: int) -> list[float] | None:
        """One for each of the `texts`."""
        if self._teacher is None or _column(self._teacher, self._fields, "") is None:
            return None
        name = self._teacher.name
        values = _parallel(validated(_LIST, self._fields[name], name), name, size, "texts")
        return [self._teacher.logit(value, f"{name}[{number}]") for number, value in enumerate(values)]

    def _found(self, record: LabelledSentences) -> tuple[str, list[Span]]:
        """The text of sentences that are strings, and where they are in it."""
        sentences = [sentence.strip() for sentence in record.sentences]
        text = record.text or self._joined(sentences)
        spans, start = [], 0
        for number, sentence in enumerate(sentences):
            start = text.find(sentence, start)
            if start < 0:
                raise InvalidInputError(
                    f"sentences[{number}]: must be found in text after the one before, got {shown(sentence)}"
                )
            spans.append(Span(start, start + len(sentence)))
            start += len(sentence)
        return text, spans

    def _joined(self, sentences: Sequence[str]) -> str:
        language = self._language(" ".join(sentences))
        return ("" if language in _NO_SPACE else " ").join(sentences)

    def _language(self, text: str) -> str:
        return detect_language(text) if self._given_language == "auto" else self._given_language

    def _passage(
        self,
        text: str,
        questions: Sequence[Question],
        *,
        sentences: Sequence[Span] | None = None,
        passage_id: str | None = None,
        language: str | None = None,
    ) -> Passage:
        return Passage(
            id=self._id if passage_id is None else passage_id,
            source=self._source,
            language=self._language(text) if language is None else language,
            title=self._title,
            text=text,
            sentences=tuple(self._chunker.spans(text) if sentences is None else sentences),
            questions=tuple(questions),
        )


@cache
def _chunker(language: str) -> MultilingualChunker:
    return MultilingualChunker(language)


def _column(teacher: TeacherColumn, fields: Mapping[str, Any], path: str) -> Any:
    if teacher.name not in fields:
        raise InvalidInputError(f"{path}{teacher.name}: is missing")
    return fields[teacher.name]


def _answers(question: SpanQuestion, path: str, text: str) -> tuple[Span, ...] | None:
    if question.answers is None:
        return None
    spans = []
    for number, answer in enumerate(question.answers):
        span = _span((answer.start, answer.end), f"{path}[{number}]", text)
        found = text[span.start : span.end]
        # Offsets in bytes or UTF-16 units look right until they are compared with what they stand for.
        if answer.text is not None and answer.text != found:
            raise InvalidInputError(
                f"{path}[{number}].text: is {answer.text!r}, but {tuple(span)} is {found!r}: offsets must "
                "count characters"
            )
        spans.append(span)
    return tuple(spans)


def _given_spans(record: ContextRelevance, number: int) -> list[Span] | None:
    """The sentences of one of the texts, None if they are not given."""
    for name in ("context_spans", "chunks_pos"):
        given: list[list[Bounds]] | None = getattr(record, name)
        if given is not None:
            own = _parallel(given, name, len(record.texts), "texts")[number]
            return _spans(own, f"{name}[{number}]", record.texts[number])
    return None


def _relevant_spans(
    record: ContextRelevance, number: int, spans: list[Span] | None
) -> tuple[Span, ...] | None:
    """The sentences of one of the texts that answer, None if they are not marked."""
    flags, indices, size = record.context_spans_relevance, record.relevant_chunks, len(record.texts)
    if flags is None and indices is None:
        return None
    if spans is None:
        raise InvalidInputError("context_spans: is missing, but the relevance of its spans is given")
    if flags is not None:
        path = f"context_spans_relevance[{number}]"
        own = _parallel(flags, "context_spans_relevance", size, "texts")[number]
        return _chosen(spans, _parallel(own, path, len(spans), "spans"))
    assert indices is not None
    relevant = _parallel(indices, "relevant_chunks", size, "texts")[number]
    for place, index in enumerate(relevant):
        if not 0 <= index < len(spans):
            raise InvalidInputError(
                f"relevant_chunks[{number}][{place}]: must be the index of one of the {len(spans)} chunks, "
                f"got {index}"
            )
    return tuple(spans[index] for index in sorted({*relevant}))


def _spans(given: Sequence[Bounds], path: str, text: str) -> list[Span]:
    """Spans of a text, in order and without overlap."""
    spans: list[Span] = []
    for number, bounds in enumerate(given):
        span = _span(bounds, f"{path}[{number}]", text)
        if spans and span.start < spans[-1].end:
            raise InvalidInputError(f"{path}[{number}]: begins before the end of the span before it")
        spans.append(span)
    return spans


def _span(bounds: Bounds, path: str, text: str) -> Span:
    """A span of a text, not empty."""
    start, end = bounds
    if not 0 <= start < end <= len(text):
        raise InvalidInputError(
            f"{path}: must be a span of its text, which has {len(text)} characters, got {bounds}"
        )
    return Span(start, end)


def _parallel(values: list[T], path: str, length: int, whose: str) -> list[T]:
    """A list that must have an entry for each of something."""
    if len(values) != length:
        raise InvalidInputError(
            f"{path}: must have an entry for each of the {length} {whose}, got {len(values)}"
        )
    return values


def _chosen(spans: Sequence[Span], labels: Sequence[int]) -> tuple[Span, ...]:
    return tuple(span for span, label in zip(spans, labels, strict=True) if label)
