"""The contract of sentence-transformers' CrossEncoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypedDict, overload

import numpy as np
from numpy.typing import NDArray

from provence_rag.errors import InvalidInputError
from provence_rag.options import PruningOptions
from provence_rag.results import PrunedPassage
from provence_rag.validation import check_rows, check_text, shown

__all__ = ["CrossEncoderMethods", "RankedDocument"]

_OFF = PruningOptions(mode="off")


class RankedDocument(TypedDict, total=False):
    """An entry of `rank`, as in sentence-transformers' CrossEncoder."""

    corpus_id: int
    score: float
    text: str


class CrossEncoderMethods:
    """`predict` and `rank` with the names, arguments and results of sentence-transformers' CrossEncoder."""

    # What they stand on.
    process: Callable[..., list[PrunedPassage]]
    process_batch: Callable[..., list[list[PrunedPassage]]]

    @overload
    def predict(
        self,
        pairs: tuple[str, str],
        batch_size: int | None = None,
        show_progress_bar: bool = False,
    ) -> np.float32: ...

    @overload
    def predict(
        self,
        pairs: Sequence[tuple[str, str] | list[str]],
        batch_size: int | None = None,
        show_progress_bar: bool = False,
    ) -> NDArray[np.float32]: ...

    def predict(
        self,
        pairs: tuple[str, str] | Sequence[tuple[str, str] | list[str]],
        batch_size: int | None = None,
        show_progress_bar: bool = False,
    ) -> np.float32 | NDArray[np.float32]:
        """Relevance scores of (query, document) pairs.

        Args:
            pairs: N pairs, or a single one.
            batch_size: See `process`.
            show_progress_bar: Show a progress bar on standard error.

        Returns:
            Scores, shape (N,), float32; a scalar for a single pair. A stock CrossEncoder differs in documents
            of white space, which are not read here, and in texts that name a special token (`</s>`).

        Raises:
            InvalidInputError: Something is not a pair of strings.
            CheckpointError: The checkpoint has no ranking head.
        """
        rows = check_rows("pairs", pairs, of="(query, document) pairs")
        is_single = len(rows) == 2 and all(isinstance(text, str) for text in rows)
        checked = (
            [_pair("pairs", rows)] if is_single else [_pair(f"pairs[{i}]", r) for i, r in enumerate(rows)]
        )
        results = self.process_batch(
            [query for query, _ in checked],
            [[document] for _, document in checked],
            options=_OFF,
            reorder=True,  # of one document each: asks for the ranking head
            batch_size=batch_size,
            show_progress=show_progress_bar,
        )
        scores = np.array([passage.score for (passage,) in results], dtype=np.float32)
        return scores[0] if is_single else scores

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
    ) -> list[RankedDocument]:
        """Sort documents by relevance.

        Args:
            query: The question.
            documents: The documents.
            top_k: How many to return; None is all.
            return_documents: Whether the entries have a `text`.
            batch_size: See `process`.
            show_progress_bar: Show a progress bar on standard error.

        Returns:
            `{"corpus_id", "score"[, "text"]}`, best first; `corpus_id` is the position in `documents`.

        Raises:
            InvalidInputError: An argument has a value that cannot be used.
            CheckpointError: The checkpoint has no ranking head.
        """
        passages = self.process(
            query,
            documents,
            options=_OFF,
            top_k=top_k,
            reorder=True,
            batch_size=batch_size,
            show_progress=show_progress_bar,
        )
        ranked: list[RankedDocument] = []
        for passage in passages:
            assert passage.score is not None  # reorder=True has checked that there is a ranking head
            entry: RankedDocument = {"corpus_id": passage.index, "score": passage.score}
            if return_documents:
                entry["text"] = passage.document
            ranked.append(entry)
        return ranked


def _pair(name: str, row: Any) -> tuple[str, str]:
    texts = list(row) if isinstance(row, Iterable) and not isinstance(row, str) else []
    if len(texts) != 2:
        raise InvalidInputError(f"{name} must be a (query, document) pair, got {shown(row)}")
    return check_text(f"{name}[0]", texts[0], blank=False), check_text(f"{name}[1]", texts[1])
