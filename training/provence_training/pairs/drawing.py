"""Drawing pairs: which question meets which window of which passage."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from provence_rag.errors import InvalidInputError
from provence_rag.inference.pair_encoder import PairEncoder
from provence_training.arrays import BoolArray, Float32Array, FloatArray, IntArray
from provence_training.config import PairConfig
from provence_training.pairs.pack import Pack
from provence_training.pairs.pair_set import Kind, PairSet, SentenceScores
from provence_training.pairs.targets import IGNORE
from provence_training.pairs.windows import draw_windows, whole_windows

__all__ = ["draw_pairs"]


_SHORTEST_PARTNER = 16
"""Fewest tokens for a second passage beside the one that answers."""

_SHARE_BESIDE_PARTNER = (0.3, 0.7)
"""Smallest and largest share of the tokens for both that the answering passage gets."""

log = logging.getLogger(__name__)


class _Plan(NamedTuple):
    """Groups, questions and kinds of passages of N pairs; shape (N,) each."""

    groups: IntArray
    questions: IntArray
    kinds: IntArray


def draw_pairs(
    pack: Pack,
    config: PairConfig,
    encoder: PairEncoder,
    *,
    seed: int,
    weights: Mapping[str, float] | None = None,
    guided: frozenset[str] = frozenset(),
) -> PairSet:
    """Pair questions with passages.

    Args:
        pack: The corpus.
        config: How many pairs, and which.
        encoder: The checkpoint's encoder.
        seed: The same seed gives the same pairs.
        weights: Weight of a data set among the questions drawn; by default the number of its questions.
        guided: Data sets whose questions learn from a guide.

    A teacher (`config.teacher`) or a guide tells what is not labelled. Without them, unlabelled questions are
    not drawn, and a passage whose evidence is not marked is read whole, since a part of it may not answer.

    Returns:
        The pairs in random order, with those of one question and turn together. A question that every passage
        may answer gets no negative; the log says how many did not.

    Raises:
        InvalidInputError: There are no questions, or a data set with a weight has none.
    """
    is_guided = np.isin(pack.sources, sorted(guided))[pack.question_sources]
    draw = _Draw(pack, config, encoder, np.random.default_rng(seed), is_guided)
    plan = draw.plan(dict(weights or {}))
    passages = draw.passages(plan)
    found = passages >= 0
    if not found.all():
        log.warning(
            "%d of %d pairs left out: every other passage may answer the question", (~found).sum(), len(found)
        )
    return draw.pairs(_Plan(*(part[found] for part in plan)), passages[found])


class _Draw:
    """Draws everything from one random generator."""

    def __init__(
        self,
        pack: Pack,
        config: PairConfig,
        encoder: PairEncoder,
        rng: np.random.Generator,
        is_guided: BoolArray,
    ) -> None:
        self._pack = pack
        self._config = config
        self._encoder = encoder
        self._rng = rng
        # For each question; most other arrays are for each pair.
        self._is_guided = is_guided
        self._is_taught = is_guided | config.teacher

    def plan(self, weights: dict[str, float]) -> _Plan:
        """Plan which question meets which kinds of passages."""
        config, pack = self._config, self._pack
        is_known = (~np.isnan(pack.relevance) & config.labels) | self._is_taught
        sources = self._weights(weights, is_known)
        kinds = np.array([Kind.BM25, Kind.RANDOM, Kind.JUNK])
        shares = np.array([config.bm25, config.random, config.junk])
        if config.per_question > 1:
            count = None if config.count is None else -(-config.count // config.per_question)
            questions = self._questions(is_known, sources, count)
            size = config.per_question
            drawn = self._rng.choice(kinds, (len(questions), size), p=shares / shares.sum())
            drawn[:, 0] = np.where(pack.own[questions] >= 0, Kind.OWN, drawn[:, 0])
            groups = np.repeat(np.arange(len(questions)), size)
            end = config.count
            return _Plan(groups[:end], np.repeat(questions, size)[:end], drawn.reshape(-1)[:end])
        has_own = is_known & (pack.own >= 0)
        own_share = 1 - shares.sum()
        num_own = None if config.count is None else round(config.count * own_share)
        own = self._questions(has_own, sources, num_own)
        total = round(len(own) / own_share) if config.count is None else config.count
        counts = np.floor(total * shares + 0.5).astype(np.int64)
        counts = np.minimum(counts, np.maximum(0, total - len(own) - (np.cumsum(counts) - counts)))
        parts = [own, *(self._questions(is_known, sources, int(count)) for count in counts)]
        order = self._rng.permutation(sum(map(len, parts)))
        kind = np.repeat([Kind.OWN, *kinds], [len(part) for part in parts])
        return _Plan(np.arange(len(order)), np.concatenate(parts)[order], kind[order])

    def _weights(self, weights: dict[str, float], is_known: BoolArray) -> FloatArray:
        """The weight of each source, 0 if nothing is drawn from it."""
        pack = self._pack
        names = pack.sources.tolist()
        asked = np.bincount(pack.question_sources, minlength=len(names))
        known = np.bincount(pack.question_sources[is_known], minlength=len(names))
        for source, weight in weights.items():
            if weight > 0 and (source not in names or not asked[names.index(source)]):
                raise InvalidInputError(f"the source {source!r} has a weight, but no questions")
        if not known.any():
            raise InvalidInputError(
                "no question can be learned from: questions need labels, a teacher or a guide"
            )
        return np.array([weights.get(name, count) for name, count in zip(names, known, strict=True)])

    def _questions(self, eligible: BoolArray, sources: FloatArray, count: int | None) -> IntArray:
        """Questions by the data sets' weights, or (None) each once. Those of a set repeat only in turns."""
        numbers = np.flatnonzero(eligible & (sources[self._pack.question_sources] > 0))
        if count is None:
            return self._rng.permutation(numbers)
        of_source = self._pack.question_sources[numbers]
        weights = np.where(np.bincount(of_source, minlength=len(sources)) > 0, sources, 0)
        if not count or not weights.any():
            return np.zeros(0, dtype=np.int64)
        drawn = self._rng.choice(len(sources), count, p=weights / weights.sum())
        questions = np.empty(count, dtype=np.int64)
        for source in np.unique(drawn):
            places = np.flatnonzero(drawn == source)
            pool = numbers[of_source == source]
            turns = [self._rng.permutation(pool) for _ in range(-(-len(places) // len(pool)))]
            questions[places] = np.concatenate(turns)[: len(places)]
        return questions

    def passages(self, plan: _Plan) -> IntArray:
        """A passage for each pair, -1 if every passage may answer.

        If BM25 finds none, it is a random one. A question meets a passage twice only if there are no others.
        """
        pack = self._pack
        neighbours = self._listed(pack.neighbours, plan, plan.kinds == Kind.BM25)
        others = self._listed(pack.others, plan, (plan.kinds == Kind.RANDOM) | (neighbours < 0))
        num_junk = len(pack.passages) - 1 - pack.num_texts
        junk = pack.num_texts + self._rng.integers(max(1, num_junk), size=len(plan.kinds))
        chosen = np.where(neighbours >= 0, neighbours, others)
        chosen = np.where(plan.kinds == Kind.JUNK, junk, chosen)
        return np.where(plan.kinds == Kind.OWN, pack.own[plan.questions], chosen)

    def _listed(self, lists: IntArray, plan: _Plan, wanted: BoolArray) -> IntArray:
        """One of the passages listed for each question where wanted; -1 elsewhere and if there are none."""
        chosen = np.full(len(wanted), -1, dtype=np.int64)
        pairs = np.flatnonzero(wanted)
        if not len(pairs):
            return chosen
        _, first, inverse = np.unique(plan.groups[pairs], return_index=True, return_inverse=True)
        rows = lists[plan.questions[pairs[first]]]
        keys = np.where(rows >= 0, self._rng.random(rows.shape), 2)
        shuffled = np.take_along_axis(rows, np.argsort(keys, axis=1), axis=1)
        ranks = np.arange(len(pairs)) - first[inverse]
        count = np.maximum((rows >= 0).sum(1), 1)
        chosen[pairs] = shuffled[inverse, ranks % count[inverse]]
        return chosen

    def pairs(self, plan: _Plan, passages: IntArray) -> PairSet:
        """The windows of each pair, and its labels."""
        config, rng, pack = self._config, self._rng, self._pack
        size = len(passages)
        # One decision per question and turn, since losses compare a question's passages with each other.
        turns, turn = np.unique(plan.groups, return_inverse=True)
        partners = self._partners(plan)
        titles = np.diff(pack.titles)[passages]
        pairs = PairSet(
            pack=pack,
            encoder=self._encoder,
            groups=plan.groups,
            questions=plan.questions,
            kinds=plan.kinds,
            with_keywords=(rng.random(len(turns)) < config.keyword_queries)[turn],
            with_title=(rng.random(size) < config.titles) & (titles > 0) & (partners < 0),
            guided=self._is_guided[plan.questions],
            windows=np.stack([whole_windows(pack, passages), np.zeros((size, 2), dtype=np.int64)], axis=1),
            labels=self._labels(plan),
            with_pruning_labels=np.zeros(size, dtype=bool),
            teacher_scores=np.full(size, np.nan, dtype=np.float32),
            sentence_scores=SentenceScores(np.zeros(0, dtype=np.float32), np.zeros(size + 1, dtype=np.int64)),
        )
        limits = pairs.room
        if config.window is not None:
            low, high = config.window
            limits = np.minimum(limits, rng.integers(low, high + 1, len(turns))[turn])
        windows = self._windows(plan, passages, limits, partners)
        # Any sentence may be what makes an unmarked passage relevant, so a part of it may not be relevant.
        is_part = (windows[:, 0] != pairs.windows[:, 0]).any(1)
        labels = np.where(self._is_unmarked(plan) & is_part & (pairs.labels > 0), np.nan, pairs.labels)
        return replace(
            pairs,
            windows=windows,
            labels=labels.astype(np.float32),
            with_pruning_labels=~np.isnan(pairs.labels),
        )

    def _labels(self, plan: _Plan) -> Float32Array:
        """Relevance of each pair's whole passage, NaN if it is unknown or not learned from."""
        relevance = self._pack.relevance[plan.questions]
        labels = np.where(plan.kinds == Kind.OWN, relevance, np.where(np.isnan(relevance), np.nan, 0.0))
        # Without the answer's text, passages that BM25 finds may answer; a teacher can tell which.
        is_doubtful = self._is_taught & ~self._pack.has_answer
        labels[(plan.kinds == Kind.BM25) & is_doubtful[plan.questions]] = np.nan
        labels[plan.kinds == Kind.JUNK] = 0.0
        return np.where(self._config.labels, labels, np.nan).astype(np.float32)

    def _is_unmarked(self, plan: _Plan) -> BoolArray:
        """Whether a passage is the question's own, with unknown answering sentences."""
        pack, own = self._pack, np.flatnonzero(plan.kinds == Kind.OWN)
        unmarked = np.zeros(len(plan.kinds), dtype=bool)
        questions = plan.questions[own]
        first = pack.labels[pack.label_borders[questions]]
        unmarked[own] = (first == IGNORE) & ~pack.has_answer[questions]
        return unmarked

    def _partners(self, plan: _Plan) -> IntArray:
        """A second passage for the share `joined` of the passages that answer; else -1."""
        pack, questions = self._pack, plan.questions
        chosen = (plan.kinds == Kind.OWN) & (self._rng.random(len(questions)) < self._config.joined)
        chosen &= pack.has_answer[questions] & (pack.relevance[questions] > 0)
        partners = self._listed(pack.neighbours, plan, chosen)
        return np.where(partners >= 0, partners, self._listed(pack.others, plan, chosen & (partners < 0)))

    def _windows(self, plan: _Plan, passages: IntArray, limits: IntArray, partners: IntArray) -> IntArray:
        """The windows of each pair's passage and its partner, of at most `limits` tokens, (N, 2, 2)."""
        pack, rng = self._pack, self._rng
        size = len(passages)
        first = whole_windows(pack, passages)
        labels = self._labels(plan)
        is_whole = self._is_unmarked(plan) & (labels > 0) & ~self._is_taught[plan.questions]
        cut = np.flatnonzero(~is_whole & (self._config.window is not None))
        wanted = self._wanted(plan, passages)
        has_partner = partners >= 0
        room = np.where(has_partner, limits * rng.uniform(*_SHARE_BESIDE_PARTNER, size), limits)
        first[cut] = draw_windows(pack, passages[cut], wanted[cut], room[cut].astype(np.int64), rng)
        second = np.zeros((size, 2), dtype=np.int64)
        left = limits - (pack.sentences[first[:, 1]] - pack.sentences[first[:, 0]])
        joined = np.flatnonzero(has_partner & (left >= _SHORTEST_PARTNER))
        beside = partners[joined]
        run = draw_windows(pack, beside, self._anywhere(beside), left[joined], rng)
        fits = pack.sentences[run[:, 1]] - pack.sentences[run[:, 0]] <= left[joined]
        second[joined[fits]] = run[fits]
        windows = np.stack([first, second], axis=1)
        turned = joined[fits][rng.random(int(fits.sum())) < 0.5]
        windows[turned] = windows[turned, ::-1]
        return windows

    def _wanted(self, plan: _Plan, passages: IntArray) -> IntArray:
        """A sentence of each passage for its window: one that answers or, without labels, any one."""
        pack, rng = self._pack, self._rng
        wanted = self._anywhere(passages)
        if not self._config.labels:
            return wanted
        kept = np.flatnonzero(pack.labels == 1)
        borders = np.searchsorted(kept, pack.label_borders)
        counts = np.diff(borders)[plan.questions]
        own = np.flatnonzero((plan.kinds == Kind.OWN) & (counts > 0))
        questions = plan.questions[own]
        labels = kept[borders[questions] + np.floor(rng.random(len(own)) * counts[own]).astype(np.int64)]
        wanted[own] = pack.passages[passages[own]] + labels - pack.label_borders[questions]
        return wanted

    def _anywhere(self, passages: IntArray) -> IntArray:
        """A random sentence of each passage."""
        whole = whole_windows(self._pack, passages)
        drawn = self._rng.random(len(passages)) * (whole[:, 1] - whole[:, 0])
        return whole[:, 0] + np.floor(drawn).astype(np.int64)
