"""Which sentences stay: from sentence scores to masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provence_rag.config import ProvenceConfig
from provence_rag.options import PruningOptions

__all__ = ["Candidates", "select"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Candidates:
    """The S sentences of one document, as selection sees them."""

    scores: NDArray[np.float64]
    """Keep probabilities in [0, 1], shape (S,)."""

    num_characters: NDArray[np.int64]
    """Lengths in characters, shape (S,)."""

    num_tokens: NDArray[np.int64]
    """Lengths in tokens, shape (S,)."""

    heading_levels: NDArray[np.int64]
    """1 to 6 for a Markdown heading, 0 for other sentences, shape (S,)."""

    num_title_sentences: int
    """How many sentences at the start are the document's title."""

    language: str
    """ISO 639-1 code."""


def select(documents: Sequence[Candidates], options: PruningOptions, config: ProvenceConfig) -> list[Mask]:
    """Choose the sentences to keep in all documents of one query.

    Args:
        documents: The documents, best first where they compete for a budget at equal scores.
        options: What the caller wants.
        config: The checkpoint's thresholds.

    Returns:
        For each document, True for the sentences to keep, shape (S,).
    """
    if options.mode == "budget":
        return _within_budget(documents, options)
    masks = [_chosen(document, options, config) for document in documents]
    masks = [_with_best(m, d, options.min_sentences) for m, d in zip(masks, documents, strict=True)]
    return [_with_company(m, d, options) for m, d in zip(masks, documents, strict=True)]


def _chosen(document: Candidates, options: PruningOptions, config: ProvenceConfig) -> Mask:
    scores = document.scores
    if options.mode == "off":
        return np.ones(len(scores), dtype=bool)
    if options.mode == "threshold":
        return scores >= (config.threshold if options.threshold is None else options.threshold)
    if options.mode == "ratio":
        assert options.ratio is not None  # checked by PruningOptions
        return _without_worst(document, options.ratio)
    rule = config.dynamic_rule(document.language)
    return scores >= max(rule.floor, rule.share * float(scores.max(initial=0.0)))


def _without_worst(document: Candidates, ratio: float) -> Mask:
    """Drop the worst sentences, later ones first among equals, while the share removed stays within `ratio`."""
    order = np.lexsort((-np.arange(len(document.scores)), document.scores))
    removed = np.cumsum(document.num_characters[order])
    mask = np.ones(len(order), dtype=bool)
    # The tolerance is for a ratio that is not a binary fraction: 0.3 of 10 sentences is 3 of them.
    mask[order[removed <= ratio * document.num_characters.sum() * (1 + 1e-12)]] = False
    return mask


def _with_best(mask: Mask, document: Candidates, count: int) -> Mask:
    """Add the best sentences until `count` are kept."""
    missing = count - int(mask.sum())
    if missing <= 0:
        return mask
    order = np.argsort(-document.scores, kind="stable")
    mask = mask.copy()
    mask[order[~mask[order]][:missing]] = True
    return mask


def _with_company(mask: Mask, document: Candidates, options: PruningOptions) -> Mask:
    """Add neighbours, the title and headings of what is kept."""
    if not mask.any() or mask.all():
        return mask
    kept = np.flatnonzero(mask)
    mask = mask.copy()
    for step in range(-options.context_before, options.context_after + 1):
        mask[np.clip(kept + step, 0, len(mask) - 1)] = True
    if options.keep_headings:
        _add_headings(mask, document.heading_levels)
    if options.keep_title:
        mask[: document.num_title_sentences] = True
    return mask


def _add_headings(mask: Mask, levels: NDArray[np.int64]) -> None:
    open_headings: list[int] = []
    for index, level in enumerate(levels):
        if level:
            while open_headings and levels[open_headings[-1]] >= level:
                open_headings.pop()
        if mask[index]:
            mask[open_headings] = True
        if level:
            open_headings.append(index)


def _within_budget(documents: Sequence[Candidates], options: PruningOptions) -> list[Mask]:
    """Take the best sentences of all documents, each with its company, as long as they fit.

    `min_sentences` comes first, even where it exceeds the budget.
    """
    assert options.max_tokens is not None  # checked by PruningOptions
    nothing = [np.zeros(len(d.scores), dtype=bool) for d in documents]
    masks = [
        _with_company(_with_best(m, d, options.min_sentences), d, options)
        for m, d in zip(nothing, documents, strict=True)
    ]
    spent = sum(int(d.num_tokens[m].sum()) for d, m in zip(documents, masks, strict=True))
    ranked = sorted(
        (-score, number, index)
        for number, document in enumerate(documents)
        for index, score in enumerate(document.scores.tolist())
    )
    for _, number, index in ranked:
        document, mask = documents[number], masks[number]
        if mask[index] or spent + document.num_tokens[index] > options.max_tokens:
            continue
        seed = np.zeros_like(mask)
        seed[index] = True
        wider = mask | _with_company(seed, document, options)
        cost = int(document.num_tokens[wider & ~mask].sum())
        if spent + cost <= options.max_tokens:
            masks[number] = wider
            spent += cost
    return masks
