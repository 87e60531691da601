"""The engine: queries and documents in, scored and pruned documents out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from provence_rag.chunking import BaseChunker, heading_level
from provence_rag.config import ProvenceConfig
from provence_rag.errors import CheckpointError
from provence_rag.inference.arrays import FloatArray, IntArray, Mask
from provence_rag.inference.assembly import assemble
from provence_rag.inference.backend import Backend, Logits
from provence_rag.inference.batching import batches, padded
from provence_rag.inference.encoding import TextTokenizer, Window, separator_lengths
from provence_rag.inference.naming import named
from provence_rag.inference.notices import Notice
from provence_rag.inference.planning import Document, Pair, Plan, Planner
from provence_rag.inference.score_cache import ComputedScores, ScoreCache
from provence_rag.inference.scoring import keep_probabilities, sentence_scores, sigmoid, tempered
from provence_rag.inference.selection import Candidates, select
from provence_rag.inference.together import asks_how
from provence_rag.options import PruningOptions
from provence_rag.results import PrunedPassage, Sentence

__all__ = ["Engine", "Pair", "Progress", "ScoredPair"]

Progress = Callable[[Iterable[list[int]], int], Iterable[list[int]]]


@dataclass(frozen=True)
class ScoredPair:
    """What the model computes for a pair."""

    pair: Pair

    document: Document

    logit: float | None
    """That of the best window; -inf if there is nothing to read, None without a ranking head."""

    score: float | None
    """The logit after the checkpoint's activation."""

    sentence_scores: FloatArray | None
    """Keep probabilities, shape (S,); None without a pruning head."""

    untrained_language: str | None
    """As in `PrunedPassage`."""


class Engine:
    """Everything between the facade and a backend. No call changes its state, but for the scores in `cache`.

    Args:
        backend: Runs the model.
        tokenizer: The checkpoint's tokenizer.
        config: The checkpoint's configuration.
        pad_token_id: The checkpoint's padding token.
        unknown_token_id: The token of text that the vocabulary lacks; None if there is no such token.
        chunker: Splits documents into sentences; None is the multilingual chunker.

    Raises:
        CheckpointError: The windows are too short for the tokenizer's special tokens.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: TextTokenizer,
        config: ProvenceConfig,
        *,
        pad_token_id: int,
        unknown_token_id: int | None = None,
        chunker: BaseChunker | None = None,
    ) -> None:
        self.backend = backend
        self.config = config
        self.cache: ScoreCache | None = None
        self._pad_token_id = pad_token_id
        self._tokenizer = tokenizer
        self._layout = tokenizer.layout
        self._planner = Planner(tokenizer, config, chunker, unknown_token_id)

    def count_tokens(self, text: str) -> int:
        """The number of tokens of a text, without special tokens."""
        return len(self._tokenizer.tokenize([text])[0])

    def notices(self, query: str) -> list[Notice]:
        """Why a query is not read as well as others; `score` warns of the same."""
        return self._planner.notices(query)

    def score(
        self,
        pairs: Sequence[Pair],
        *,
        language: str = "auto",
        longest_sentence: int | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> list[ScoredPair]:
        """Run the model on all windows of all pairs, in length-sorted batches.

        Args:
            pairs: What to read. Equal documents are split and tokenized once.
            language: As in `PruningOptions`.
            longest_sentence: Maximum number of tokens in a sentence; a longer one is split, and its parts
                are judged separately.
            batch_size: Windows per batch; None fills each batch up to a number of tokens.
            progress: Wraps the iterable of batches, to show progress. It is called with the batches, as lists
                of window numbers, and with the number of windows.

        Raises:
            InvalidInputError: The language is not supported.
            CheckpointError: The backend does not return the logits that the configuration promises.
        """
        if not pairs:
            return []
        plans = self._planner.plans(pairs, language, longest_sentence)
        compute = partial(self._computed, batch_size=batch_size, progress=progress)
        computed = compute(plans) if self.cache is None else self.cache.scores(plans, compute)
        logits: Iterable[float | None] = repeat(None)
        scores = logits
        if self.config.can_rank:
            logits = [one.logit for one in computed]
            is_logit = self.config.score_activation == "identity"
            scores = logits if is_logit else sigmoid(np.array(logits)).tolist()
        return [
            ScoredPair(
                pair=plan.pair,
                document=plan.document,
                logit=logit,
                score=score,
                sentence_scores=one.sentences if self.config.can_prune else None,
                untrained_language=plan.untrained_language,
            )
            for plan, one, logit, score in zip(plans, computed, logits, scores, strict=False)
        ]

    def _computed(
        self, plans: Sequence[Plan], *, batch_size: int | None, progress: Progress | None
    ) -> list[ComputedScores]:
        """What the model computes for each pair."""
        bases = np.cumsum([0, *(len(plan.document.tokens) for plan in plans)])
        logits, probabilities = self._run(plans, bases, batch_size, progress)
        logits[[plan.document.is_unread for plan in plans]] = -np.inf
        by_pair = [np.empty(0)] * len(plans)
        if self.config.can_prune:
            by_pair = self._sentence_scores(plans, bases, probabilities)
        return list(map(ComputedScores, logits.tolist(), by_pair))

    def _run(
        self,
        plans: Sequence[Plan],
        bases: IntArray,
        batch_size: int | None,
        progress: Progress | None,
    ) -> tuple[FloatArray, FloatArray]:
        """The ranking logit of each pair's best window, and the keep probabilities of all tokens in a row."""
        windows = [window for plan in plans for window in plan.windows]
        after = len(self._layout.after)
        lengths = [len(plans[w.document].head.ids) + w.end - w.start + after for w in windows]
        ranking = np.full(len(plans), -np.inf)
        probabilities = np.zeros(bases[-1])
        grouped: Iterable[list[int]] = batches(lengths, batch_size)
        for batch in progress(grouped, len(windows)) if progress else grouped:
            chosen = [windows[i] for i in batch]
            logits = self._logits(chosen, plans, self._padded_length(lengths[batch[0]]))
            if logits.ranking is not None:
                np.maximum.at(ranking, [w.document for w in chosen], logits.ranking.astype(np.float64))
            if logits.pruning is not None:
                keep = keep_probabilities(logits.pruning)
                for row, (number, start, end) in zip(keep, chosen, strict=True):
                    skipped = len(plans[number].head.ids)
                    probabilities[bases[number] + start : bases[number] + end] = row[skipped:][: end - start]
        return ranking, probabilities

    def _padded_length(self, longest: int) -> int:
        """The length that a batch is padded to, for the length of its longest window."""
        multiple = self.backend.pad_to_multiple_of
        return min(-(-longest // multiple) * multiple, self.config.max_length)

    def _logits(self, windows: Sequence[Window], plans: Sequence[Plan], num_tokens: int) -> Logits:
        """Pad windows to a batch and run it."""
        inputs = padded(windows, plans, self._layout, pad_token_id=self._pad_token_id, num_tokens=num_tokens)
        logits = self.backend.run(*inputs)
        has_ranking, has_pruning = logits.ranking is not None, logits.pruning is not None
        if (self.config.can_rank and not has_ranking) or (self.config.can_prune and not has_pruning):
            raise CheckpointError(
                f"the checkpoint's mode is {self.config.mode!r}, but its {self.backend.name} model has no "
                f"{'pruning' if has_ranking else 'ranking'} logits: use another backend, or export it again"
            )
        return logits

    def _sentence_scores(
        self, plans: Sequence[Plan], bases: IntArray, probabilities: FloatArray
    ) -> list[FloatArray]:
        """Scores of each pair's sentences, computed for all pairs at once."""
        sentence_bases = np.cumsum([0, *(len(plan.document.spans) for plan in plans)])
        bounds = [plan.unit_bounds[:-1] + base for plan, base in zip(plans, bases[:-1], strict=True)]
        sentences = [p.unit_sentences + base for p, base in zip(plans, sentence_bases[:-1], strict=True)]
        scores = sentence_scores(
            probabilities,
            np.concatenate([*bounds, bases[-1:]]),
            np.concatenate(sentences),
            int(sentence_bases[-1]),
            self.config.scoring,
        )
        temperatures = np.array([self.config.temperature_of(plan.document.language) for plan in plans])
        if (temperatures != 1.0).any():
            scores = tempered(scores, np.repeat(temperatures, np.diff(sentence_bases)))
        scores[np.concatenate([plan.document.unread for plan in plans])] = 0.0
        return np.split(scores, sentence_bases[1:-1])

    def prune(
        self, scored: Sequence[ScoredPair], indices: Sequence[int], options: PruningOptions
    ) -> list[PrunedPassage]:
        """Select and assemble the documents of one query.

        Args:
            scored: The documents, in the order of the result.
            indices: The position of each in the caller's list.
            options: How sentences are selected.
        """
        masks = self.select(scored, options)
        return [_passage(*of_one) for of_one in zip(scored, indices, masks, strict=True)]

    def select(self, scored: Sequence[ScoredPair], options: PruningOptions) -> list[Mask]:
        """Choose the sentences of the documents of one query: for each, which are kept, shape (S,)."""
        if not self.config.can_prune or options.mode == "off":
            return [np.ones(len(one.document.spans), dtype=bool) for one in scored]
        return select([_candidates(one, options) for one in scored], options, self.config)


def _candidates(scored: ScoredPair, options: PruningOptions) -> Candidates:
    document = scored.document
    spans = document.spans
    assert scored.sentence_scores is not None  # there is a pruning head
    levels = [0] * len(spans)
    if options.keep_headings:
        levels = [heading_level(document.text[span.start : span.end]) for span in spans]
    separators = separator_lengths(document.tokens, spans, document.bounds)[:-1]
    return Candidates(
        scores=scored.sentence_scores,
        num_characters=np.array([span.end - span.start for span in spans], dtype=np.int64),
        num_tokens=np.diff(document.bounds),
        heading_levels=np.array(levels, dtype=np.int64),
        num_title_sentences=_num_title_sentences(document, scored.pair.title),
        language=document.language,
        seam_tokens=int(separators.max() - separators.min()) if len(separators) else 0,
        chunks=document.chunks,
        asks_how=asks_how(scored.pair.query),
        named=_named(scored) if options.mode == "dynamic" else frozenset(),  # only its rule asks
    )


def _named(scored: ScoredPair) -> frozenset[int]:
    """Numbers of the records that the query names; none without records to choose from."""
    records = sorted(scored.document.chunks.records)
    if len(records) < 2:
        return frozenset()
    spans = [scored.document.spans[number] for number in records]
    rows = [scored.document.text[span.start : span.end] for span in spans]
    return frozenset(np.array(records)[named(scored.pair.query, rows)].tolist())


def _num_title_sentences(document: Document, title: str | None) -> int:
    """The number of sentences at the document's start that its title covers; 1 without a title."""
    if title is None:
        return min(1, len(document.spans))
    text, title = document.text, title.strip()
    start = len(text) - len(text.lstrip())
    if not text.startswith(title, start):
        return 0
    return sum(span.start < start + len(title) for span in document.spans)


def _passage(scored: ScoredPair, index: int, mask: NDArray[np.bool_]) -> PrunedPassage:
    document = scored.document
    text, bounds = document.text, document.bounds.tolist()
    scores = scored.sentence_scores
    if scores is not None and (frames := list(document.chunks.frames)):
        scores = scores.copy()
        scores[frames] = 0.0
    needs = document.chunks.needs()
    return PrunedPassage(
        index=index,
        document=text,
        text=assemble(text, document.spans, mask),
        title=scored.pair.title,
        score=scored.score,
        logit=scored.logit,
        kept_whole=document.chunks.kept_whole,
        sentences=tuple(
            Sentence(
                text=text[span.start : span.end],
                start=span.start,
                end=span.end,
                score=score,
                kept=kept,
                token_start=start,
                token_end=end,
                needs=needs.get(number, ()),
            )
            for number, (span, score, kept, start, end) in enumerate(
                zip(
                    document.spans,
                    repeat(None) if scores is None else scores.tolist(),
                    mask.tolist(),
                    bounds,
                    bounds[1:],
                    strict=False,
                )
            )
        ),
        untrained_language=scored.untrained_language,
    )
