"""The document compressor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Self

from langchain_provence.loading import LazyModel
from provence_rag import InvalidInputError, Provence, PrunedPassage, PruningOptions

__all__ = ["ProvenceCompressor"]

_LOADING = ("device", "backend", "max_length", "chunker")


class ProvenceCompressor(BaseDocumentCompressor):
    """Rerank retrieved documents and cut out the sentences that do not help to answer the query.

    The documents that come back are copies with their id, class and metadata. Their metadata also holds

    - `relevance_score`: a float; absent where the checkpoint has no ranking head;
    - `provence`: `kept_spans` (`[start, end]` character offsets into the original text), `compression`
      (share of the characters that is gone) and `original_length` (in characters).

    The model is loaded on first use, once, also when several threads ask at the same time. Fields may be
    assigned to between calls and are checked again.

    Example:
        ```python
        from langchain_classic.retrievers import ContextualCompressionRetriever
        from langchain_provence import ProvenceCompressor

        retriever = ContextualCompressionRetriever(
            base_compressor=ProvenceCompressor(top_n=3), base_retriever=vector_store.as_retriever()
        )
        ```

    Raises:
        pydantic.ValidationError: A field is unknown, out of range, or contradicts another.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    model: str | Path | Provence | None = Field(
        default=None,
        description="Hub name or path of a checkpoint, or a loaded Provence; None is the bundled model.",
    )
    device: str | None = Field(
        default=None, description="Where the model runs; None lets the backend choose."
    )
    backend: Literal["auto", "onnx", "torch"] = Field(
        default="auto", description="What runs the model; auto takes ONNX Runtime on a CPU where it can."
    )
    max_length: int | None = Field(
        default=None, ge=1, description="Window in tokens; None is the checkpoint's own."
    )
    chunker: Any = Field(
        default=None,
        description="Splits text into sentences: any chunker object or callable; None chooses by language.",
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Windows per batch; None lets the library choose."
    )

    rerank: bool = Field(
        default=True,
        description="Best document first; False keeps the retrieval order. Scores are written either way.",
    )
    top_n: int | None = Field(
        default=None,
        ge=1,
        description="Keep at most so many documents, the first in the order of the result; None keeps all.",
    )
    score_threshold: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="Drop documents with a score below this; None keeps all.",
    )
    keep_empty: bool = Field(
        default=False,
        description="Keep a document without any kept sentence, with empty text; by default it is dropped.",
    )
    title_key: str | None = Field(
        default=None,
        description="Metadata key of the title (a string), which the model reads and `keep_title` protects.",
    )

    mode: str | None = Field(
        default=PruningOptions.mode,
        description="How sentences are selected: dynamic, threshold, ratio, budget or off; "
        "None takes the mode whose value is given, else dynamic.",
    )
    threshold: float | None = Field(
        default=PruningOptions.threshold,
        description="Smallest keep probability of a kept sentence, in [0, 1].",
    )
    ratio: float | None = Field(
        default=PruningOptions.ratio, description="Share of a document's characters to remove, in [0, 1]."
    )
    max_tokens: int | None = Field(
        default=PruningOptions.max_tokens,
        description="Tokens that all documents of a query may keep together.",
    )
    min_sentences: int = Field(
        default=PruningOptions.min_sentences, description="Sentences that every document keeps at least."
    )
    context_before: int = Field(
        default=PruningOptions.context_before, description="Sentences kept in front of each selected one."
    )
    context_after: int = Field(
        default=PruningOptions.context_after, description="Sentences kept behind each selected one."
    )
    keep_title: bool = Field(
        default=PruningOptions.keep_title,
        description="Keep the title, or without one the first sentence, of a document that keeps anything.",
    )
    keep_headings: bool = Field(
        default=PruningOptions.keep_headings, description="Keep the Markdown headings above kept sentences."
    )
    language: str = Field(
        default=PruningOptions.language, description="ISO 639-1 code of the documents, or auto to detect it."
    )

    _lazy_model: LazyModel = PrivateAttr(default_factory=LazyModel)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._options()
        given = [name for name in _LOADING if getattr(self, name) != type(self).model_fields[name].default]
        if isinstance(self.model, Provence) and given:
            raise InvalidInputError(
                f"{', '.join(given)} cannot be set on a loaded model: pass them to Provence.from_pretrained"
            )
        return self

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Rerank and prune documents; neither they nor their metadata are changed.

        Args:
            documents: The retrieved documents.
            query: What they were retrieved for.
            callbacks: Part of LangChain's interface; nothing is reported to them.

        Returns:
            Pruned copies. Documents without a kept sentence are left out unless `keep_empty`.

        Raises:
            InvalidInputError: The query is None or blank.
            CheckpointError: The checkpoint cannot be loaded, or cannot do what the fields ask for.
        """
        if not documents:
            return []
        passages = self._process(query, documents)
        return [
            _pruned(documents[passage.index], passage)
            for passage in passages
            if self.keep_empty or not passage.is_empty
        ]

    def _process(self, query: str, documents: Sequence[Document]) -> list[PrunedPassage]:
        model = self._provence()
        rerank = self.rerank and model.config.can_rank
        if not rerank and self.score_threshold is None:
            documents = documents[: self.top_n]  # the order alone decides: the rest need not be read
        passages = model.process(
            query,
            [document.page_content for document in documents],
            titles=[_title(document, self.title_key) for document in documents],
            options=self._options(),
            top_k=self.top_n if rerank else None,
            score_threshold=self.score_threshold,
            reorder=rerank,
            batch_size=self.batch_size,
        )
        if rerank:
            return passages
        return sorted(passages, key=lambda passage: passage.index)[: self.top_n]

    def _provence(self) -> Provence:
        if isinstance(self.model, Provence):
            return self.model
        return self._lazy_model.get(
            name_or_path=self.model, **{name: getattr(self, name) for name in _LOADING}
        )

    def _options(self) -> PruningOptions:
        return PruningOptions(**{name: getattr(self, name) for name in PruningOptions.names()})


def _title(document: Document, key: str | None) -> str | None:
    title = document.metadata.get(key) if key is not None else None
    return title if isinstance(title, str) else None


def _pruned(document: Document, passage: PrunedPassage) -> Document:
    """A copy: LangChain's constructor would lose the id and the subclass."""
    metadata = {
        **document.metadata,
        "provence": {
            "kept_spans": passage.kept_spans,
            "compression": passage.compression,
            "original_length": len(passage.document),
        },
    }
    if passage.score is not None:
        metadata["relevance_score"] = float(passage.score)  # a numpy scalar would not be JSON-safe
    return document.model_copy(update={"page_content": passage.text, "metadata": metadata})
