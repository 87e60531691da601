"""The document compressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document

from provence_rag import PrunedPassage
from provence_rag.adapters import AdapterFields

__all__ = ["ProvenceCompressor"]


class ProvenceCompressor(AdapterFields, BaseDocumentCompressor):
    """Rerank retrieved documents and cut out the sentences that do not help to answer the query.

    The documents that come back are copies with their id, class and metadata. Their metadata also holds

    - `relevance_score`: a float; absent where the checkpoint has no ranking head;
    - `provence`: `kept_spans` (`[start, end]` character offsets into the original text), `compression`
      (share of the characters that is gone) and `original_length` (in characters); with `sentence_scores`
      also `sentence_spans` and `sentence_scores`, an entry for each sentence.

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
            callbacks: Part of LangChain's interface; nothing is reported to them.

        Returns:
            Pruned copies. Documents without a kept sentence are left out unless `keep_empty`.

        Raises:
            InvalidInputError: The query is None or blank.
            CheckpointError: The checkpoint cannot be loaded, or cannot do what the fields ask for.
        """
        if not documents:
            return []
        texts = [document.page_content for document in documents]
        metadata = [document.metadata for document in documents]
        results = self.process(query, texts, metadata)
        return [_pruned(documents[passage.index], passage, added) for passage, added in results]


def _pruned(document: Document, passage: PrunedPassage, added: dict[str, Any]) -> Document:
    """A copy: LangChain's constructor would lose the id and the subclass."""
    metadata = {**document.metadata, **added}
    return document.model_copy(update={"page_content": passage.text, "metadata": metadata})
