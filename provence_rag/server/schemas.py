"""Bodies of `POST /v1/prune` and its answers, and what all bodies share."""

from __future__ import annotations

import json
from typing import Annotated, Any

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
from typing_extensions import Self

from provence_rag.adapters import OptionFields
from provence_rag.errors import InvalidInputError
from provence_rag.ranking import Ranking

__all__ = [
    "Body",
    "Document",
    "ErrorAnswer",
    "ErrorOf",
    "Options",
    "Passage",
    "PruneAnswer",
    "PruneBatchAnswer",
    "PruneBatchRequest",
    "PruneBody",
    "PruneRequest",
    "SentenceOf",
    "Text",
    "Usage",
    "WarningOf",
]


_BY_KIND = Discriminator(lambda value: "<list>" if isinstance(value, list) else "<other>")
"""Between a type for JSON arrays and one for all else: an error is about the one that was meant."""


class Body(BaseModel):
    """What is checked strictly: no number is read from a string, no field is ignored."""

    model_config = ConfigDict(strict=True, extra="forbid")


Text = Annotated[Annotated[list[str], Tag("<list>")] | Annotated[str, Tag("<other>")], _BY_KIND]
"""A text, or the list of its sentences."""


def _check_json(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what Python reads as JSON, but JSON does not have: infinity and NaN."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise ValueError("numbers must be finite") from error
    return value


class Document(Body):
    """A document. One that is only a string is its text."""

    text: Text = Field(description="The text, or the list of its sentences.")
    title: str | None = Field(
        default=None, description="Read with each part of the text, but not part of it."
    )
    id: str | int | None = Field(default=None, description="Returned as it is.")
    metadata: Annotated[dict[str, Any], AfterValidator(_check_json)] | None = Field(
        default=None, description="Returned as it is."
    )


def _as_document(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


DocumentOrText = Annotated[
    Document,
    BeforeValidator(_as_document, json_schema_input_type=str | Document),
]


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

    query: str = Field(description="The question.")
    documents: list[DocumentOrText] = Field(description="Its documents, in any order.")

    def groups(self) -> list[tuple[str, list[Document]]]:
        """The query and its documents, as the only one of a list."""
        return [(self.query, self.documents)]


class PruneBatchRequest(_PruneFields):
    """Several queries, each with documents of its own. The options apply to each query."""

    query: list[str] = Field(description="The questions.")
    documents: list[list[DocumentOrText]] = Field(description="The documents of each.")

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if len(self.query) != len(self.documents):
            raise InvalidInputError(
                f"documents must have an entry for each of the {len(self.query)} queries, "
                f"got {len(self.documents)}"
            )
        return self

    def groups(self) -> list[tuple[str, list[Document]]]:
        """The queries, each with its documents."""
        return list(zip(self.query, self.documents, strict=True))


def _of_several(body: Any) -> str:
    return "<list>" if isinstance(body, dict) and isinstance(body.get("query"), list) else "<other>"


PruneBody = Annotated[
    Annotated[PruneBatchRequest, Tag("<list>")] | Annotated[PruneRequest, Tag("<other>")],
    Discriminator(_of_several),
]


class ErrorOf(BaseModel):
    """Why there is no answer."""

    type: str = Field(
        description="invalid_input, checkpoint, too_large, unauthorized, not_found, overloaded, timeout or "
        "internal"
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


_WARNINGS = Field(default=[], description="Absent if there are none.")


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
    kept_whole: str | None
    untrained_language: str | None = Field(default=None, description="Absent if it is null.")
    kept_spans: list[tuple[int, int]]
    compression: float
    num_tokens: int
    num_kept_tokens: int


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
