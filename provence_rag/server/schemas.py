"""Bodies of `POST /v1/prune` and its answers, and what all bodies share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from provence_rag.adapters import OptionFields
from provence_rag.errors import InvalidInputError
from provence_rag.ranking import Ranking

__all__ = [
    "Body",
    "Document",
    "ErrorAnswer",
    "ErrorOf",
    "Group",
    "JsonValue",
    "Options",
    "Passage",
    "PruneAnswer",
    "PruneBatchAnswer",
    "PruneBatchRequest",
    "PruneBody",
    "PruneRequest",
    "SentenceOf",
    "Text",
    "Texts",
    "Usage",
    "WarningOf",
    "as_document",
    "expect",
]


_BY_KIND = Discriminator(lambda value: "<list>" if isinstance(value, list) else "<other>")
"""Between a type for JSON arrays and one for all else: an error is about the one that was meant."""


class Body(BaseModel):
    """What is checked strictly: no number is read from a string, no field is ignored."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _report_one_unknown_field(cls, values: Any) -> Any:
        # pydantic makes an error of each, and a body may have millions.
        if isinstance(values, dict) and len(values) > len(cls.model_fields):
            unknown = next(name for name in values if name not in cls.model_fields)
            names = [*cls.model_fields.keys() & values.keys(), unknown]
            return {name: values[name] for name in names}
        return values


def expect(expected: str, *types: type) -> Callable[[Any], Any]:
    """What refuses values of other types than these, for a field that takes several.

    pydantic's own error would name only one of them.

    Args:
        expected: What the message says that the value must be.
        types: Types of what Python makes of JSON.
    """

    def check(value: Any) -> Any:
        if type(value) not in types:
            raise PydanticCustomError("unexpected", "must be {expected}", {"expected": expected})
        return value

    return check


def _check_sentence(sentence: str) -> str:
    if not sentence.strip():
        raise PydanticCustomError("blank", "is blank")
    return sentence


Texts = Annotated[list[str], Field(fail_fast=True)]
"""Lists end at the first entry that cannot be used: pydantic would make an error of each."""

_Sentences = Annotated[list[Annotated[str, AfterValidator(_check_sentence)]], Field(fail_fast=True)]

Text = Annotated[
    Annotated[_Sentences, Tag("<list>")] | Annotated[str, Tag("<other>")],
    _BY_KIND,
    BeforeValidator(expect("a string or a list of strings", str, list)),
]
"""A text, or the list of its sentences."""


_DEEPEST = 100
"""Levels of lists and objects in a value that comes back; what writes JSON follows only some hundreds."""


def _check_json(value: Any) -> Any:
    """Refuse what Python reads as JSON but cannot write: infinity, NaN, and very deep nesting."""
    level = [value]
    for _ in range(_DEEPEST):
        if any(isinstance(one, float) and not math.isfinite(one) for one in level):
            raise ValueError("numbers must be finite")
        level = [inner for one in level for inner in _entries(one)]
        if not level:
            return value
    raise ValueError(f"lists and objects must be nested less than {_DEEPEST} levels deep")


def _entries(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


JsonValue = Annotated[Any, AfterValidator(_check_json)]
"""A value that is not ours, and comes back as it is."""

_Id = Annotated[
    Annotated[int, Tag("<integer>")] | Annotated[str, Tag("<string>")],
    Discriminator(lambda value: "<integer>" if type(value) is int else "<string>"),
    BeforeValidator(expect("a string or an integer", str, int)),
]


class Document(Body):
    """A document. One that is only a string is its text."""

    text: Text = Field(description="The text, or the list of its sentences.")
    title: str | None = Field(
        default=None, description="Read with each part of the text, but not part of it."
    )
    id: _Id | None = Field(default=None, description="Returned as it is.")
    metadata: dict[str, JsonValue] | None = Field(default=None, description="Returned as it is.")


def as_document(value: Any) -> Any:
    """A document as an object with `text`.

    Raises:
        PydanticCustomError: It is neither a string nor an object.
    """
    if isinstance(value, str):
        return {"text": value}
    return expect("a string or an object", dict)(value)


DocumentOrText = Annotated[
    Document,
    BeforeValidator(as_document, json_schema_input_type=str | Document),
]
Documents = Annotated[list[DocumentOrText], Field(fail_fast=True)]


class Group(NamedTuple):
    """A query with its documents."""

    query: str
    documents: Sequence[Document]

    place: str = ""
    """Its position in the lists of the request, such as `[0]`; empty if `query` is not a list."""


class Options(OptionFields, Body):
    """How sentences are selected: `PruningOptions`."""


class _PruneFields(Options):
    top_k: int | None = Field(default=None, description="Return the most relevant documents, best first.")
    score_threshold: float | None = Field(
        default=None, description="Return the documents with at least this score, best first."
    )
    min_documents: int = Field(
        default=0, description="Return at least this many documents, even below `score_threshold`."
    )
    reorder: bool = Field(default=False, description="Return all documents, best first.")
    separator: str = Field(
        default=" ", description="Joins the sentences of a document that is a list of them."
    )
    return_sentences: bool = Field(
        default=True, description="Whether passages have `sentences`: their spans, scores and what is kept."
    )

    def ranking(self) -> Ranking:
        """Order and choice of documents."""
        return Ranking(
            top_k=self.top_k,
            score_threshold=self.score_threshold,
            min_documents=self.min_documents,
            reorder=self.reorder,
        )


class PruneRequest(_PruneFields):
    """One query with its documents."""

    query: Annotated[str, BeforeValidator(expect("a string or a list of strings", str))] = Field(
        description="The question."
    )
    documents: Documents = Field(description="Its documents, in any order.")

    def groups(self) -> list[Group]:
        """The query and its documents, as the only one of a list."""
        return [Group(self.query, self.documents)]


class PruneBatchRequest(_PruneFields):
    """Several queries, each with documents of its own. The options apply to each query."""

    query: Texts = Field(description="The questions.")
    documents: Annotated[list[Documents], Field(fail_fast=True)] = Field(description="The documents of each.")

    @model_validator(mode="before")
    @classmethod
    def _check_length(cls, values: dict[str, Any]) -> dict[str, Any]:
        # Before a value is made of each entry: the limits are about queries, and documents of all entries.
        query, documents = values.get("query"), values.get("documents")
        if isinstance(query, list) and isinstance(documents, list) and len(query) != len(documents):
            raise InvalidInputError(
                f"documents must have an entry for each of the {len(query)} queries, got {len(documents)}"
            )
        return values

    def groups(self) -> list[Group]:
        """The queries, each with its documents."""
        pairs = zip(self.query, self.documents, strict=True)
        return [Group(*pair, place=f"[{number}]") for number, pair in enumerate(pairs)]


def _of_several(body: Any) -> str:
    return "<list>" if isinstance(body, dict) and isinstance(body.get("query"), list) else "<other>"


PruneBody = Annotated[
    Annotated[PruneBatchRequest, Tag("<list>")] | Annotated[PruneRequest, Tag("<other>")],
    Discriminator(_of_several),
]


class ErrorOf(BaseModel):
    """Why there is no answer."""

    type: str = Field(
        description="invalid_input, checkpoint, too_large, misdirected, unauthorized, not_found, overloaded, "
        "timeout, cancelled or internal"
    )
    message: str
    field: str | None = Field(description="The field that is wrong, such as `documents[3].text`.")


class ErrorAnswer(BaseModel):
    """What all statuses but 200 are answered with."""

    error: ErrorOf


class WarningOf(BaseModel):
    """Why a query was not read as well as others."""

    type: str = Field(
        description="long_query: only its beginning was read; language: the checkpoint was not trained on it"
    )
    message: str
    field: str = Field(description="The query: `query`, or `query[0]`, ... if there are several.")


_WARNINGS: Any = Field(default=[], description="Absent if there are none.")


class Usage(BaseModel):
    """Tokens of the checkpoint's tokenizer, without queries and titles."""

    tokens_in: int = Field(description="Of all documents of the request.")
    tokens_out: int = Field(description="Of the pruned texts that are returned.")
    tokens_saved: int = Field(description="The difference.")


class SentenceOf(BaseModel):
    """A sentence, as `provence_rag.Sentence`."""

    text: str
    start: int
    end: int
    score: float | None
    kept: bool
    token_start: int
    token_end: int
    needs: list[int]


class Passage(BaseModel):
    """A document after reranking and pruning, as `PrunedPassage.to_dict()` gives it, with its id."""

    index: int = Field(description="Position in `documents`.")
    id: str | int | None = Field(default=None, description="As it was given; absent if it was not.")
    metadata: dict[str, Any] | None = Field(
        default=None, description="As it was given; absent if it was not."
    )
    document: str
    text: str = Field(description="The pruned text.")
    title: str | None
    score: float | None = Field(description="Relevance; null where the checkpoint does not rank.")
    logit: float | None = Field(description="null also stands for minus infinity: nothing was read.")
    sentences: list[SentenceOf] = Field(description="Absent with `return_sentences: false`.")
    kept_whole: str | None = Field(description="Why it was not pruned, in words; null if it could be.")
    untrained_language: str | None = Field(
        default=None,
        description="The query's language (ISO 639-1), if the checkpoint was not trained on it; else absent.",
    )
    kept_spans: list[tuple[int, int]] = Field(description="Of `document`, in characters.")
    compression: float = Field(description="Share of the document's characters that was removed.")
    num_tokens: int = Field(description="Tokens of all sentences.")
    num_kept_tokens: int = Field(description="Tokens of the kept sentences.")


class PruneAnswer(BaseModel):
    """The answer to one query."""

    model: str
    results: list[Passage]
    usage: Usage
    warnings: list[WarningOf] = _WARNINGS


class PruneBatchAnswer(BaseModel):
    """The answer to several queries. As NDJSON: a `PruneAnswer` with `index` for each, one a line."""

    model: str
    results: list[list[Passage]]
    usage: Usage
    warnings: list[WarningOf] = _WARNINGS
