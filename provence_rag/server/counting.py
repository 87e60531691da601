"""`POST /v1/count_tokens`: lengths of texts, for clients that have no tokenizer."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from provence_rag.server.bodies import BodyRoute
from provence_rag.server.schemas import Body, ErrorAnswer, Texts
from provence_rag.server.service import Service

__all__ = ["router"]

router = APIRouter(tags=["prune"], route_class=BodyRoute)


class CountRequest(Body):
    """Texts to count."""

    texts: Texts


class CountAnswer(BaseModel):
    """Their lengths."""

    counts: list[int] = Field(description="Tokens of each text, without special tokens.")


@router.post(
    "/v1/count_tokens", responses={422: {"model": ErrorAnswer, "description": "A value cannot be used"}}
)
async def count_tokens(body: CountRequest, request: Request) -> CountAnswer:
    """Count the tokens of texts with the checkpoint's tokenizer.

    The limits are those of documents. Beyond four requests at a time, the status is 429.
    """
    service: Service = request.app.state.service
    return CountAnswer(counts=await service.count_tokens(body.texts, request))
