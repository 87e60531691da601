"""Questions of the data that ask nearly the same, found by a bi-encoder."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from provence_rag.chunking import Span
from provence_rag.errors import InvalidInputError, MissingExtraError
from provence_rag.validation import check_count
from provence_training.arrays import Float32Array
from provence_training.data.passages import Passage

__all__ = ["nearest_questions"]


_Place = tuple[int, Span]
"""Number of a passage, and the span that answers."""

_BLOCK = 2**22
"""Similarities held in memory: 16 MB, and four times as much while the best are searched."""

_NUMBER = re.compile(r"\d+")


def nearest_questions(
    passages: Sequence[Passage],
    bi_encoder: str | Path,
    *,
    similarity: tuple[float, float] = (0.8, 0.985),
    k: int = 8,
    query_prefix: str | None = None,
    device: str | None = None,
    show_progress: bool = False,
) -> dict[str, list[str]]:
    """Find, for each question with marked answers, others of the same language and meaning.

    Args:
        passages: The passages whose questions are compared.
        bi_encoder: Directory or name on the hub of a model that sentence-transformers loads; a bare encoder
            gets mean pooling.
        similarity: Lowest and highest cosine similarity of a neighbour. Below, it asks something else; above,
            it has the same wording. The range depends on the encoder: the default suits all-mpnet-base-v2;
            E5 models, whose similarities are all high, need (0.955, 0.998).
        k: Most neighbours of each question, >= 1.
        query_prefix: What the encoder expects before a question; None leaves that to its configuration.
        device: The device that it runs on.
        show_progress: Show a progress bar.

    Returns:
        The neighbours of each question that has any, best first, as `Wordings` takes them. Questions with
        different numbers are never neighbours, nor are two that one passage answers at different places.

    Raises:
        InvalidInputError: `similarity` is not an ascending pair of cosines, or `k` is below 1.
        MissingExtraError: sentence-transformers is not installed.
    """
    low, high = similarity
    if not -1 <= low <= high <= 1:
        raise InvalidInputError(
            f"similarity must be two ascending numbers between -1 and 1, got {low:g} and {high:g}"
        )
    check_count("k", k, 1)
    by_language: dict[str, dict[str, list[_Place]]] = defaultdict(lambda: defaultdict(list))
    for number, passage in enumerate(passages):
        for question in passage.questions:
            for answer in question.answers or ():
                by_language[passage.language][question.text].append((number, answer))
    model = _load(bi_encoder, device)
    prompt: dict[str, Any] = {} if query_prefix is None else {"prompt": query_prefix}
    found: dict[str, list[str]] = {}
    for places in by_language.values():
        vectors = model.encode_query(
            list(places), normalize_embeddings=True, show_progress_bar=show_progress, **prompt
        )
        found |= _nearest(places, np.asarray(vectors, dtype=np.float32), low, high, k)
    return found


def _nearest(
    places: Mapping[str, Sequence[_Place]], vectors: Float32Array, low: float, high: float, k: int
) -> dict[str, list[str]]:
    """The neighbours by unit vectors, shape (N, H), for one block of questions at a time."""
    questions = list(places)
    numbers = [sorted(_NUMBER.findall(text)) for text in questions]
    size, k = max(1, _BLOCK // len(questions)), min(k, len(questions))
    found = {}
    for start in range(0, len(questions), size):
        similarities = vectors[start : start + size] @ vectors.T  # (block, N)
        similarities[(similarities < low) | (similarities > high)] = -np.inf
        nearest = np.argpartition(-similarities, k - 1, axis=1)[:, :k]
        for i, (row, candidates) in enumerate(zip(similarities, nearest.tolist(), strict=True), start):
            candidates.sort(key=(-row).__getitem__)
            near = [
                questions[j]
                for j in candidates
                if row[j] > -np.inf
                and j != i
                and numbers[j] == numbers[i]
                and _may_ask_the_same(places[questions[i]], places[questions[j]])
            ]
            if near:
                found[questions[i]] = near
    return found


def _may_ask_the_same(first: Sequence[_Place], second: Sequence[_Place]) -> bool:
    """Whether no passage answers both questions, or one answers both at the same place."""
    common = [(a, b) for number, a in first for other, b in second if number == other]
    return not common or any(a.start < b.end and b.start < a.end for a, b in common)


def _load(bi_encoder: str | Path, device: str | None) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("nearest questions", "train") from error
    # Some are stored in half precision, which is many times slower on a CPU.
    return SentenceTransformer(str(bi_encoder), device=device, model_kwargs={"dtype": torch.float32})
