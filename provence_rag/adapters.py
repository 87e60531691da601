"""What adapters to frameworks share. The only module that needs pydantic, which comes with the frameworks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from typing_extensions import Self

from provence_rag.backends import BackendName
from provence_rag.chunking import Span, as_chunker
from provence_rag.config import SHORTEST_WINDOW
from provence_rag.early_checks import check_model
from provence_rag.errors import InvalidInputError
from provence_rag.hub import SECRETS
from provence_rag.inference.assembly import assemble
from provence_rag.options import OPTIONS, PruningMode, PruningOptions
from provence_rag.provence import Provence
from provence_rag.results import PrunedPassage, finite

__all__ = ["AdapterFields", "ModelFields", "OptionFields", "keep_at_least"]

# Keyword arguments of `Provence.from_pretrained`, without secrets.
_LOADING = (
    "device",
    "backend",
    "dtype",
    "max_length",
    "threads",
    "chunker",
    "score_cache",
    "revision",
    "cache_folder",
    "local_files_only",
)


class _LazyModel:
    """Loads a model on first use, once for all threads; a pickle or a deep copy of it starts empty."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._settings: dict[str, Any] | None = None
        self._model: Provence | None = None

    def get(self, **settings: Any) -> Provence:
        """Return the model of these settings, the keyword arguments of `Provence.from_pretrained`."""
        with self._lock:
            # Settings are compared because fields can be assigned to, and shallow copies share this object.
            if self._model is None or settings != self._settings:
                self._model, self._settings = Provence.from_pretrained(**settings), settings
            return self._model

    def __reduce__(self) -> tuple[type[_LazyModel], tuple[()]]:
        return _LazyModel, ()


class ModelFields(BaseModel):
    """Which model an adapter uses and how it runs.

    The model is loaded on first use, once, also when several threads ask at the same time. Fields may be
    assigned to between calls and are checked again. There is no field for an access token or an API key,
    since fields are shown and stored: set the environment variable `HF_TOKEN` or `PROVENCE_API_KEY`, or give
    a `Provence` that was loaded with one.

    Raises:
        pydantic.ValidationError: A field is unknown, out of range, or contradicts another.
        TypeError: `token` or `api_key` is given.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    model: str | Path | Provence | None = Field(
        default=None,
        description="Hub name or path of a checkpoint, URL of a server, or a loaded Provence; None is the "
        "bundled model.",
    )
    device: str | None = Field(
        default=None, description="Where the model runs; None lets the backend choose."
    )
    backend: BackendName = Field(
        default="auto", description="What runs the model; auto takes ONNX Runtime on a CPU where it can."
    )
    dtype: str | None = Field(
        default=None,
        description="int8 or float32 for ONNX; int8 for OpenVINO; float32, float16 or bfloat16 for torch; "
        "None is the fastest export for ONNX and float32 for torch.",
    )
    max_length: int | None = Field(
        default=None, ge=SHORTEST_WINDOW, description="Window in tokens; None is the checkpoint's own."
    )
    threads: int | None = Field(
        default=None, ge=1, description="Threads of a forward pass on a CPU; None is one per core."
    )
    chunker: Any = Field(
        default=None,
        description="Splits text into sentences: any chunker object or callable; None chooses by language.",
    )
    score_cache: int | str | Path | None = Field(
        default=None,
        description="Keeps scores, so that the model reads no passage twice for the same question: their "
        "number in memory, or the path of an SQLite file; None keeps none.",
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit on the hub.")
    cache_folder: str | Path | None = Field(
        default=None, description="Where downloads are kept; None is the hub client's own place."
    )
    local_files_only: bool = Field(default=False, description="Download nothing.")
    batch_size: int | None = Field(
        default=None, ge=1, description="Windows per batch; None lets the library choose."
    )

    _lazy_model: _LazyModel = PrivateAttr(default_factory=_LazyModel)

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign to a field; a value that is refused leaves the old one."""
        before = self.__dict__.get(name)
        try:
            super().__setattr__(name, value)
        except ValidationError:
            # pydantic keeps a value that a validator of the whole model refuses.
            if name in type(self).model_fields:
                self.__dict__[name] = before
            raise

    @model_validator(mode="before")
    @classmethod
    def _refuse_secrets(cls, values: Any) -> Any:
        for name, variable in SECRETS.items():
            if isinstance(values, dict) and name in values:
                # No ValueError: pydantic would make one of its own of it, which shows the secret.
                raise TypeError(
                    f"{name} is no field, since fields are shown and stored: set the environment variable "
                    f"{variable}, or give model=Provence.from_pretrained(..., {name}=...)"
                )
        return values

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        fields = type(self).model_fields
        loading = {name: getattr(self, name) for name in _LOADING}
        given = {name: value for name, value in loading.items() if value != fields[name].default}
        check_model(self.model, given)
        if self.chunker is not None:
            as_chunker(self.chunker)
        return self

    @property
    def provence(self) -> Provence:
        """The model, which is loaded at the first use.

        Raises:
            CheckpointError: The checkpoint is missing or cannot be used.
            MissingExtraError: The backend's libraries are not installed.
        """
        if isinstance(self.model, Provence):
            return self.model
        return self._lazy_model.get(
            name_or_path=self.model, **{name: getattr(self, name) for name in _LOADING}
        )


def _option(name: str) -> Any:
    """The field of an option of `PruningOptions`, which checks its value."""
    option = OPTIONS[name]
    limits = {"minimum": option.minimum, "maximum": option.maximum}
    return Field(
        default=getattr(PruningOptions, name),
        description=option.help,
        json_schema_extra={key: limit for key, limit in limits.items() if limit is not None},
    )


class OptionFields(BaseModel):
    """The fields of `PruningOptions`, with its checks.

    Raises:
        pydantic.ValidationError: A value is out of range, or contradicts another.
    """

    mode: PruningMode | None = _option("mode")
    keep_answers: float | None = _option("keep_answers")
    threshold: float | None = _option("threshold")
    ratio: float | None = _option("ratio")
    max_tokens: int | None = _option("max_tokens")
    min_sentences: int = _option("min_sentences")
    context_before: int = _option("context_before")
    context_after: int = _option("context_after")
    keep_title: bool = _option("keep_title")
    keep_headings: bool = _option("keep_headings")
    keep_together: bool = _option("keep_together")
    language: str = _option("language")

    @model_validator(mode="after")
    def _check_pruning(self) -> Self:
        self.pruning_options()
        return self

    def pruning_options(self) -> PruningOptions:
        """The values of these fields, checked."""
        return PruningOptions(**{name: getattr(self, name) for name in OPTIONS})


class AdapterFields(OptionFields, ModelFields):
    """The fields of an adapter that reranks and prunes retrieved passages, and what they mean.

    With `rerank=False`, `top_n`, `score_threshold` and `max_tokens` together, the budget is shared by all
    passages that reach the threshold, including those after the first `top_n`: less of it may be used.

    Raises:
        pydantic.ValidationError: A field is unknown, out of range, or contradicts another.
    """

    rerank: bool = Field(
        default=True,
        description="Best passage first; False keeps the retrieval order. Scores are written either way.",
    )
    top_n: int | None = Field(
        default=None,
        ge=1,
        description="Maximum number of passages, the first in the order of the result; None keeps all.",
    )
    score_threshold: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="Drop passages with a score below this; None keeps all.",
    )
    min_documents: int = Field(
        default=0,
        ge=0,
        description="Minimum number of passages, the best, that come back with text even if they score below "
        "`score_threshold` or keep no sentence; one that keeps none comes back with its best sentence.",
    )
    keep_empty: bool = Field(
        default=False,
        description="Keep a passage without any kept sentence, with empty text; by default it is dropped.",
    )
    title_key: str | list[str] | None = Field(
        default=None,
        description="Metadata key of the title, which the model reads and `keep_title` protects. Of several "
        "keys the first that holds a string with words is taken.",
    )
    sentence_scores: bool = Field(
        default=False, description="Also write the span and the score of each sentence to the metadata."
    )
    score_key: str = Field(
        default="relevance_score", min_length=1, description="Metadata key for the relevance score."
    )
    record_key: str = Field(
        default="provence",
        min_length=1,
        description="Metadata key for the record of what was kept. Values that the adapter replaces in the "
        "metadata, such as an earlier reranker's score, stay in this record under `replaced`.",
    )

    @model_validator(mode="after")
    def _check_adapter(self) -> Self:
        if self.top_n is not None and self.min_documents > self.top_n:
            raise InvalidInputError(f"min_documents={self.min_documents} is more than top_n={self.top_n}")
        if self.score_key == self.record_key:
            raise InvalidInputError(f"score_key and record_key must differ, got {self.score_key!r} for both")
        return self

    def process(
        self,
        query: str,
        texts: Sequence[str],
        metadata: Sequence[Mapping[str, Any]],
        *,
        further: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[tuple[PrunedPassage, dict[str, Any]]]:
        """Rerank and prune retrieved passages as the fields say.

        Args:
            query: The question.
            texts: N passages.
            metadata: The metadata of each, where `title_key` finds its title. Nothing is changed in them.
            further: Keys that the caller adds to the metadata of each.

        Returns:
            The passages that stay, in the order of the result, each with the keys to add to its metadata:
            those of `further`, `record_key` for `PrunedPassage.provenance`, and, unless the checkpoint only
            prunes, `score_key` for the score. What they replace in the metadata is in the record, under
            `replaced`. Our values are plain lists, floats and integers. `index` is the passage's place
            in `texts`.

        Raises:
            InvalidInputError: The query is blank, or something is not a string.
            CheckpointError: The checkpoint cannot be loaded, or cannot do what the fields ask for.
        """
        passages = self._process(query, texts, list(map(self._title, metadata)))
        more = [{}] * len(texts) if further is None else further
        return [(p, self._added(p, metadata[p.index], more[p.index])) for p in passages]

    def _process(self, query: str, texts: Sequence[str], titles: Sequence[str | None]) -> list[PrunedPassage]:
        """Rerank and prune as the fields say; the passages that stay, in the order of the result."""
        model = self.provence
        rerank = self.rerank and model.config.can_rank
        read = list(range(len(texts)))
        if not rerank and self.score_threshold is None:
            # The order alone decides: the rest need not be read. A blank text takes no place of another.
            read = sorted(sorted(read, key=lambda i: not texts[i].strip())[: self.top_n])
        passages = model.process(
            query,
            [texts[i] for i in read],
            titles=[titles[i] for i in read],
            options=self.pruning_options(),
            top_k=self.top_n if rerank else None,
            score_threshold=self.score_threshold,
            min_documents=self.min_documents,
            reorder=rerank,
            batch_size=self.batch_size,
        )
        passages = [replace(passage, index=read[passage.index]) for passage in passages]
        if not rerank:
            passages.sort(key=lambda passage: (not passage.sentences, passage.index))
            passages = sorted(passages[: self.top_n], key=lambda passage: passage.index)
        passages = keep_at_least(passages, self.min_documents)
        return [passage for passage in passages if self.keep_empty or not passage.is_empty]

    def _title(self, metadata: Mapping[str, Any]) -> str | None:
        """The title in a passage's metadata; what is not a string, or blank, is none."""
        keys = [self.title_key] if isinstance(self.title_key, str) else self.title_key or []
        values = (metadata.get(key) for key in keys)
        return next((value for value in values if isinstance(value, str) and value.strip()), None)

    def _added(
        self, passage: PrunedPassage, metadata: Mapping[str, Any], further: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What is written over the metadata of a passage; values that this replaces stay in the record."""
        record = passage.provenance(sentence_scores=self.sentence_scores)
        added = {**further, self.record_key: record}
        if (score := finite(passage.score)) is not None:
            added[self.score_key] = float(score)  # a numpy scalar would not be JSON-safe
        if replaced := {key: metadata[key] for key in added if key in metadata}:
            record["replaced"] = replaced
        return added


def keep_at_least(passages: Sequence[PrunedPassage], count: int) -> list[PrunedPassage]:
    """Give the most relevant empty passages their best sentence until `count` passages have text."""
    empty = [passage for passage in passages if passage.is_empty and passage.sentences]
    empty.sort(key=lambda passage: passage.logit or 0.0, reverse=True)
    missing = max(0, count - sum(not passage.is_empty for passage in passages))
    restored = {passage.index: _best_sentence_alone(passage) for passage in empty[:missing]}
    return [restored.get(passage.index, passage) for passage in passages]


def _best_sentence_alone(passage: PrunedPassage) -> PrunedPassage:
    """The passage with its best sentence, and what that cannot stand without."""
    best = max(range(len(passage.sentences)), key=lambda number: passage.sentences[number].score or 0.0)
    kept = {best}
    waiting = [best]
    while waiting:
        new = set(passage.sentences[waiting.pop()].needs) - kept
        kept |= new
        waiting += new
    sentences = tuple(replace(one, kept=number in kept) for number, one in enumerate(passage.sentences))
    spans = [Span(sentence.start, sentence.end) for sentence in sentences]
    mask = np.array([sentence.kept for sentence in sentences])
    return replace(passage, text=assemble(passage.document, spans, mask), sentences=sentences)
