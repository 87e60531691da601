"""The systems compared: a Provence model, and the baselines of a pipeline without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from provence_rag import MissingExtraError, Provence, PrunedPassage, PruningOptions
from provence_rag.chunking import MultilingualChunker, Span
from provence_rag.config import ProvenceConfig
from provence_rag.inference.engine import ScoredPair
from provence_rag.inputs import pairs_of_query
from provence_rag.rendering import progress_bar
from provence_training.arrays import FloatArray
from provence_training.evaluation.topics import Topic

__all__ = ["EmbeddingFilter", "Scored", "score_by_first_stage", "score_with"]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The scores of a topic's D documents."""

    relevance: FloatArray | None
    """One score per document, shape (D,); None if the system does not rank."""

    sentences: tuple[tuple[Span, ...], ...] = ()
    """For each document, the spans of its S sentences; empty if `keep` is None."""

    keep: tuple[FloatArray, ...] | None = None
    """For each document, one score per sentence, shape (S,); None if the system does not prune."""

    pairs: tuple[ScoredPair, ...] = ()
    """What a model selects sentences from, for each document; empty if the system is none."""


def score_by_first_stage(topics: Sequence[Topic]) -> list[Scored]:
    """The first stage as a system that only ranks."""
    return [Scored(relevance=np.array(topic.first_stage)) for topic in topics]


def score_with(model: Provence, topics: Sequence[Topic], *, show_progress: bool = False) -> list[Scored]:
    """Score the documents of every topic with a model, in the topic's language.

    Relevance is the ranking logit, since probabilities near 1 round to the same number.
    """
    engine = model.engine
    scored: dict[int, Scored] = {}
    for language in sorted({topic.language for topic in topics}):
        numbers = [i for i, topic in enumerate(topics) if topic.language == language]
        options = PruningOptions(mode="off", language=language)
        pairs = [pair for i in numbers for pair in pairs_of_query(topics[i].query, topics[i].documents, None)]
        progress = progress_bar if show_progress else None
        found = iter(engine.score(pairs, language=options.language, progress=progress))
        for i in numbers:
            own = tuple(islice(found, len(topics[i].documents)))
            passages = engine.prune(own, range(len(own)), options)
            scored[i] = _scored(own, passages, model.config)
    return [scored[i] for i in range(len(topics))]


def _scored(
    pairs: tuple[ScoredPair, ...], passages: Sequence[PrunedPassage], config: ProvenceConfig
) -> Scored:
    relevance: FloatArray | None = None
    sentences: tuple[tuple[Span, ...], ...] = ()
    keep: tuple[FloatArray, ...] | None = None
    if config.can_rank:
        relevance = np.array([p.logit for p in passages], dtype=np.float64)
    if config.can_prune:
        sentences = tuple(tuple(Span(s.start, s.end) for s in p.sentences) for p in passages)
        keep = tuple(np.array([s.score for s in p.sentences], dtype=np.float64) for p in passages)
    return Scored(relevance=relevance, sentences=sentences, keep=keep, pairs=pairs)


class EmbeddingFilter:
    """Cosine similarities of documents, and of single sentences, to the question.

    A pipeline without a pruning model does this, such as a splitter and LangChain's EmbeddingsFilter.

    Args:
        name_or_path: A bi-encoder that sentence-transformers loads; a bare encoder gets mean pooling.
        query_prefix: What it expects before a question; None leaves that to its configuration.
        passage_prefix: What it expects before a passage or sentence.
        device: The device that it runs on.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
    """

    def __init__(
        self,
        name_or_path: str | Path,
        *,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        device: str | None = None,
    ) -> None:
        try:
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("an embedding filter", "train") from error
        # Some are stored in half precision, which is many times slower on a CPU.
        self.model = SentenceTransformer(
            str(name_or_path), device=device, model_kwargs={"dtype": torch.float32}
        )
        self.name = str(name_or_path)
        self._query: dict[str, Any] = {} if query_prefix is None else {"prompt": query_prefix}
        self._passage: dict[str, Any] = {} if passage_prefix is None else {"prompt": passage_prefix}

    def __call__(self, topics: Sequence[Topic], *, show_progress: bool = False) -> list[Scored]:
        """Score the documents of each topic, and their sentences where answers are marked."""
        cut: dict[tuple[str, str], tuple[Span, ...]] = {}
        for topic in topics:
            for text in topic.documents if topic.answers is not None else ():
                if (topic.language, text) not in cut:
                    cut[topic.language, text] = tuple(MultilingualChunker(topic.language).spans(text))
        texts = [text for topic in topics for text in topic.documents]
        texts += [text[span.start : span.end] for (_, text), spans in cut.items() for span in spans]
        queries = self._embed(self.model.encode_query, [t.query for t in topics], self._query, show_progress)
        passages = self._embed(self.model.encode_document, texts, self._passage, show_progress)
        return [_similarities(topic, queries[topic.query], passages, cut) for topic in topics]

    def _embed(
        self, encode: Any, texts: Sequence[str], prompt: dict[str, Any], show_progress: bool
    ) -> dict[str, FloatArray]:
        unique = list(dict.fromkeys(texts))
        vectors = encode(unique, normalize_embeddings=True, show_progress_bar=show_progress, **prompt)
        return dict(zip(unique, np.asarray(vectors, dtype=np.float64), strict=True))


def _similarities(
    topic: Topic,
    query: FloatArray,
    passages: dict[str, FloatArray],
    cut: dict[tuple[str, str], tuple[Span, ...]],
) -> Scored:
    relevance = np.array([passages[text] @ query for text in topic.documents])
    if topic.answers is None:
        return Scored(relevance=relevance)
    sentences = tuple(cut[topic.language, text] for text in topic.documents)
    keep = tuple(
        np.array([passages[text[span.start : span.end]] @ query for span in spans], dtype=np.float64)
        for text, spans in zip(topic.documents, sentences, strict=True)
    )
    return Scored(relevance=relevance, sentences=sentences, keep=keep)
