"""Pairs of questions and windows of passages, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from provence_rag.inference.pair_encoder import PairEncoder
from provence_training.arrays import BoolArray, Float32Array, IntArray
from provence_training.pairs.assembly import WINDOW_SEGMENTS, Rows
from provence_training.pairs.pack import Pack, borders_of
from provence_training.pairs.targets import IGNORE

__all__ = ["Kind", "PairSet", "SentenceScores", "ragged"]


class Kind(IntEnum):
    """How the passage of a pair was found."""

    OWN = 0
    BM25 = 1
    RANDOM = 2
    JUNK = 3


class SentenceScores(NamedTuple):
    """A teacher's keep logits of the sentences of N windows."""

    values: Float32Array
    """NaN if unknown, shape (sentences,)."""
    borders: IntArray
    """Borders of the pairs in `values`, shape (N + 1,); a pair without scores has no values."""


@dataclass(frozen=True, kw_only=True)
class PairSet:
    """N pairs of a question with one or two windows of passages."""

    pack: Pack

    encoder: PairEncoder
    """Decides how much of a query, a title and a passage fits into the model's window."""

    groups: IntArray
    """A number for each question and turn, in order, shape (N,)."""

    questions: IntArray
    """Number of the question, shape (N,)."""

    kinds: IntArray
    """Values of `Kind`, shape (N,)."""

    with_keywords: BoolArray
    """Whether the question is read as people type it, shape (N,)."""

    with_title: BoolArray
    """Whether the passage's title is read before it, shape (N,)."""

    guided: BoolArray
    """Whether the pair learns from a guide, shape (N,)."""

    windows: IntArray
    """First sentence of each window and the one after its last, in reading order; the second window is
    empty in most pairs. Shape (N, 2, 2)."""

    labels: Float32Array
    """Relevance, NaN if unknown, shape (N,)."""

    with_pruning_labels: BoolArray
    """Whether the pair learns from the sentences' labels, shape (N,)."""

    teacher_scores: Float32Array
    """A teacher's relevance logits, NaN for none, shape (N,)."""

    sentence_scores: SentenceScores
    """The teacher's keep logits."""

    def __len__(self) -> int:
        return len(self.questions)

    @cached_property
    def lengths(self) -> IntArray:
        """Tokens of each pair's row, shape (N,)."""
        lengths: IntArray = self._segments(np.arange(len(self)))[1].sum(1)
        return lengths

    @property
    def room(self) -> IntArray:
        """Tokens of the model's window left for each pair's passages, shape (N,)."""
        lengths = self._segments(np.arange(len(self)))[1]
        lengths[:, WINDOW_SEGMENTS] = 0
        room: IntArray = self.encoder.config.max_length - lengths.sum(1)
        return room

    def is_known(self) -> BoolArray:
        """Whether there is anything to learn from each pair, shape (N,)."""
        _, labels, windows = self.sentence_labels(np.arange(len(self)))
        sentences = np.bincount(windows[labels != IGNORE] // 2, minlength=len(self)) > 0
        values, borders = self.sentence_scores
        owners = np.repeat(np.arange(len(self)), np.diff(borders))
        scores = np.bincount(owners[~np.isnan(values)], minlength=len(self)) > 0
        of_pairs = ~np.isnan(self.labels) | ~np.isnan(self.teacher_scores) | self.guided
        known: BoolArray = of_pairs | sentences | scores
        return known

    def select(self, chosen: BoolArray) -> PairSet:
        """Some of the pairs."""
        values, borders = self.sentence_scores
        numbers = np.flatnonzero(chosen)
        picked, lengths = ragged(borders[numbers], borders[numbers + 1])
        own: dict[str, Any] = {name: x[numbers] for name, x in self._per_pair().items()}
        return replace(self, **own, sentence_scores=SentenceScores(values[picked], borders_of(lengths)))

    @classmethod
    def concatenated(cls, sets: Sequence[PairSet]) -> PairSet:
        """Several sets of one pack, at least one, as one set."""
        bases = np.cumsum([0, *(len(np.unique(one.groups)) for one in sets)])
        renumbered = [
            replace(one, groups=np.unique(one.groups, return_inverse=True)[1] + base)
            for one, base in zip(sets, bases[:-1], strict=True)
        ]
        parts = [one._per_pair() for one in renumbered]
        together: dict[str, Any] = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        counts = np.concatenate([np.diff(one.sentence_scores.borders) for one in sets])
        values = np.concatenate([one.sentence_scores.values for one in sets])
        scores = SentenceScores(values, borders_of(counts))
        return replace(sets[0], **together, sentence_scores=scores)

    def sentence_labels(self, indices: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """The sentences of some pairs' windows: their numbers, labels and windows.

        The labels are 1 keep, 0 drop, or `IGNORE`. Windows are counted through the pairs, two each.
        """
        pack = self.pack
        runs = self.windows[indices].reshape(-1, 2)
        sentences, counts = ragged(runs[:, 0], runs[:, 1])
        windows = np.repeat(np.arange(len(runs)), counts)
        questions = self.questions[indices][windows // 2]
        own = pack.own[questions]
        first, end = pack.passages[own], pack.passages[own + 1]
        is_own = (own >= 0) & (first <= sentences) & (sentences < end)
        labels = np.zeros(len(sentences), dtype=np.int64)
        places = pack.label_borders[questions] + sentences - first
        labels[is_own] = pack.labels[places[is_own]]
        return sentences, np.where(self.with_pruning_labels[indices][windows // 2], labels, IGNORE), windows

    def rows(self, indices: Sequence[int] | IntArray) -> Rows:
        """The rows of some pairs.

        The end of the last window is cut if the row does not fit into the model's window. A sentence that
        loses all its tokens loses its targets, and a pair that loses all the sentences to keep loses its
        relevance label: the rest of its passage may not answer.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        starts, lengths = self._segments(chosen)
        sentences, labels, windows = self.sentence_labels(chosen)
        rows, segments = windows // 2, WINDOW_SEGMENTS[0] + windows % 2
        # Start and end of each sentence in its row, up to the cut.
        bounds = np.stack([self.pack.sentences[sentences], self.pack.sentences[sentences + 1]])
        bounds = np.minimum(bounds - starts[rows, segments], lengths[rows, segments])
        bounds += (np.cumsum(lengths, axis=1) - lengths)[rows, segments]
        is_unseen = bounds[0] == bounds[1]
        kept = np.bincount(rows[labels == 1], minlength=len(chosen))
        seen = np.bincount(rows[(labels == 1) & ~is_unseen], minlength=len(chosen))
        relevance = np.where((kept > 0) & (seen == 0), np.nan, self.labels[chosen])
        scores = self._scores_of(chosen, rows)
        return Rows(
            starts=torch.from_numpy(starts),
            lengths=torch.from_numpy(lengths),
            sentence_rows=torch.from_numpy(rows),
            sentence_starts=torch.from_numpy(bounds[0]),
            labels=torch.from_numpy(relevance.astype(np.float32)),
            teacher_scores=torch.from_numpy(self.teacher_scores[chosen]),
            pruning_labels=torch.from_numpy(np.where(is_unseen, IGNORE, labels)),
            sentence_teacher_scores=torch.from_numpy(np.where(is_unseen, np.float32(np.nan), scores)),
            guided=torch.from_numpy(self.guided[chosen]),
            query_ids=torch.from_numpy(np.unique(self.groups[chosen], return_inverse=True)[1]),
            num_tokens=int(lengths.sum(1).max(initial=0)),
        )

    def _segments(self, chosen: IntArray) -> tuple[IntArray, IntArray]:
        """Starts and lengths of the segments of some pairs' rows, each of shape (pairs, 8)."""
        pack, encoder = self.pack, self.encoder
        questions, windows = self.questions[chosen], self.windows[chosen]
        special = np.broadcast_to(pack.special.astype(np.int64), (len(chosen), 4))
        query = np.where(
            self.with_keywords[chosen],
            [pack.keywords[questions], pack.keywords[questions + 1]],
            [pack.questions[questions], pack.questions[questions + 1]],
        ).astype(np.int64)
        num_query = np.minimum(query[1] - query[0], encoder.query_limit)
        passages = np.searchsorted(pack.passages, windows[:, 0, 0], "right") - 1
        title = np.stack([pack.titles[passages], pack.titles[passages + 1]]).astype(np.int64)
        num_title = np.minimum(title[1] - title[0], encoder.title_limit(num_query))
        num_title *= self.with_title[chosen]
        has_title = (num_title > 0).astype(np.int64)  # a title that is cut still ends like a line
        room = encoder.config.max_length - encoder.layout.num_special_tokens - num_query - num_title
        body = pack.sentences[windows].astype(np.int64)  # (pairs, 2, 2)
        num_first = np.minimum(body[:, 0, 1] - body[:, 0, 0], room)
        num_second = np.minimum(body[:, 1, 1] - body[:, 1, 0], room - num_first)
        num_special = np.diff(special, axis=1)
        starts = (
            special[:, 0],
            query[0],
            special[:, 1],
            title[0],
            title[1] - 1,
            body[:, 0, 0],
            body[:, 1, 0],
            special[:, 2],
        )
        lengths = (
            num_special[:, 0],
            num_query,
            num_special[:, 1],
            num_title - has_title,
            has_title,
            num_first,
            num_second,
            num_special[:, 2],
        )
        return np.stack(starts, axis=1), np.stack(lengths, axis=1)

    def _scores_of(self, chosen: IntArray, rows: IntArray) -> Float32Array:
        """A teacher's scores of some pairs' sentences; `rows` has the pair of each sentence."""
        values, borders = self.sentence_scores
        picked, counts = ragged(borders[chosen], borders[chosen + 1])
        scores = np.full(len(rows), np.nan, dtype=np.float32)
        scores[(counts > 0)[rows]] = values[picked]
        return scores

    def _per_pair(self) -> dict[str, NDArray[Any]]:
        return {name: x for name, x in vars(self).items() if name != "lengths" and isinstance(x, np.ndarray)}


def ragged(starts: IntArray, ends: IntArray) -> tuple[IntArray, IntArray]:
    """The integers of many ranges, concatenated, and the length of each range."""
    counts = (ends - starts).astype(np.int64)
    skipped = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return skipped + np.arange(int(counts.sum())), counts
