"""The node postprocessor."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_serializer, model_validator
from typing_extensions import Self

from llama_index_provence.loading import LazyModel
from llama_index_provence.nodes import has_text, pruned, text_of, title_of
from provence_rag import InvalidInputError, Provence, PrunedPassage, PruningOptions

__all__ = ["ProvencePostprocessor"]

_LOADING = ("device", "backend", "max_length", "chunker")

_dispatcher = get_dispatcher(__name__)


class ProvencePostprocessor(BaseNodePostprocessor):
    """Rerank retrieved nodes and cut out the sentences that do not help to answer the query.

    The nodes that come back are copies with their id, class, relationships and metadata; an embedding and
    character offsets are cleared where the text is another. The score is the relevance score. The metadata
    also holds the following, out of sight of language and embedding models:

    - `relevance_score`: a float; absent where the checkpoint has no ranking head (the retrieval score stays);
    - `provence`: `kept_spans` (`[start, end]` character offsets into the original text), `compression`
      (share of the characters that is gone) and `original_length` (in characters).

    Nodes without text, such as images, are passed through untouched and count neither for `top_n` nor for
    `score_threshold`: behind the others, or at their place where the retrieval order is kept.

    The model is loaded on first use, once, also when several threads ask at the same time. Fields may be
    assigned to between calls and are checked again.

    Example:
        ```python
        from llama_index_provence import ProvencePostprocessor

        engine = index.as_query_engine(
            similarity_top_k=10, node_postprocessors=[ProvencePostprocessor(top_n=3)]
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
        description="Best node first; False keeps the retrieval order. Scores are written either way.",
    )
    top_n: int | None = Field(
        default=None,
        ge=1,
        description="Keep at most so many nodes, the first in the order of the result; None keeps all.",
    )
    score_threshold: float | None = Field(
        default=None, allow_inf_nan=False, description="Drop nodes with a score below this; None keeps all."
    )
    keep_empty: bool = Field(
        default=False,
        description="Keep a node without any kept sentence, with empty text; by default it is dropped.",
    )
    keep_retrieval_score: bool = Field(
        default=False,
        description="Write the score that a node came with to its metadata, as `retrieval_score`.",
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
        default=PruningOptions.ratio, description="Share of a node's characters to remove, in [0, 1]."
    )
    max_tokens: int | None = Field(
        default=PruningOptions.max_tokens, description="Tokens that all nodes of a query may keep together."
    )
    min_sentences: int = Field(
        default=PruningOptions.min_sentences, description="Sentences that every node keeps at least."
    )
    context_before: int = Field(
        default=PruningOptions.context_before, description="Sentences kept in front of each selected one."
    )
    context_after: int = Field(
        default=PruningOptions.context_after, description="Sentences kept behind each selected one."
    )
    keep_title: bool = Field(
        default=PruningOptions.keep_title,
        description="Keep the title, or without one the first sentence, of a node that keeps anything.",
    )
    keep_headings: bool = Field(
        default=PruningOptions.keep_headings, description="Keep the Markdown headings above kept sentences."
    )
    language: str = Field(
        default=PruningOptions.language, description="ISO 639-1 code of the nodes, or auto to detect it."
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

    @field_serializer("model", "chunker")
    def _plain(self, value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, Path):
            return str(value)
        # Left out, it would come back as the bundled model or the default chunker, and nobody would notice.
        raise InvalidInputError(
            f"a {type(value).__name__} object cannot be serialised: "
            "give the model as a name or a path, and no chunker"
        )

    @classmethod
    def class_name(cls) -> str:
        """Return the name that serialised data carries."""
        return "ProvencePostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidInputError(
                "query_bundle is None: call postprocess_nodes with query_bundle or query_str"
            )
        if not any(has_text(item.node) for item in nodes):
            return list(nodes)
        query, top_n, name = query_bundle.query_str, self.top_n or len(nodes), self._model_name()
        _dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=name))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            result = self._rerank_and_prune(query, nodes)
            event.on_end(payload={EventPayload.NODES: result})
        _dispatcher.event(ReRankEndEvent(nodes=result))
        return result

    def _rerank_and_prune(self, query: str, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        """Process the nodes that have text and put the others where they belong."""
        places = [place for place, item in enumerate(nodes) if has_text(item.node)]
        passages = self._process(query, [nodes[place].node for place in places])
        placed = [
            (places[passage.index], self._pruned(nodes[places[passage.index]], passage))
            for passage in passages
            if self.keep_empty or not passage.is_empty
        ]
        placed += [(place, item) for place, item in enumerate(nodes) if not has_text(item.node)]
        if not self.rerank or any(passage.score is None for passage in passages):
            placed.sort(key=itemgetter(0))
        return [item for _, item in placed]

    def _process(self, query: str, nodes: list[BaseNode]) -> list[PrunedPassage]:
        model = self._provence()
        rerank = self.rerank and model.config.can_rank
        if not rerank and self.score_threshold is None:
            nodes = nodes[: self.top_n]  # the order alone decides: the rest need not be read
        passages = model.process(
            query,
            [text_of(node) for node in nodes],
            titles=[title_of(node, self.title_key) for node in nodes],
            options=self._options(),
            top_k=self.top_n if rerank else None,
            score_threshold=self.score_threshold,
            reorder=rerank,
            batch_size=self.batch_size,
        )
        if rerank:
            return passages
        return sorted(passages, key=lambda passage: passage.index)[: self.top_n]

    def _pruned(self, item: NodeWithScore, passage: PrunedPassage) -> NodeWithScore:
        return pruned(item, passage, keep_retrieval_score=self.keep_retrieval_score)

    def _provence(self) -> Provence:
        if isinstance(self.model, Provence):
            return self.model
        return self._lazy_model.get(
            name_or_path=self.model, **{name: getattr(self, name) for name in _LOADING}
        )

    def _model_name(self) -> str:
        return "provence-rag" if self.model is None else str(self.model)

    def _options(self) -> PruningOptions:
        return PruningOptions(**{name: getattr(self, name) for name in PruningOptions.names()})

    def __getstate__(self) -> dict[str, Any]:
        # LlamaIndex's own version drops what cannot be pickled, from this object too, and a model that is
        # lost comes back as the bundled one. Here pickle raises; only the callback manager stays behind.
        fields = {name: value for name, value in self.__dict__.items() if name != "callback_manager"}
        return {**BaseModel.__getstate__(self), "__dict__": fields}
