"""Which sentences stay: from sentence scores to masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from provence_rag.chunking import Chunks
from provence_rag.config import ProvenceConfig
from provence_rag.inference.arrays import FloatArray, IntArray, Mask
from provence_rag.inference.together import (
    Partners,
    clearly_named,
    leading,
    outranked,
    settled,
    standing_out,
    without_frames,
)
from provence_rag.options import PruningOptions

__all__ = ["Candidates", "select"]


@dataclass(frozen=True)
class Candidates:
    """The S sentences of one document, as selection sees them."""

    scores: FloatArray
    """Keep probabilities in [0, 1], shape (S,)."""

    num_characters: IntArray
    """Lengths in characters, shape (S,)."""

    num_tokens: IntArray
    """Lengths in tokens, each with the white space after the sentence, shape (S,)."""

    heading_levels: IntArray
    """1 to 6 for a Markdown heading, 0 for other sentences, shape (S,)."""

    num_title_sentences: int
    """How many sentences at the start are the document's title."""

    language: str
    """ISO 639-1 code."""

    seam_tokens: int = 0
    """Maximum number of tokens that joining two sentences across a gap adds: the strongest separator in the
    gap stays, such as a paragraph break."""

    chunks: Chunks = field(default_factory=Chunks)
    """The sentences and what holds them together."""

    asks_how: bool = False
    """Whether the question asks how something is done: then a step takes the others along."""

    named: frozenset[int] = frozenset()
    """Numbers of the records that the question names."""


def select(documents: Sequence[Candidates], options: PruningOptions, config: ProvenceConfig) -> list[Mask]:
    """Choose the sentences to keep in all documents of one query.

    Args:
        documents: The documents. With a budget, earlier ones come first at equal scores.
        options: What the caller wants, in any mode but `off`.
        config: The checkpoint's thresholds.

    Returns:
        For each document, True for the sentences to keep, shape (S,).
    """
    documents = [_judged(document) for document in documents]
    if options.mode == "budget":
        masks = _within_budget(documents, options, config)
    else:
        masks = [_selected(document, options, config) for document in documents]
    return [settled(mask, document.chunks) for mask, document in zip(masks, documents, strict=True)]


def _judged(document: Candidates) -> Candidates:
    """The document with the scores that its sentences compete with."""
    return replace(document, scores=without_frames(document.scores, document.chunks))


def _selected(document: Candidates, options: PruningOptions, config: ProvenceConfig) -> Mask:
    if document.chunks.kept_whole is not None:
        return np.ones(len(document.scores), dtype=bool)
    mask = _chosen(document, options, config)
    mask[_best(document, options.min_sentences - int(mask.sum()), among=~mask)] = True
    mask[_Company(document, options).of(np.flatnonzero(mask))] = True
    return mask


def _chosen(document: Candidates, options: PruningOptions, config: ProvenceConfig) -> Mask:
    scores = document.scores
    if options.mode == "threshold" or options.threshold is not None:
        return scores >= (config.threshold if options.threshold is None else options.threshold)
    if options.mode == "ratio":
        assert options.ratio is not None  # checked by PruningOptions
        return _without_worst(document, options.ratio)
    rule = config.dynamic_rule(document.language, options.keep_answers)
    mask: Mask = scores >= rule.least_kept(float(scores.max(initial=0.0)))
    if not mask.any() and options.keep_together:
        mask[standing_out(scores, document.chunks, rule.floor)] = True
    mask &= ~outranked(scores, document.chunks.records)
    mask[clearly_named(document.named, scores, document.chunks.records, rule.floor)] = True
    return mask


def _without_worst(document: Candidates, ratio: float) -> Mask:
    """Drop the worst sentences, later ones first among equals, while no more than `ratio` is removed."""
    order = np.lexsort((-np.arange(len(document.scores)), document.scores))
    removed = np.cumsum(document.num_characters[order])
    mask = np.ones(len(order), dtype=bool)
    # The tolerance is for a ratio that is not a binary fraction: 0.3 of 10 sentences is 3 of them.
    mask[order[removed <= ratio * document.num_characters.sum() * (1 + 1e-12)]] = False
    return mask


def _best(document: Candidates, count: int, among: Mask) -> IntArray:
    """The `count` best sentences of those in a mask, earlier ones first among equals."""
    order = np.argsort(-document.scores, kind="stable")
    return order[among[order]][: max(count, 0)]


class _Company:
    """What is kept along with chosen sentences: partners, neighbours, the headings above them, the title."""

    def __init__(self, document: Candidates, options: PruningOptions) -> None:
        self._size = len(document.scores)
        self._before = min(options.context_before, self._size)
        self._after = min(options.context_after, self._size)
        self._title = np.arange(document.num_title_sentences if options.keep_title else 0)
        self._above = _headings_above(document.heading_levels) if options.keep_headings else None
        self._links = document.chunks.links
        self._partners = Partners(
            document.chunks.links,
            keep_together=options.keep_together,
            leading=leading(document.scores) if document.asks_how else None,
        )

    def of(self, chosen: IntArray) -> IntArray:
        """The chosen sentences, in ascending order, and their company."""
        if not len(chosen):
            return chosen
        members = self._partners.of(chosen)
        members = self._neighbourhood(members) if self._before or self._after else members
        if self._above is not None:
            headings = members
            while len(headings):  # as often as headings are nested
                headings = np.unique(self._above[headings])
                headings = headings[headings >= 0]
                members = np.union1d(members, headings)
        members = np.union1d(self._title, members) if len(self._title) else members
        return self._partners.needed_by(members)

    def least_of(self, index: int) -> IntArray:
        """A sentence with that alone which its document cannot be without."""
        return Partners(self._links).of(np.array([index]))

    def _neighbourhood(self, chosen: IntArray) -> IntArray:
        # Only the stretch between the first and the last neighbour is looked at: a budget asks for one
        # sentence at a time, in documents of many.
        first = max(0, int(chosen[0]) - self._before)
        begins = np.maximum(chosen - self._before, 0) - first
        ends = np.minimum(chosen + self._after + 1, self._size) - first
        steps = np.zeros(ends[-1] + 1, dtype=np.int64)
        np.add.at(steps, begins, 1)
        np.add.at(steps, ends, -1)
        return first + np.flatnonzero(np.cumsum(steps))


def _headings_above(levels: IntArray) -> IntArray:
    """For each sentence, the index of the nearest heading that it stands under, or -1."""
    above = np.full(len(levels), -1, dtype=np.int64)
    open_headings: list[int] = []
    for index, level in enumerate(levels.tolist()):
        while level and open_headings and levels[open_headings[-1]] >= level:
            open_headings.pop()
        if open_headings:
            above[index] = open_headings[-1]
        if level:
            open_headings.append(index)
    return above


def _within_budget(
    documents: Sequence[Candidates], options: PruningOptions, config: ProvenceConfig
) -> list[Mask]:
    """Take the best sentences of all documents, each with its company, as long as they fit.

    `min_sentences` comes first, with its company, even if that exceeds the budget. Then the best sentence of
    all documents, without its company if that does not fit: no worse sentence takes its place. The frames of
    a record belong to it.
    """
    assert options.max_tokens is not None  # checked by PruningOptions
    companies = [_Company(document, options) for document in documents]
    masks = [np.zeros(len(document.scores), dtype=bool) for document in documents]
    left = options.max_tokens
    for document, company, mask in zip(documents, companies, masks, strict=True):
        members = company.of(np.sort(_best(document, options.min_sentences, among=~mask)))
        mask[members] = True
        left -= _cost(document, members, is_first=True)
    ranked = sorted(
        (-float(document.scores[index]), number, index)
        for number, document in enumerate(documents)
        for index in np.flatnonzero(_good_enough(document, options, config)).tolist()
        if document.scores[index] >= 0  # frames have less
    )
    begun = {number for number, mask in enumerate(masks) if mask.any()}
    best = ranked[0] if ranked else None
    for entry in ranked:
        _, number, index = entry
        document, mask = documents[number], masks[number]
        if mask[index]:
            continue
        if document.num_tokens[index] > left:
            if entry is best:
                break
            continue
        members = companies[number].of(np.array([index]))
        members = members[~mask[members]]
        cost = _cost(document, members, is_first=number not in begun)
        if entry is best and cost > left:
            members = companies[number].least_of(index)
            members = members[~mask[members]]
            cost = _cost(document, members, is_first=number not in begun)
        if entry is best and cost > left:
            break
        if cost <= left:
            mask[members] = True
            left -= cost
            begun.add(number)
    return masks


def _cost(document: Candidates, members: IntArray, *, is_first: bool) -> int:
    """Tokens that some sentences add to those of the document that are already kept."""
    seams = max(0, len(members) - is_first)
    return int(document.num_tokens[members].sum()) + seams * document.seam_tokens


def _good_enough(document: Candidates, options: PruningOptions, config: ProvenceConfig) -> Mask:
    """Which sentences a budget may hold: all of them, unless the caller gives a floor."""
    if options.threshold is None and options.keep_answers is None:
        return np.ones(len(document.scores), dtype=bool)
    return _chosen(document, options, config)
