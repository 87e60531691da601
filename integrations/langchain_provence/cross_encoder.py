"""The cross-encoder."""

from __future__ import annotations

from langchain_core.cross_encoders import BaseCrossEncoder

from provence_rag.adapters import ModelFields

__all__ = ["ProvenceCrossEncoder"]


class ProvenceCrossEncoder(ModelFields, BaseCrossEncoder):
    """Score texts for whatever in LangChain takes a cross-encoder; nothing is pruned.

    The model is loaded on first use, once, also when several threads ask at the same time. Fields may be
    assigned to between calls and are checked again.

    Example:
        ```python
        from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
        from langchain_provence import ProvenceCrossEncoder

        reranker = CrossEncoderReranker(model=ProvenceCrossEncoder(), top_n=3)
        ```

    Raises:
        pydantic.ValidationError: A field is unknown, out of range, or contradicts another.
    """

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Score (query, text) pairs.

        Args:
            text_pairs: N pairs.

        Returns:
            N relevance scores, as in `PrunedPassage.score`.

        Raises:
            InvalidInputError: Something is not a pair of strings, or a query is blank.
            CheckpointError: The checkpoint cannot be loaded, or has no ranking head.
        """
        if not text_pairs:
            return []
        # Python floats: numpy scalars would not be JSON-safe.
        return [float(score) for score in self.provence.predict(text_pairs, batch_size=self.batch_size)]
