"""Teachers: models that score questions with passages, to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from provence_rag.errors import InvalidInputError, MissingExtraError
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.model import ProvenceModel
from provence_training.arrays import Float32Array
from provence_training.cache import ContentCache, content_key, fingerprint
from provence_training.compute import current_device
from provence_training.learning.collator import Example, ProvenceCollator
from provence_training.learning.loss import pool_sentences
from provence_training.pairs.text_pairs import TextPair

__all__ = ["BiEncoderTeacher", "CrossEncoderTeacher", "ProvenceTeacher", "Teacher", "TeacherScores"]


class TeacherScores(NamedTuple):
    """A teacher's scores of a pair's window; NaN if unknown."""

    passage: float
    sentences: Sequence[float] | None
    """The score of each sentence of the window; None if the teacher only scores passages."""


class Teacher(Protocol):
    """Scores questions, in their original words, with the windows of passages that they meet."""

    @property
    def gives_logits(self) -> bool:
        """Whether scores are logits, rather than similarities to be scaled."""
        ...

    def score(self, pairs: Sequence[TextPair]) -> list[TeacherScores]:
        """Score pairs; earlier scores come from a cache."""
        ...


class CrossEncoderTeacher:
    """A CrossEncoder of sentence-transformers with one label. Scores passages.

    Args:
        model: Directory or name on the hub.
        cache: Stores the scores.
        batch_size: Pairs per batch.
        dtype: Number format of the computations.

    Raises:
        InvalidInputError: The model has another number of labels.
        MissingExtraError: sentence-transformers is not installed.
    """

    gives_logits = True

    def __init__(
        self, model: str, cache: ContentCache, *, batch_size: int = 32, dtype: torch.dtype = torch.float32
    ) -> None:
        self._model = _sentence_transformers().CrossEncoder(model, **_settings(dtype))
        if self._model.num_labels != 1:
            raise InvalidInputError(
                f"{model} is not a reranker: it has {self._model.num_labels} labels, not 1"
            )
        self._cache = cache
        self._batch_size = batch_size
        self._identity = fingerprint(self._model)

    def score(self, pairs: Sequence[TextPair]) -> list[TeacherScores]:
        """Relevance logits."""
        texts = [(pair.question, pair.text) for pair in pairs]
        keys = [content_key(self._identity, *text) for text in texts]

        def compute(places: list[int]) -> Float32Array:
            logits: Float32Array = self._model.predict(
                [texts[i] for i in places],
                batch_size=self._batch_size,
                activation_fn=torch.nn.Identity(),
                show_progress_bar=False,
            )
            return logits

        logits = self._cache.get(keys, compute, description="teacher")
        return [TeacherScores(float(logit), None) for logit in logits]


class BiEncoderTeacher:
    """A SentenceTransformer. Scores passages and single sentences.

    Args:
        model: Directory or name on the hub.
        cache: Stores the embeddings.
        query_prefix: Text before a question; by default the model's own prompt.
        passage_prefix: Text before a passage or sentence; by default the model's own prompt.
        batch_size: Texts per batch.
        dtype: Number format of the computations.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
    """

    gives_logits = False

    def __init__(
        self,
        model: str,
        cache: ContentCache,
        *,
        query_prefix: str = "",
        passage_prefix: str = "",
        batch_size: int = 32,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._model = _sentence_transformers().SentenceTransformer(model, **_settings(dtype))
        self._prefixes = {"query": query_prefix or None, "document": passage_prefix or None}
        self._cache = cache
        self._batch_size = batch_size
        self._identity = fingerprint(self._model)

    def score(self, pairs: Sequence[TextPair]) -> list[TeacherScores]:
        """Cosine similarities."""
        queries = self._embed("query", [pair.question for pair in pairs])
        windows = self._embed("document", [pair.text for pair in pairs])
        sentences = [pair.passage.sentences[i] for pair in pairs for i in pair.window]
        owners = [pair.passage.text for pair in pairs for _ in pair.window]
        texts = [text[s.start : s.end] for text, s in zip(owners, sentences, strict=True)]
        each = iter(self._embed("document", texts))
        return [
            TeacherScores(float(query @ window), [float(query @ next(each)) for _ in pair.window])
            for pair, query, window in zip(pairs, queries, windows, strict=True)
        ]

    def _embed(self, side: str, texts: Sequence[str]) -> list[Float32Array]:
        encode = self._model.encode_query if side == "query" else self._model.encode_document
        prefix = self._prefixes[side]
        keys = [content_key(self._identity, side, prefix, text) for text in texts]

        def compute(places: list[int]) -> Float32Array:
            embeddings: Float32Array = encode(
                [texts[i] for i in places],
                prompt=prefix,
                batch_size=self._batch_size,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
            return embeddings

        return self._cache.get(keys, compute, description="teacher")


class ProvenceTeacher:
    """A Provence checkpoint, such as a larger one. Scores passages and sentences, as far as its heads do.

    Args:
        directory: The checkpoint.
        cache: Stores the scores.
        batch_size: Pairs per batch.
        dtype: Number format of the computations.
    """

    gives_logits = True

    def __init__(
        self,
        directory: Path,
        cache: ContentCache,
        *,
        batch_size: int = 32,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._model = ProvenceModel.from_pretrained(directory).to(current_device(), dtype)
        template = self._model.provence_config.pair_template
        tokenizer = PairTokenizer.from_directory(directory, template)
        self._collator = ProvenceCollator.for_model(self._model, tokenizer)
        self._cache = cache
        self._batch_size = batch_size
        self._identity = fingerprint(self._model)

    def score(self, pairs: Sequence[TextPair]) -> list[TeacherScores]:
        """Relevance logits, and each sentence's mean keep logit."""
        examples = [
            Example(query=pair.question, document=pair.text, sentences=pair.sentences) for pair in pairs
        ]
        keys = [content_key(self._identity, e.query, e.document, list(e.sentences)) for e in examples]

        def compute(places: list[int]) -> list[Float32Array]:
            order = sorted(places, key=lambda i: len(examples[i].document))
            found: dict[int, Float32Array] = {}
            for start in range(0, len(order), self._batch_size):
                part = order[start : start + self._batch_size]
                found |= zip(part, self._run([examples[i] for i in part]), strict=True)
            return [found[i] for i in places]

        rows = self._cache.get(keys, compute, description="teacher")
        return [TeacherScores(float(row[0]), row[1:].tolist()) for row in rows]

    @torch.inference_mode()
    def _run(self, examples: Sequence[Example]) -> list[Float32Array]:
        """For each example, its relevance logit and the keep logits of its sentences, NaN if unknown."""
        batch = self._collator(examples)
        device = next(self._model.parameters()).device
        targets = batch.pop("targets").to(device)
        output = self._model(**{name: tensor.to(device) for name, tensor in batch.items()})
        count = len(targets.pruning_labels)
        pooled = torch.full((count,), torch.nan)
        if output.pruning_logits is not None:
            logits = output.pruning_logits.float()
            keep = logits[..., 1] - logits[..., 0]
            pooled = pool_sentences(keep, targets.sentence_ids, count).cpu()
            seen = torch.isin(torch.arange(count), targets.sentence_ids.cpu())
            pooled = pooled.masked_fill(~seen, torch.nan)
        ranking = torch.full((len(examples),), torch.nan)
        if output.ranking_logits is not None:
            ranking = output.ranking_logits.float().cpu()
        sentences = torch.split(pooled, [len(e.sentences) for e in examples])
        return [torch.cat([own[None], rest]).numpy() for own, rest in zip(ranking, sentences, strict=True)]


def _settings(dtype: torch.dtype) -> dict[str, Any]:
    kwargs = {"dtype": dtype, "use_safetensors": True}  # nothing is unpickled
    return {"device": str(current_device()), "model_kwargs": kwargs}


def _sentence_transformers() -> Any:
    try:
        import sentence_transformers
    except ImportError as error:  # pragma: no cover - exercised in an environment without the extra
        raise MissingExtraError("A teacher of sentence-transformers", "train") from error
    return sentence_transformers
