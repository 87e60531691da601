"""The engine: queries and documents in, scored and pruned documents out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from provence_rag.backends.base import Backend
from provence_rag.chunking import (
    LANGUAGES,
    BaseChunker,
    MultilingualChunker,
    Span,
    detect_language,
    heading_level,
)
from provence_rag.config import ProvenceConfig
from provence_rag.inference.assembly import assemble
from provence_rag.inference.batching import batches
from provence_rag.inference.encoding import (
    IntArray,
    TextTokenizer,
    TokenizedText,
    Window,
    pack_windows,
    sentence_bounds,
    split_units,
)
from provence_rag.inference.scoring import keep_probabilities, sentence_scores, sigmoid
from provence_rag.inference.selection import Candidates, select
from provence_rag.options import PruningOptions
from provence_rag.results import PrunedPassage, Sentence

__all__ = ["Engine", "Pair", "ScoredPair"]

Progress = Callable[[Iterable[list[int]], int], Iterable[list[int]]]


@dataclass(frozen=True)
class Pair:
    """A query and a document, with its title if it has one."""

    query: str
    document: str
    title: str | None = None


@dataclass(frozen=True)
class _Document:
    """A document, cut and tokenized once, whatever the number of queries it meets."""

    text: str
    language: str
    spans: Sequence[Span]
    tokens: TokenizedText
    bounds: IntArray


@dataclass(frozen=True)
class ScoredPair:
    """What the model says of a pair."""

    pair: Pair
    document: _Document
    logit: float | None
    score: float | None
    sentence_scores: NDArray[np.float64] | None


@dataclass(frozen=True)
class _Plan:
    """How a pair is read: its windows, and the units its tokens are scored in."""

    head: IntArray
    """Ids in front of the passage: special tokens, query, title."""
    query_length: int
    windows: list[Window]
    unit_bounds: IntArray
    unit_sentences: IntArray


class Engine:
    """Everything between the facade and a backend. Holds no state that a call changes.

    Args:
        backend: Runs the model.
        tokenizer: The checkpoint's tokenizer.
        config: The checkpoint's configuration.
        pad_token_id: The checkpoint's padding token.
        chunker: Cuts documents into sentences; None is the multilingual one.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: TextTokenizer,
        config: ProvenceConfig,
        *,
        pad_token_id: int,
        chunker: BaseChunker | None = None,
    ) -> None:
        self.backend = backend
        self.tokenizer = tokenizer
        self.config = config
        self.pad_token_id = pad_token_id
        self.chunker = chunker

    def score(
        self,
        pairs: Sequence[Pair],
        *,
        language: str = "auto",
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> list[ScoredPair]:
        """Run the model on all windows of all pairs, in length-sorted batches.

        Args:
            pairs: What to read. Equal documents are cut and tokenized once.
            language: As in `PruningOptions`.
            batch_size: Windows a batch; None is a token budget.
            progress: Wraps the batches, to show how many are done; gets their indices and the number of windows.
        """
        documents = self._read_documents({pair.document for pair in pairs}, language)
        heads = self._read_heads(pairs)
        plans = [
            self._plan(number, heads[pair.query, pair.title], documents[pair.document])
            for number, pair in enumerate(pairs)
        ]
        tokens = [documents[pair.document].tokens for pair in pairs]
        logits, probabilities = self._run(plans, tokens, batch_size, progress)
        scores = self._sentence_scores(plans, tokens, probabilities, [documents[p.document] for p in pairs])
        activated = self._activate(logits)
        return [
            ScoredPair(pair, documents[pair.document], logit, score, sentences)
            for pair, logit, score, sentences in zip(pairs, logits, activated, scores, strict=True)
        ]

    # --- reading -----------------------------------------------------------------------------------------

    def _read_documents(self, texts: Iterable[str], language: str) -> dict[str, _Document]:
        unique = list(texts)
        documents = {}
        for text, tokens in zip(unique, self.tokenizer.tokenize(unique), strict=True):
            detected = detect_language(text) if language == "auto" else language
            known = language != "auto" or detected in LANGUAGES
            chunker = self.chunker or _chunker_for(detected if known else "en")
            spans = chunker.spans(text)
            documents[text] = _Document(text, detected, spans, tokens, sentence_bounds(tokens, spans))
        return documents

    def _read_heads(self, pairs: Sequence[Pair]) -> dict[tuple[str, str | None], tuple[IntArray, int]]:
        """What stands in front of the passage in each window, and how much of it is query."""
        queries = list({pair.query for pair in pairs})
        titles = list({pair.title for pair in pairs if pair.title is not None})
        ids = dict(zip(queries, self.tokenizer.tokenize(queries), strict=True))
        title_ids = dict(
            zip(titles, self.tokenizer.tokenize([f"{title}\n" for title in titles]), strict=True)
        )
        half = self.config.max_length // 2
        if too_long := sum(len(tokens) > half for tokens in ids.values()):
            warnings.warn(
                f"{too_long} quer{'y is' if too_long == 1 else 'ies are'} longer than half of the window: only "
                f"the first {half} tokens are read. Shorten the query, or raise max_length",
                stacklevel=4,
            )
        layout = self.tokenizer.layout
        heads = {}
        for query, title in {(pair.query, pair.title) for pair in pairs}:
            query_ids = ids[query].ids[:half]
            room = (self.config.max_length - layout.num_special_tokens - len(query_ids)) // 2
            prefix = title_ids[title].ids[:room] if title is not None else np.empty(0, dtype=np.int64)
            parts = [layout.before, query_ids, layout.between, prefix]
            heads[query, title] = (
                np.concatenate(parts).astype(np.int64),
                len(layout.before) + len(query_ids),
            )
        return heads

    def _plan(self, number: int, head: tuple[IntArray, int], document: _Document) -> _Plan:
        ids, query_length = head
        capacity = self.config.max_length - len(ids) - len(self.tokenizer.layout.after)
        if len(document.tokens) <= capacity:
            windows = [Window(number, 0, len(document.tokens))]
            return _Plan(ids, query_length, windows, document.bounds, np.arange(len(document.spans)))
        units = split_units(document.text, document.tokens, document.spans, document.bounds, capacity)
        return _Plan(
            ids,
            query_length,
            pack_windows(number, units, capacity),
            np.array([*(unit.start for unit in units), len(document.tokens)], dtype=np.int64),
            np.array([unit.sentence for unit in units], dtype=np.int64),
        )

    # --- running -----------------------------------------------------------------------------------------

    def _run(
        self,
        plans: Sequence[_Plan],
        tokens: Sequence[TokenizedText],
        batch_size: int | None,
        progress: Progress | None,
    ) -> tuple[list[float | None], NDArray[np.float64]]:
        """Ranking logit of each pair (its best window's), and keep probabilities of all their tokens."""
        windows = [window for plan in plans for window in plan.windows]
        after = len(self.tokenizer.layout.after)
        lengths = [len(plans[w.document].head) + w.end - w.start + after for w in windows]
        bases = np.cumsum([0, *(len(t) for t in tokens)])
        probabilities = np.zeros(bases[-1])
        ranking = np.full(len(plans), -np.inf)
        grouped: Iterable[list[int]] = batches(lengths, batch_size)
        for batch in progress(grouped, len(windows)) if progress else grouped:
            chosen = [windows[i] for i in batch]
            logits = self.backend.run(*self._arrays(chosen, plans, tokens))
            if logits.ranking is not None:
                np.maximum.at(ranking, [w.document for w in chosen], logits.ranking.astype(np.float64))
            if logits.pruning is not None:
                keep = keep_probabilities(logits.pruning)
                for row, w in enumerate(chosen):
                    start, base = len(plans[w.document].head), bases[w.document]
                    length = w.end - w.start
                    probabilities[base + w.start : base + w.end] = keep[row, start : start + length]
        if not self.config.can_rank:
            return [None] * len(plans), probabilities
        return ranking.tolist(), probabilities

    def _arrays(
        self, windows: Sequence[Window], plans: Sequence[_Plan], tokens: Sequence[TokenizedText]
    ) -> tuple[IntArray, IntArray, IntArray]:
        layout = self.tokenizer.layout
        rows = [
            np.concatenate([plans[w.document].head, tokens[w.document].ids[w.start : w.end], layout.after])
            for w in windows
        ]
        shape = (len(rows), max(map(len, rows)))
        input_ids = np.full(shape, self.pad_token_id, dtype=np.int64)
        attention_mask = np.zeros(shape, dtype=np.int64)
        token_type_ids = np.zeros(shape, dtype=np.int64)
        for row, (window, ids) in enumerate(zip(windows, rows, strict=True)):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
            passage = plans[window.document].query_length + len(layout.between)
            token_type_ids[row, passage : len(ids)] = layout.passage_type
        return input_ids, attention_mask, token_type_ids

    # --- scores ------------------------------------------------------------------------------------------

    def _sentence_scores(
        self,
        plans: Sequence[_Plan],
        tokens: Sequence[TokenizedText],
        probabilities: NDArray[np.float64],
        documents: Sequence[_Document],
    ) -> list[NDArray[np.float64]] | list[None]:
        if not self.config.can_prune:
            return [None] * len(plans)
        counts = [len(document.spans) for document in documents]
        sentence_bases = np.cumsum([0, *counts])
        token_bases = np.cumsum([0, *(len(t) for t in tokens)])
        bounds = [p.unit_bounds[:-1] + base for p, base in zip(plans, token_bases, strict=False)]
        sentences = [p.unit_sentences + base for p, base in zip(plans, sentence_bases, strict=False)]
        scores = sentence_scores(
            probabilities,
            np.concatenate([*bounds, token_bases[-1:]]),
            np.concatenate([np.empty(0, dtype=np.int64), *sentences]),
            int(sentence_bases[-1]),
        )
        return np.split(scores, sentence_bases[1:-1]) if plans else []

    def _activate(self, logits: Sequence[float | None]) -> list[float | None]:
        if not self.config.can_rank or self.config.score_activation == "identity":
            return list(logits)
        return list(sigmoid(np.array(logits, dtype=np.float64)).tolist())

    # --- pruning -----------------------------------------------------------------------------------------

    def prune(
        self, scored: Sequence[ScoredPair], indices: Sequence[int], options: PruningOptions
    ) -> list[PrunedPassage]:
        """Select and assemble the documents of one query.

        Args:
            scored: The documents, in the order wanted.
            indices: Position of each in the caller's list.
            options: How to select.
        """
        masks = self._select(scored, options)
        return [
            _passage(one, index, mask) for one, index, mask in zip(scored, indices, masks, strict=True)
        ]

    def _select(self, scored: Sequence[ScoredPair], options: PruningOptions) -> list[NDArray[np.bool_]]:
        if not self.config.can_prune or options.mode == "off":
            return [np.ones(len(one.document.spans), dtype=bool) for one in scored]
        return select([_candidates(one, options) for one in scored], options, self.config)


@lru_cache(maxsize=64)
def _chunker_for(language: str) -> MultilingualChunker:
    return MultilingualChunker(language=language)


def _candidates(scored: ScoredPair, options: PruningOptions) -> Candidates:
    document = scored.document
    spans = document.spans
    assert scored.sentence_scores is not None
    levels = [0] * len(spans)
    if options.keep_headings:
        levels = [heading_level(document.text[span.start : span.end]) for span in spans]
    return Candidates(
        scores=scored.sentence_scores,
        num_characters=np.array([span.end - span.start for span in spans], dtype=np.int64),
        num_tokens=np.diff(document.bounds)[: len(spans)],
        heading_levels=np.array(levels, dtype=np.int64),
        num_title_sentences=_num_title_sentences(document, scored.pair.title),
        language=document.language,
    )


def _num_title_sentences(document: _Document, title: str | None) -> int:
    """Sentences at the document's start that its title covers; its first sentence without a title."""
    if title is None:
        return min(1, len(document.spans))
    text = document.text
    start = len(text) - len(text.lstrip())
    if not text.startswith(title.strip(), start):
        return 0
    end = start + len(title.strip())
    return sum(span.start < end for span in document.spans)


def _passage(scored: ScoredPair, index: int, mask: NDArray[np.bool_]) -> PrunedPassage:
    document = scored.document
    text, bounds = document.text, document.bounds.tolist()
    scores = [None] * len(document.spans) if scored.sentence_scores is None else scored.sentence_scores.tolist()
    return PrunedPassage(
        index=index,
        document=text,
        text=assemble(text, document.spans, mask),
        title=scored.pair.title,
        score=scored.score,
        logit=scored.logit,
        sentences=tuple(
            Sentence(
                text=text[span.start : span.end],
                start=span.start,
                end=span.end,
                score=score,
                kept=kept,
                token_start=start,
                token_end=end,
            )
            for span, score, kept, start, end in zip(
                document.spans, scores, mask.tolist(), bounds, bounds[1:], strict=False
            )
        ),
    )
