"""What a server answers: passages, a description of its model, or why it refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, TypeVar

import numpy as np

from provence_rag.chunking import Span
from provence_rag.config import ProvenceConfig
from provence_rag.errors import CheckpointError, InvalidInputError, ProvenceError, RemoteError
from provence_rag.hub import SECRETS
from provence_rag.inference.assembly import assemble
from provence_rag.inference.engine import Pair
from provence_rag.remote.http import Answer
from provence_rag.remote.requests import Limits
from provence_rag.results import PrunedPassage, Sentence

__all__ = ["description", "passage", "read"]

T = TypeVar("T")

_ERRORS: Mapping[str, type[ProvenceError]] = {
    "invalid_input": InvalidInputError,
    "too_large": InvalidInputError,
    "checkpoint": CheckpointError,
}
"""Kind of a refusal -> the exception that it is in this process."""


def read(answer: Answer, url: str, parse: Callable[[Any], T]) -> T:
    """Return what `parse` makes of an answer's JSON.

    Raises:
        InvalidInputError: The server refuses a value, as the library does.
        CheckpointError: The server's checkpoint cannot do what was asked.
        RemoteError: It refuses for another reason, or its answer is not what its API promises.
    """
    try:
        content = answer.json()
        if answer.status == 200:
            return parse(content)
        kind, message = content["error"]["type"], str(content["error"]["message"])
    except (LookupError, TypeError, ValueError, ProvenceError) as error:  # no JSON, or JSON of another shape
        status = "" if answer.status == 200 else f" with status {answer.status}"
        raise RemoteError(
            f"{url} answered{status}, but not as a server of provence-rag does: check the URL, "
            "a proxy before it, and that both sides have the same version"
        ) from error
    if answer.status in (401, 403):
        message = f"{message} (give api_key, or set the environment variable {SECRETS['api_key']})"
    if answer.status == 404:
        message = f"{message} (the URL is that of the server alone, such as http://host:8000)"
    if 400 <= answer.status < 500 and kind in _ERRORS:
        raise _ERRORS[kind](message)
    raise RemoteError(f"{url} answered with status {answer.status}: {message}")


def description(values: Any) -> tuple[ProvenceConfig, str | None, Limits]:
    """Configuration and fingerprint of the server's model, and what the server accepts, from `/info`."""
    model, limits = values["model"], values["limits"]
    fingerprint = model["fingerprint"]
    accepted = Limits(
        max_queries=int(limits["max_queries"]),
        max_documents=int(limits["max_documents"]),
        max_body_bytes=int(limits["max_body_bytes"]),
    )
    return (
        ProvenceConfig.from_dict(model["config"]),
        None if fingerprint is None else str(fingerprint),
        accepted,
    )


def passage(values: Any, pair: Pair, index: int, *, can_rank: bool) -> PrunedPassage:
    """The passage that a server describes. Its texts are cut out of the document here.

    Args:
        values: What `PrunedPassage.to_dict` gives.
        pair: The query and the document.
        index: Position of the document in the caller's list.
        can_rank: Whether the checkpoint has a ranking head.
    """
    document = pair.document
    sentences = tuple(
        Sentence(
            text=document[one["start"] : one["end"]],
            start=one["start"],
            end=one["end"],
            score=one["score"],
            kept=one["kept"],
            token_start=one["token_start"],
            token_end=one["token_end"],
            needs=tuple(one["needs"]),
        )
        for one in values["sentences"]
    )
    mask = np.array([one.kept for one in sentences], dtype=bool)
    unread = -inf if can_rank else None  # JSON has no infinity
    score, logit = values["score"], values["logit"]
    return PrunedPassage(
        index=index,
        document=document,
        text=assemble(document, [Span(one.start, one.end) for one in sentences], mask),
        title=pair.title,
        score=unread if score is None else score,
        logit=unread if logit is None else logit,
        sentences=sentences,
        kept_whole=values["kept_whole"],
        untrained_language=values.get("untrained_language"),
    )
