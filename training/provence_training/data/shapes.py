"""The shapes that a training record can have, as pydantic models."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Annotated, Any, TypeVar

from provence_rag.errors import InvalidInputError, MissingExtraError
from provence_rag.validation import shown

try:
    from pydantic import BaseModel, PlainValidator, Strict, TypeAdapter, ValidationError
except ImportError as error:  # pragma: no cover - exercised in an environment without the extra
    raise MissingExtraError("Training data", "train") from error

__all__ = [
    "AnswerSpans",
    "CellQuestion",
    "ContextRelevance",
    "Identifier",
    "Integer",
    "LabelledSentences",
    "LabelledSpans",
    "Number",
    "QuestionAlone",
    "Shape",
    "Share",
    "SpanQuestion",
    "Table",
    "Text",
    "Titled",
    "Words",
    "validated",
]

T = TypeVar("T")

_EXPECTED = {"list_type": "a list", "model_type": "an object", "string_type": "a string"}
"""What to say for pydantic's own errors; all other types of values have their own checks below."""


def _checked(expected: str, holds: Callable[[Any], bool], convert: Callable[[Any], Any]) -> PlainValidator:
    """The validator of a type: its name in errors, a test for its values, and their conversion."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"must be {expected}, got {shown(value)}")
        return convert(value)

    return PlainValidator(check)


def _is_integer(value: Any) -> bool:  # numpy's integers are no `int`
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and 0 <= float(value) <= 1


def _is_words(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_bounds(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_integer, value))


def _is_cell(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))


Text = Annotated[str, Strict()]
Words = Annotated[str, _checked("a string with more than white space", _is_words, str)]
Identifier = Annotated[
    str, _checked("a string or an integer", lambda x: isinstance(x, str) or _is_integer(x), str)
]
Integer = Annotated[int, _checked("an integer", _is_integer, int)]
Number = Annotated[float, _checked("a number", _is_number, float)]
Share = Annotated[float, _checked("a number between 0 and 1", _is_share, float)]
Flag = Annotated[int, _checked("0 or 1", lambda x: isinstance(x, Real) and x in (0, 1), int)]
Bounds = Annotated[tuple[int, int], _checked("[start, end], two integers", _is_bounds, tuple)]
Cell = Annotated[
    str,
    # On one line; null is empty.
    _checked("a string or a number", _is_cell, lambda x: "" if x is None else " ".join(str(x).split())),
]


class Shape(BaseModel):
    """The fields that all shapes share. Fields that a shape does not have are ignored."""

    id: Identifier | None = None
    lang: Text | None = None
    title: Text | None = None


class _Answer(BaseModel):
    """A span of the text."""

    start: Integer
    end: Integer
    text: Text | None = None


class _Place(BaseModel):
    """A row of a table, or one of its cells."""

    row: Integer
    column: Integer | None = None


class _Question(BaseModel):
    """A question; null `answers` are not marked."""

    id: Identifier | None = None
    question: Words
    relevance: Share | None = None


class SpanQuestion(_Question):
    """A question about a text."""

    answers: list[_Answer] | None


class CellQuestion(_Question):
    """A question about a table."""

    answers: list[_Place] | None


class AnswerSpans(Shape):
    """`{"text", "questions": [{"question", "answers": [{"start", "end"}] | null}]}`."""

    text: Text
    questions: list[SpanQuestion]


class Table(Shape):
    """`{"header", "rows", "questions": [{"question", "answers": [{"row", "column"?}] | null}]}`."""

    header: list[Cell]
    rows: list[list[Cell]]
    questions: list[CellQuestion]


class Titled(Shape):
    """`{"title", "text"}`: the title is the query, if it has words."""

    text: Text


class QuestionAlone(Shape):
    """`{"question"}`: a passage without text, about which nothing is known."""

    question: Words


class LabelledSentences(Shape):
    """`{"query", "sentences": [...], "labels": [0 | 1] | null}`, with or without a text that holds them."""

    text: Text | None = None
    query: Words
    sentences: list[Words]
    labels: list[Flag] | None
    relevance: Share | None = None


class LabelledSpans(Shape):
    """The same with `text`, and sentences as spans of it."""

    text: Text
    query: Words
    sentences: list[Bounds]
    labels: list[Flag] | None
    relevance: Share | None = None


class ContextRelevance(Shape):
    """`{"query", "texts": [...], "labels", "context_spans", "context_spans_relevance"}`.

    The older names are `chunks_pos` for the spans, and `relevant_chunks`, which holds the indices of the
    relevant ones, for their relevance.
    """

    query: Words
    texts: list[Text]
    labels: list[Share] | None = None
    context_spans: list[list[Bounds]] | None = None
    chunks_pos: list[list[Bounds]] | None = None
    context_spans_relevance: list[list[Flag]] | None = None
    relevant_chunks: list[list[Integer]] | None = None


def validated(adapter: TypeAdapter[T], value: Any, path: str = "") -> T:
    """Check that a value has a type, and convert it.

    Args:
        adapter: The type.
        value: The value.
        path: Where the value is in its record, such as `questions[2]`; empty for the record itself.

    Raises:
        InvalidInputError: The value has another type; the message names the first wrong field by its path.
    """
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = path + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
        if first["type"] == "missing":
            reason = "is missing"
        elif first["type"] == "value_error":
            reason = str(first["ctx"]["error"])
        elif first["type"] == "too_short":
            least = first["ctx"]["min_length"]
            entries = "entry" if least == 1 else "entries"
            reason = f"must have at least {least} {entries}, got {first['ctx']['actual_length']}"
        else:
            expected = _EXPECTED.get(first["type"], first["msg"])
            reason = f"must be {expected}, got {shown(first['input'])}"
        raise InvalidInputError(f"{place.removeprefix('.') or 'the record'}: {reason}") from error
