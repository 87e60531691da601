"""The document compressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import RunnableLambda

from provence_rag import PrunedPassage
from provence_rag.adapters import AdapterFields

__all__ = ["ProvenceCompressor"]

_EMBEDDING = "embedded_doc"
"""The key under which LangChain's embedding filters keep an embedding in a document's `state`."""


class ProvenceCompressor(AdapterFields, BaseDocumentCompressor):
    """Rerank retrieved documents and cut out the sentences that do not help to answer the query.

    The documents that come back are copies with their id, class and metadata; an embedding that a filter
    left in their `state` is cleared where it is no longer that of the text. Their metadata also holds

    - `relevance_score` (or `score_key`): a float; absent if the checkpoint has no ranking head;
    - `provence` (or `record_key`): `kept_spans` (`[start, end]` character offsets into the original text),
      `compression` (share of the characters that were removed) and `original_length` (in characters); with
      `sentence_scores` also `sentence_spans` and `sentence_scores`, with an entry for each sentence;
      `replaced`, if the metadata already had one of these keys, with the values that were there.

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

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Rerank and prune documents; neither they nor their metadata are changed.

        Args:
            documents: The retrieved documents.
            query: What they were retrieved for.
            callbacks: Handlers that hear of the call, as a chain run with the name of this class. Inside
                another run, such as a chain or a node of a graph, its handlers hear of it without this.

        Returns:
            Pruned copies. Documents without a kept sentence are left out unless `keep_empty`.

        Raises:
            InvalidInputError: The query is None or blank.
            CheckpointError: The checkpoint cannot be loaded, or cannot do what the fields ask for.
        """
        if not documents:
            return []
        return self._run().invoke({"query": query, "documents": documents}, {"callbacks": callbacks})

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Rerank and prune documents in a worker thread; see `compress_documents`."""
        if not documents:
            return []
        return await self._run().ainvoke({"query": query, "documents": documents}, {"callbacks": callbacks})

    def _run(self) -> RunnableLambda[dict[str, Any], list[Document]]:
        return RunnableLambda(self._rerank_and_prune, name=type(self).__name__)

    def _rerank_and_prune(self, inputs: dict[str, Any]) -> list[Document]:
        documents: Sequence[Document] = inputs["documents"]
        texts = [document.page_content for document in documents]
        metadata = [document.metadata for document in documents]
        results = self.process(inputs["query"], texts, metadata)
        # LangChain's embedding filters look at the first document only: all embeddings are cleared, or none.
        is_stale = any(passage.text != passage.document for passage, _ in results)
        return [_pruned(documents[passage.index], passage, added, is_stale) for passage, added in results]


def _pruned(document: Document, passage: PrunedPassage, added: dict[str, Any], is_stale: bool) -> Document:
    """A copy: LangChain's constructor would lose the id and the subclass."""
    update: dict[str, Any] = {"page_content": passage.text, "metadata": {**document.metadata, **added}}
    state = getattr(document, "state", None)
    if isinstance(state, dict):
        update["state"] = {key: state[key] for key in state if not (is_stale and key == _EMBEDDING)}
    return document.model_copy(update=update)
