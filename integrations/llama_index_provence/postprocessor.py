"""The node postprocessor."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel, Field, field_serializer, model_validator
from typing_extensions import Self

from llama_index_provence.nodes import is_passage, pruned, text_of
from provence_rag import InvalidInputError, PrunedPassage
from provence_rag.adapters import AdapterFields

__all__ = ["ProvencePostprocessor"]

_dispatcher = get_dispatcher(__name__)
_RETRIEVAL_SCORE = "retrieval_score"


class ProvencePostprocessor(AdapterFields, BaseNodePostprocessor):
    """Rerank retrieved nodes and cut out the sentences that do not help to answer the query.

    The nodes that come back are copies with their id, class, relationships and metadata; an embedding and
    character offsets are cleared if the text has changed. The score is the relevance score. The metadata
    also hold the following, hidden from language and embedding models:

    - `relevance_score` (or `score_key`): a float; absent if the checkpoint has no ranking head (the retrieval
      score stays);
    - `provence` (or `record_key`): `kept_spans` (`[start, end]` character offsets into the original text),
      `compression` (share of the characters that were removed) and `original_length` (in characters); with
      `sentence_scores` also `sentence_spans` and `sentence_scores`; `replaced`, if the metadata already had
      one of the keys in this list, with the values that were there;
    - `retrieval_score`: with `keep_retrieval_score`, the score that the node came with, if it had one.

    Nodes without text that hold something else, such as images and references to other indices, pass through
    untouched and count neither for `top_n` nor for `score_threshold`. They come last, or stay in place if the
    retrieval order is kept.

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

    keep_retrieval_score: bool = Field(
        default=False,
        description="Write the score that a node came with to its metadata, as `retrieval_score`.",
    )

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if _RETRIEVAL_SCORE in (self.score_key, self.record_key):
            raise InvalidInputError(
                f"score_key and record_key cannot be {_RETRIEVAL_SCORE!r}: keep_retrieval_score writes there"
            )
        return self

    @field_serializer("model", "chunker", "cache_folder")
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
        _check_nodes(nodes)
        if not any(is_passage(item.node) for item in nodes):
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
        """Process the nodes that are passages and put the others where they belong."""
        to_read = [(place, item) for place, item in enumerate(nodes) if is_passage(item.node)]
        others = [(place, item) for place, item in enumerate(nodes) if not is_passage(item.node)]
        results = self.process(
            query,
            [text_of(item.node) for _, item in to_read],
            [item.node.metadata for _, item in to_read],
            further=[self._retrieval_score(item) for _, item in to_read],
        )
        placed = [(to_read[p.index][0], self._pruned(to_read[p.index][1], p, a)) for p, a in results] + others
        if not self.rerank or any(passage.score is None for passage, _ in results):
            placed.sort(key=itemgetter(0))
        return [item for _, item in placed]

    def _retrieval_score(self, item: NodeWithScore) -> dict[str, float]:
        if not self.keep_retrieval_score or item.score is None:
            return {}
        return {_RETRIEVAL_SCORE: float(item.score)}  # some retrievers assign numpy scalars, which JSON lacks

    def _pruned(self, item: NodeWithScore, passage: PrunedPassage, added: dict[str, Any]) -> NodeWithScore:
        retrieval_score = None if item.score is None else float(item.score)
        return pruned(item, passage, added, added.get(self.score_key, retrieval_score))

    def _model_name(self) -> str:
        return "provence-rag" if self.model is None else str(self.model)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # A copy reports to the same handlers, many of which hold what cannot be copied.
        return super().__deepcopy__({**(memo or {}), id(self.callback_manager): self.callback_manager})

    def __getstate__(self) -> dict[str, Any]:
        # LlamaIndex's own version drops whatever cannot be pickled, from this object too, and a dropped model
        # would come back as the bundled one. Here pickle raises; only the callback manager is left out.
        fields = {name: value for name, value in self.__dict__.items() if name != "callback_manager"}
        return {**BaseModel.__getstate__(self), "__dict__": fields}


def _check_nodes(nodes: Sequence[Any]) -> None:
    for item in nodes:
        if not isinstance(item, NodeWithScore):
            raise InvalidInputError(
                f"nodes must hold NodeWithScore objects, got a {type(item).__name__}: "
                "wrap it, as in NodeWithScore(node=node)"
            )
