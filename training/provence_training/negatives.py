"""Passages that look relevant and do not answer."""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray

from provence_rag.inference.encoding import PairTokenizer
from provence_training.passages import Passage

__all__ = ["BM25Neighbours"]


class BM25Neighbours:
    """BM25 over a corpus, on the pieces of a tokenizer, so that it works in every language.

    Args:
        passages: The corpus.
        tokenizer: Whose tokens are the terms.
    """

    def __init__(self, passages: Sequence[Passage], tokenizer: PairTokenizer) -> None:
        self.passages = passages
        self._tokenizer = tokenizer
        self._index = bm25s.BM25()
        self._index.index(self._terms([p.text for p in passages]), show_progress=False)

    def _terms(self, texts: Sequence[str]) -> list[list[str]]:
        return [[str(i) for i in tokens.ids] for tokens in self._tokenizer.tokenize(texts)]

    def search(self, queries: Sequence[str], k: int) -> NDArray[np.int64]:
        """Indices of the `k` best passages for each query, best first, shape (queries, k)."""
        k = min(k, len(self.passages))
        if not queries:
            return np.empty((0, k), dtype=np.int64)
        found = self._index.retrieve(self._terms(queries), k=k, return_as="documents", show_progress=False)
        return np.asarray(found, dtype=np.int64)
