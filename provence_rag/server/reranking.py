"""APIs that rerankers' clients speak: Cohere's, Jina's and that of text-embeddings-inference (TEI).

Each answers as its original does. `prune` adds what is left of each text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import uuid4

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from starlette.concurrency import run_in_threadpool

from provence_rag.options import PruningOptions
from provence_rag.ranking import Ranking
from provence_rag.results import PrunedPassage
from provence_rag.server.bodies import BodyRoute
from provence_rag.server.failures import RequestError
from provence_rag.server.jobs import Answer
from provence_rag.server.responses import JsonResponse
from provence_rag.server.schemas import Document, Group, JsonValue, Options, Texts, as_document, expect
from provence_rag.server.service import Service
from provence_rag.validation import cut

__all__ = ["router"]

router = APIRouter(tags=["rerank"], route_class=BodyRoute)

Prune = Annotated[
    Annotated[Options, Tag("<options>")] | Annotated[bool, Tag("<flag>")],
    Discriminator(lambda value: "<options>" if isinstance(value, dict | Options) else "<flag>"),
    BeforeValidator(expect("true, false or an object of options", bool, dict)),
]


class _Body(BaseModel):
    """What the bodies of all APIs share. Fields that only their originals know have no effect."""

    model_config = ConfigDict(strict=True, extra="ignore")

    query: str = Field(description="The question.")
    prune: Prune | None = Field(
        default=False,
        description="Also prune: true, or an object with the options of /v1/prune. Results then have "
        "`pruned_text`, `kept_spans`, `sentence_spans`, `sentence_scores`, `compression` and "
        "`original_length`.",
    )

    def pruning_options(self) -> PruningOptions:
        """How sentences are selected."""
        if isinstance(self.prune, Options):
            return self.prune.pruning_options()
        return PruningOptions() if self.prune else PruningOptions(mode="off")


class TextObject(BaseModel):
    """A document as an object. `title` is read with each part of the text."""

    model_config = ConfigDict(strict=True, extra="allow")

    __pydantic_extra__: dict[str, JsonValue]

    text: str | None = None
    title: str | None = None


class _Rerank(_Body):
    model: str | None = Field(default=None, description="Has no effect: a server has one model.")
    documents: Annotated[
        list[
            Annotated[
                TextObject,
                BeforeValidator(as_document, json_schema_input_type=str | TextObject),
            ]
        ],
        Field(fail_fast=True),
    ] = Field(description="Texts, or objects with `text`. They are read as a whole, however long they are.")
    top_n: int | None = Field(default=None, ge=1, description="How many results to return; null is all.")

    def texts(self, fields: Sequence[str]) -> list[Document]:
        """The documents, with the values of these fields, each once, as their texts."""
        places = {name: place for place, name in enumerate(dict.fromkeys(fields))}
        return [self._document(number, places) for number in range(len(self.documents))]

    def _document(self, number: int, places: dict[str, int]) -> Document:
        one = self.documents[number]
        values = {name: value for name, value in one if name in places and value is not None}
        found = [values[name] for name in sorted(values, key=places.__getitem__)]
        if not found or not all(isinstance(value, str) for value in found):
            name = f"documents[{number}]"
            message = f"{name} must be a string, or an object with strings for {cut(', '.join(places))}"
            raise RequestError(422, "invalid_input", message, field=name)
        return Document(text="\n".join(found), title=None if "title" in places else one.title)


class CohereRequest(_Rerank):
    """As Cohere's v2 API takes it. `max_tokens_per_doc` and `priority` have no effect."""

    return_documents: bool = Field(default=False, description="Whether results have their `document`.")


class JinaRequest(_Rerank):
    """As Jina's API and Cohere's v1 API take it. `max_chunks_per_doc` and `truncation` have no effect."""

    return_documents: bool = Field(default=True, description="Whether results have their `document`.")
    rank_fields: Texts | None = Field(
        default=None, description="Fields of the objects to read, joined by line breaks; null is `text`."
    )


class TeiRequest(_Body):
    """As text-embeddings-inference takes it. `truncate` and `truncation_direction` have no effect."""

    texts: Texts = Field(description="Texts. They are read as a whole, however long they are.")
    raw_scores: bool = Field(default=False, description="Whether scores are logits.")
    return_text: bool = Field(default=False, description="Whether results have their `text`.")


class _Pruned(BaseModel):
    pruned_text: str | None = Field(default=None, description="With `prune`: what is left of the text.")
    kept_spans: list[tuple[int, int]] | None = Field(default=None, description="Of the text, with `prune`.")
    sentence_spans: list[tuple[int, int]] | None = Field(default=None, description="With `prune`.")
    sentence_scores: list[float] | None = Field(default=None, description="With `prune`.")
    compression: float | None = Field(
        default=None, description="With `prune`: the share of the text's characters that was removed."
    )
    original_length: int | None = Field(default=None, description="Characters of the text, with `prune`.")
    kept_whole: str | None = Field(
        default=None, description="With `prune`: why the text was not pruned; absent if it could be."
    )
    untrained_language: str | None = Field(
        default=None,
        description="With `prune`: the query's language, if the checkpoint was not trained on it.",
    )


class Result(_Pruned):
    """A document, by its position in the request."""

    index: int
    relevance_score: float = Field(description="In [0, 1].")
    document: TextObject | None = Field(default=None, description="With `return_documents`.")


class Meta(BaseModel):
    """What Cohere's answers say besides their results."""

    api_version: dict[str, str]
    billed_units: dict[str, int] = Field(description="Always 0.")
    tokens: dict[str, int] = Field(
        description="`input_tokens`: of all documents; `output_tokens`: of the pruned texts."
    )
    warnings: list[str] = Field(default=[], description="Absent if there are none.")


class CohereAnswer(BaseModel):
    """As Cohere's v2 API answers."""

    id: str
    results: list[Result] = Field(description="Best first.")
    meta: Meta


class JinaUsage(BaseModel):
    """Tokens of all documents."""

    total_tokens: int
    prompt_tokens: int = Field(description="The same.")


class JinaAnswer(CohereAnswer):
    """As both Jina's API and Cohere's v1 API answer: their fields together."""

    model: str
    object: str
    usage: JinaUsage


class Rank(_Pruned):
    """A text, by its position in the request."""

    index: int
    score: float
    text: str | None = Field(default=None, description="With `return_text`.")


def _errors(*fields: str) -> dict[int | str, dict[str, Any]]:
    """How an API answers if a value cannot be used, for the OpenAPI schema."""
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in fields}}
    content = {"application/json": {"schema": schema}}
    return {422: {"description": "A value cannot be used", "content": content}}


@router.post("/v2/rerank", response_model=CohereAnswer, responses=_errors("message"))
async def cohere(body: CohereRequest, request: Request) -> Response:
    """Cohere's API, version 2."""
    answer = await _rerank(request, body, body.texts(["text"]), body.top_n)
    return await run_in_threadpool(lambda: JsonResponse(_cohere(request, body, answer, version="2")))


@router.post("/v1/rerank", response_model=JinaAnswer, responses=_errors("message", "detail"))
async def jina(body: JinaRequest, request: Request) -> Response:
    """Jina's API, and version 1 of Cohere's, which shares its path: answers have the fields of both."""
    answer = await _rerank(request, body, body.texts(body.rank_fields or ["text"]), body.top_n)
    return await run_in_threadpool(_jina, request, body, answer)


@router.post("/rerank", response_model=list[Rank], responses=_errors("error", "error_type"))
async def tei(body: TeiRequest, request: Request) -> Response:
    """The API of text-embeddings-inference."""
    documents = [Document(text=text) for text in body.texts]
    answer = await _rerank(request, body, documents, None, documents_name="texts")
    return await run_in_threadpool(_tei, request, body, answer)


async def _rerank(
    request: Request,
    body: _Body,
    documents: list[Document],
    top_n: int | None,
    documents_name: str = "documents",
) -> Answer:
    service: Service = request.app.state.service
    job = await service.submit(
        [Group(body.query, documents)],
        body.pruning_options(),
        Ranking(top_k=top_n, reorder=True),
        documents_name=documents_name,
    )
    (answer,) = [answer async for answer in service.answers(job, request)]
    return answer


def _cohere(
    request: Request, body: CohereRequest | JinaRequest, answer: Answer, *, version: str
) -> dict[str, Any]:
    results = []
    for passage in answer.passages:
        result: dict[str, Any] = {"index": passage.index, "relevance_score": _relevance(request, passage)}
        if body.return_documents:
            result["document"] = _as_given(body.documents[passage.index])
        results.append({**result, **_pruned(body, passage)})
    meta: dict[str, Any] = {
        "api_version": {"version": version},
        "billed_units": {"search_units": 0},
        "tokens": {"input_tokens": answer.tokens_in, "output_tokens": answer.tokens_out},
    }
    if answer.notices:
        meta["warnings"] = [notice.message for notice in answer.notices]
    return {"id": str(uuid4()), "results": results, "meta": meta}


def _as_given(document: TextObject) -> dict[str, Any]:
    return {name: value for name, value in document if name in document.model_fields_set}


def _jina(request: Request, body: JinaRequest, answer: Answer) -> Response:
    service: Service = request.app.state.service
    usage = {"total_tokens": answer.tokens_in, "prompt_tokens": answer.tokens_in}
    more = {"model": service.info.model.name, "object": "list", "usage": usage}
    return JsonResponse({**_cohere(request, body, answer, version="1"), **more})


def _tei(request: Request, body: TeiRequest, answer: Answer) -> Response:
    ranks = []
    for passage in answer.passages:
        score = _raw_score(passage) if body.raw_scores else _relevance(request, passage)
        rank: dict[str, Any] = {"index": passage.index, "score": score}
        if body.return_text:
            rank["text"] = passage.document
        ranks.append({**rank, **_pruned(body, passage)})
    return JsonResponse(ranks)


def _relevance(request: Request, passage: PrunedPassage) -> float:
    """The score as these APIs promise it, in [0, 1]."""
    service: Service = request.app.state.service
    if service.config.score_activation == "sigmoid":
        return passage.score or 0.0
    logit = _raw_score(passage)
    return 1.0 / (1.0 + math.exp(-logit)) if logit > -700 else 0.0  # exp overflows below


def _raw_score(passage: PrunedPassage) -> float:
    """The logit; that of a text that is not read is the lowest of its type, since JSON has no infinity."""
    return max(passage.logit or 0.0, float(np.finfo(np.float32).min))


def _pruned(body: _Body, passage: PrunedPassage) -> dict[str, Any]:
    if not body.prune:
        return {}
    return {"pruned_text": passage.text, **passage.provenance(sentence_scores=True)}
