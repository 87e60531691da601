"""Questions of the data that ask nearly the same, by a bi-encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from provence_rag.errors import InvalidInputError, MissingExtraError

__all__ = ["nearest_questions"]

_BLOCK = 2**22
"""Similarities held at once: 16 MB, and four times that while the best are found."""

_NUMBER = re.compile(r"\d+")


def nearest_questions(
    questions: Sequence[str],
    bi_encoder: str | Path,
    *,
    similarity: tuple[float, float] = (0.8, 0.985),
    k: int = 8,
    query_prefix: str | None = None,
    device: str | None = None,
    show_progress: bool = False,
) -> dict[str, list[str]]:
    """Find, for each question, others of the same meaning.

    Args:
        questions: Of one language.
        bi_encoder: Directory or name on the hub of what sentence-transformers loads; a bare encoder gets mean
            pooling.
        similarity: Lowest and highest cosine similarity of a neighbour. Below, it asks something else; above,
            it is the same wording. The bounds are the encoder's: the defaults suit all-mpnet-base-v2, while
            the similarities of e5 are all high, (0.955, 0.998).
        k: At most this many neighbours for each question.
        query_prefix: What the encoder expects in front of a question; None leaves that to its configuration.
        device: Where it runs.
        show_progress: Show a progress bar.

    Returns:
        The neighbours of each question that has any, best first. A question with other numbers is none.

    Raises:
        InvalidInputError: `similarity` is no pair of ascending cosines.
        MissingExtraError: sentence-transformers is not installed.
    """
    low, high = similarity
    if not -1 <= low <= high <= 1:
        raise InvalidInputError(
            f"similarity must be two ascending numbers between -1 and 1, got {low:g} and {high:g}"
        )
    unique = list(dict.fromkeys(questions))
    if not unique:
        return {}
    vectors = _embed(unique, bi_encoder, query_prefix, device, show_progress)
    numbers = [sorted(_NUMBER.findall(text)) for text in unique]
    found: dict[str, list[str]] = {}
    size, k = max(1, _BLOCK // len(unique)), min(k, len(unique))
    for start in range(0, len(unique), size):
        similarities = vectors[start : start + size] @ vectors.T  # (block, N)
        similarities[(similarities < low) | (similarities > high)] = -np.inf
        nearest = np.argpartition(-similarities, k - 1, axis=1)[:, :k]
        for i, row in enumerate(nearest.tolist(), start):
            row.sort(key=lambda j: (-similarities[i - start, j], j))
            near = [
                unique[j]
                for j in row
                if similarities[i - start, j] > -np.inf and j != i and numbers[j] == numbers[i]
            ]
            if near:
                found[unique[i]] = near
    return found


def _embed(
    texts: list[str],
    bi_encoder: str | Path,
    query_prefix: str | None,
    device: str | None,
    show_progress: bool,
) -> NDArray[np.float32]:
    """Unit vectors, shape (N, H)."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("nearest questions", "train") from error
    # Half precision, as some are stored in, is many times slower on a CPU.
    model = SentenceTransformer(str(bi_encoder), device=device, model_kwargs={"dtype": torch.float32})
    prompt: dict[str, Any] = {} if query_prefix is None else {"prompt": query_prefix}
    vectors = model.encode_query(texts, normalize_embeddings=True, show_progress_bar=show_progress, **prompt)
    return np.asarray(vectors, dtype=np.float32)
