"""The systems that are compared, each a small class.

All of them cut passages into the same sentences, those of `MultilingualChunker`; only the choice differs.
Each imports what it needs when it is made, so that a process has in its memory what one system takes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.common import cross_encoder
from benchmarks.systems import Kept, Options, Question, System, sentences, split
from provence_rag import Provence, PrunedPassage, PruningOptions

__all__ = ["SYSTEMS", "kept_sentences", "speed"]

_COSINES = (0.3, 0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
"""Bi-encoders differ: with all-MiniLM-L6-v2 0.3 removes most, with multilingual-e5-small 0.8."""


class ProvenceInt8(System):
    """The bundled model as users get it: int8, ONNX Runtime."""

    settings: ClassVar = {
        "dynamic": None,
        **{
            f"threshold {value}": value
            for value in (0.00001, 0.0001, 0.0005, 0.002, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
        },
    }
    backend: ClassVar[Any] = "onnx"
    dtype: ClassVar = "int8"

    def __init__(self, options: Options) -> None:
        self._model = Provence.from_pretrained(backend=self.backend, device="cpu", dtype=self.dtype)

    def __call__(self, question: Question, setting: float | None) -> Kept:
        pruned = self._process(question, PruningOptions(language=question.language, threshold=setting))
        return [[sentence.kept for sentence in passage.sentences] for passage in pruned]

    def in_all_settings(self, questions: Sequence[Question]) -> dict[str, list[Kept]]:
        """The same, from one reading: what is kept follows from the sentences' scores."""
        kept: dict[str, list[Kept]] = {label: [] for label in self.settings}
        for question in questions:
            pruned = self._process(question, PruningOptions(language=question.language, mode="off"))
            scores = [[s.score or 0.0 for s in passage.sentences] for passage in pruned]
            rule = self._model.config.dynamic_rule(question.language)
            for label, setting in self.settings.items():
                least = [
                    rule.least_kept(max(own, default=0.0)) if setting is None else setting for own in scores
                ]
                kept[label].append([[s >= at for s in own] for own, at in zip(scores, least, strict=True)])
        return kept

    def _process(self, question: Question, options: PruningOptions) -> list[PrunedPassage]:
        return self._model.process(question.query, question.passages, options=options)


class ProvenceFloat32(ProvenceInt8):
    """The bundled model in torch."""

    needs = ("torch", "transformers")
    backend = "torch"
    dtype = "float32"


class CrossEncoder(System):
    """sentence-transformers, which ranks and has nothing to say of sentences: the same weights."""

    needs = ("sentence_transformers",)
    settings: ClassVar = {"rerank only": None}

    def __init__(self, options: Options) -> None:
        self._model = cross_encoder()

    def __call__(self, question: Question, setting: None) -> Kept:
        self._model.rank(question.query, list(question.passages), show_progress_bar=False)
        return []


class OpenProvence(System):
    """OpenProvence's `process()`, which gets the sentences without splitting."""

    wants = ("open_provence", "weights")
    settings: ClassVar = {
        f"threshold {value}": value for value in (0.1, 0.01, 0.03, 0.05, 0.2, 0.3, 0.5, 0.7)
    }

    def __init__(self, options: Options) -> None:
        from benchmarks.open_provence_peer import OpenProvencePeer

        places = [options.open_provence, options.weights, options.peer_python, options.peer_path]
        checkout, weights, python, path = (None if place is None else Path(place) for place in places)
        assert checkout is not None
        assert weights is not None
        self._peer = OpenProvencePeer(checkout, weights, python=python, path=path)

    def __call__(self, question: Question, setting: float) -> Kept:
        from benchmarks.open_provence_peer import cut

        spans = zip(question.passages, sentences(question), strict=True)
        parts = [cut(text, [span.start for span in own]) for text, own in spans]
        found = self._peer.process([(question.query, parts)], threshold=setting)[0]
        return [[p > setting for p in own] for own in found["probabilities"]]

    def peak_memory(self) -> int:
        return self._peer.peak_memory


class LlamaIndex(System):
    """`SentenceEmbeddingOptimizer`: of each node the sentences nearest to the question.

    It keeps neighbours of what it finds unless told not to, which is the setting that is timed. Where no
    sentence of a node is near enough it raises: that node counts as empty. A share of less than one sentence
    keeps all of them.
    """

    needs = ("llama_index", "sentence_transformers")
    wants = ("embedding",)
    settings: ClassVar = {
        "with neighbours, best 50%": {"percentile_cutoff": 0.5},
        **{
            f"best {value:.0%}": {"percentile_cutoff": value, "context_before": 0, "context_after": 0}
            for value in (0.25, 0.5, 0.75)
        },
        **{
            f"cosine {value}": {"threshold_cutoff": value, "context_before": 0, "context_after": 0}
            for value in _COSINES
        },
    }

    def __init__(self, options: Options) -> None:
        from llama_index.core.embeddings import BaseEmbedding

        embedder = _Embedder(options)

        class Embedding(BaseEmbedding):
            def _get_query_embedding(self, query: str) -> list[float]:
                return embedder.query(query)

            async def _aget_query_embedding(self, query: str) -> list[float]:
                return self._get_query_embedding(query)

            def _get_text_embedding(self, text: str) -> list[float]:
                return embedder.passages([text])[0]

            def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
                return embedder.passages(texts)

        self._embedding = Embedding()

    def __call__(self, question: Question, setting: dict[str, Any]) -> Kept:
        from llama_index.core.postprocessor import SentenceEmbeddingOptimizer
        from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

        parts = dict(zip(question.passages, split(question), strict=True))
        optimizer = SentenceEmbeddingOptimizer(
            embed_model=self._embedding, tokenizer_fn=parts.__getitem__, **setting
        )
        bundle = QueryBundle(question.query)  # remembers the question's embedding
        texts = []
        for text in question.passages:
            try:
                [node] = optimizer.postprocess_nodes([NodeWithScore(node=TextNode(text=text))], bundle)
                texts.append(node.text)
            except ValueError as error:
                if "zero sentences" not in str(error):
                    raise
                texts.append("")
        return [
            [part in text for part in parts[own]] for own, text in zip(question.passages, texts, strict=True)
        ]


class LangChain(System):
    """`DocumentCompressorPipeline` of a sentence splitter and an `EmbeddingsFilter`."""

    needs = ("langchain_classic", "langchain_community", "langchain_text_splitters", "sentence_transformers")
    wants = ("embedding",)
    settings: ClassVar = {f"cosine {value}": value for value in _COSINES}

    def __init__(self, options: Options) -> None:
        from langchain_core.embeddings import Embeddings

        embedder = _Embedder(options)

        class Embedding(Embeddings):
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return embedder.passages(texts)

            def embed_query(self, text: str) -> list[float]:
                return embedder.query(text)

        self._embedding = Embedding()

    def __call__(self, question: Question, setting: float) -> Kept:
        from langchain_classic.retrievers.document_compressors import (
            DocumentCompressorPipeline,
            EmbeddingsFilter,
        )
        from langchain_core.documents import Document
        from langchain_text_splitters import TextSplitter

        class Sentences(TextSplitter):
            def split_text(self, text: str) -> list[str]:
                return parts[text]

        parts = dict(zip(question.passages, split(question), strict=True))
        # Without a number it keeps no more than 20; None counts as that.
        number = max(1, sum(map(len, parts.values())))
        near = EmbeddingsFilter(embeddings=self._embedding, k=number, similarity_threshold=setting)
        pipeline = DocumentCompressorPipeline(transformers=[Sentences(), near])
        documents = [Document(text, metadata={"source": i}) for i, text in enumerate(question.passages)]
        found = {
            (document.metadata["source"], document.page_content)
            for document in pipeline.compress_documents(documents, question.query)
        }
        return [[(i, part) in found for part in parts[text]] for i, text in enumerate(question.passages)]


class BM25(System):
    """The sentences that score best among those of all passages of the question."""

    needs = ("bm25s",)
    settings: ClassVar = {f"best {count} of all": count for count in (10, 2, 5, 15, 20, 30, 40)}

    def __init__(self, options: Options) -> None:
        from provence_training.evaluation import bm25

        self._index = bm25.BM25

    def __call__(self, question: Question, setting: int) -> Kept:
        parts = split(question)
        scores = self._index([part for own in parts for part in own]).scores(question.query)
        best = set((-scores).argsort(kind="stable")[:setting].tolist())
        numbers = iter(range(len(scores)))
        return [[next(numbers) in best for _ in own] for own in parts]


class _Embedder:
    """A bi-encoder, behind the interfaces of both libraries."""

    def __init__(self, options: Options) -> None:
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(options.embedding, device="cpu", model_kwargs={"dtype": "float32"})
        self._options = options
        self._known: dict[str, list[float]] = {}

    def query(self, text: str) -> list[float]:
        """Embed a question."""
        return self._embed([self._options.query_prefix + text])[0]

    def passages(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed passages or sentences."""
        return self._embed([self._options.passage_prefix + text for text in texts])

    def _embed(self, texts: list[str]) -> list[list[float]]:
        if not self._options.remember:
            return self._encode(texts)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._encode(new), strict=True))
        return [self._known[text] for text in texts]

    def _encode(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._model.encode(texts, show_progress_bar=False).tolist()
        return vectors


SYSTEMS: dict[str, type[System]] = {
    "provence-rag, int8": ProvenceInt8,
    "provence-rag, float32": ProvenceFloat32,
    "CrossEncoder": CrossEncoder,
    "OpenProvence": OpenProvence,
    "LlamaIndex": LlamaIndex,
    "LangChain": LangChain,
    "BM25": BM25,
}


def _made(name: str, options: dict[str, Any]) -> System:
    return SYSTEMS[name](Options(**options))


def speed(
    name: str, options: dict[str, Any], questions: Sequence[Any], long: Sequence[Any], repeats: int
) -> dict[str, float]:
    """Time one system in its first setting, one question after the other.

    Args:
        name: One of `SYSTEMS`.
        options: Fields of `Options`.
        questions: Fields of `Question`, in order: throughput is measured on them.
        long: Fields of the question that latency is measured on.
        repeats: Calls that the latency is the median of.

    Returns:
        `passages_per_second`, `seconds` (latency), `bytes` (peak memory).
    """
    from statistics import median

    system, setting = _made(name, options), next(iter(SYSTEMS[name].settings.values()))
    read = [Question(*fields) for fields in questions]
    calls = []
    for _ in range(repeats + 1):  # the first one warms up
        start = time.perf_counter()
        system(Question(*long), setting)
        calls.append(time.perf_counter() - start)
    start = time.perf_counter()
    for question in read:
        system(question, setting)
    taken = time.perf_counter() - start
    return {
        "passages_per_second": sum(len(question.passages) for question in read) / taken,
        "seconds": median(calls[1:]),
        "bytes": system.peak_memory(),
    }


def kept_sentences(name: str, options: dict[str, Any], questions: Sequence[Any]) -> dict[str, list[Kept]]:
    """What one system keeps in each of its settings: for each question, passage and sentence."""
    return _made(name, options).in_all_settings([Question(*fields) for fields in questions])
