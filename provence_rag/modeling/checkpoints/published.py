"""Outputs of checkpoints that their authors published, to compare with ours."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from provence_rag.errors import CheckpointError

__all__ = ["PUBLISHED", "Expected", "Published", "example_of_card"]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One published output."""

    score: float
    """The relevance score."""

    num_kept: int
    """Characters in the pruned text, without white space at its ends."""

    keep_title: bool = False
    """Whether the first sentence was always kept."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published outputs for the example on a checkpoint's card."""

    source: str
    """Where they were published."""

    threshold: float

    outputs: tuple[Expected, ...]


PUBLISHED = {
    "naver/provence-reranker-debertav3-v1": Published(
        source="model card",
        threshold=0.1,
        outputs=(
            Expected(score=3.022725, num_kept=207),
            Expected(score=3.022725, num_kept=223, keep_title=True),
        ),
    ),
    "naver/xprovence-reranker-bgem3-v2": Published(
        source="model card",
        threshold=0.3,
        outputs=(
            Expected(score=3.260809, num_kept=424),
            Expected(score=3.260809, num_kept=440, keep_title=True),
        ),
    ),
    "hotchpotch/open-provence-reranker-xsmall-v1": Published(
        source="README of github.com/hotchpotch/open_provence",
        threshold=0.1,
        outputs=(Expected(score=0.6448, num_kept=246),),
    ),
}
"""Name on the hub -> published outputs."""


def example_of_card(card: str) -> tuple[str, str]:
    """The `question` and the `context` that a card's Python code assigns. The code is parsed, not run.

    Raises:
        CheckpointError: The card has no such code.
    """
    for block in re.findall(r"^```(?:python|py)\n(.*?)^```", card, flags=re.DOTALL | re.MULTILINE):
        try:
            texts = dict(_assigned_strings(ast.parse(block)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # not Python, or hostile
            continue
        if {"question", "context"} <= texts.keys():
            return texts["question"], texts["context"]
    raise CheckpointError(
        "the card has no example with a question and a context, so there is nothing to compare"
    )


def _assigned_strings(code: ast.Module) -> list[tuple[str, str]]:
    found = []
    for node in code.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found += [(target.id, value.value) for target in targets if isinstance(target, ast.Name)]
    return found
