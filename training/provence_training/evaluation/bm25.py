"""BM25 for evaluation: words for terms, and character bigrams where words are written without spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray

__all__ = ["BM25", "terms"]

_UNSPACED = r"\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_RUNS = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|[^\W_{_UNSPACED}]+")


def terms(text: str) -> list[str]:
    """The terms of a text. They depend on no model, so that all models meet the same distractors."""
    found = []
    for run in _RUNS.finditer(unicodedata.normalize("NFKC", text).casefold()):
        word = run.group()
        if run["unspaced"] and len(word) > 1:
            found += [word[i : i + 2] for i in range(len(word) - 1)]
        else:
            found.append(word)
    return found


class BM25:
    """BM25 (Robertson et al. 1994, with the parameters of `bm25s`) over the passages of a file.

    Args:
        texts: P passages, at least one.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._size = len(texts)
        self._index = bm25s.BM25()
        # A corpus without terms cannot be indexed, so every passage gets an empty term.
        self._index.index([["", *terms(text)] for text in texts], show_progress=False)

    def scores(self, query: str) -> NDArray[np.float32]:
        """The score of each passage, shape (P,); 0 if it shares no term with the query."""
        known = [term for term in terms(query) if term in self._index.vocab_dict]
        if not known:
            return np.zeros(self._size, dtype=np.float32)
        return np.asarray(self._index.get_scores(known), dtype=np.float32)
