"""Strategies by their specifications, as the command line takes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from provence_rag import Provence, PruningOptions
from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_text
from provence_training.qa.rivals import FilterByEmbeddings, LLMLingua2
from provence_training.qa.strategies import AllPassages, NoContext, Oracle, Prune, Rerank, Strategy

__all__ = ["parse_strategy"]

_FORMS = (
    "none, all, oracle, rerank:N, prune, prune:NAME=VALUE[,NAME=VALUE...], embedding-filter:MODEL[:SHARE], "
    "llmlingua2:MODEL[:SHARE]"
)
_SIMPLE: Mapping[str, Callable[[], Strategy]] = {"none": NoContext, "all": AllPassages, "oracle": Oracle}
_PRUNE_OPTIONS = ("top_k", "score_threshold", *(field.name for field in fields(PruningOptions)))


def parse_strategy(
    specification: str,
    model: Callable[[], Provence],
    *,
    query_prefix: str | None = None,
    passage_prefix: str | None = None,
) -> Strategy:
    """Make a strategy from its specification.

    Args:
        specification: One of the forms that the error lists.
        model: Gives the model to those that need one.
        query_prefix: What the bi-encoder of an embedding filter expects before a question.
        passage_prefix: What it expects before a sentence.

    Raises:
        InvalidInputError: It has none of the forms.
    """
    kind, colon, rest = check_text("specification", specification).partition(":")
    match kind:
        case "none" | "all" | "oracle" if not colon:
            return _SIMPLE[kind]()
        case "rerank" if rest.isdecimal():
            return Rerank(model(), int(rest))
        case "prune" if rest or not colon:
            return Prune(model(), **_prune_options(specification, rest))
        case "embedding-filter" if rest and not rest.startswith(":"):
            return FilterByEmbeddings(
                *_model_and_share(rest), query_prefix=query_prefix, passage_prefix=passage_prefix
            )
        case "llmlingua2" if rest and not rest.startswith(":"):
            return LLMLingua2(*_model_and_share(rest))
    raise InvalidInputError(f"strategy {specification!r} is unknown: it must be one of {_FORMS}")


def _model_and_share(text: str) -> tuple[Any, ...]:
    """The model's name, which may have colons, and a number after the last one."""
    name, _, share = text.rpartition(":")
    try:
        return name, float(share)
    except ValueError:
        return (text,)


def _prune_options(specification: str, text: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in _PRUNE_OPTIONS or not value:
            raise InvalidInputError(
                f"strategy {specification!r} has {part!r}, which must be NAME=VALUE with one of the names "
                f"{', '.join(_PRUNE_OPTIONS)}"
            )
        if name in options:
            raise InvalidInputError(f"strategy {specification!r} has {name} twice")
        try:
            options[name] = json.loads(value)  # a number, true or false
        except ValueError:
            options[name] = value
    return options
