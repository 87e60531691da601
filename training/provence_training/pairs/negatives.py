"""Negatives: passages that do not answer a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import bm25s
import numpy as np

from provence_training.arrays import Float32Array, IntArray
from provence_training.data.passages import Passage, Question

__all__ = ["Asked", "Negatives", "find_negatives"]


_NEIGHBOURS = 16
"""BM25 neighbours kept for each question."""

_FOUND = 48
"""BM25 neighbours checked for answers."""

_OTHERS = 8
"""Random passages kept for each question."""

_TRIES = 24
"""Random passages checked for answers: only words like "the" occur in all of them."""

_COMMON = 0.06
"""Largest share of passages with a BM25 term: commoner tokens tell nothing, and cost most of the time."""

_FEW = 1000
"""Up to this number of passages, BM25 is fast with all tokens."""

_SHORTEST = 12
"""Characters of a question to search for in passages: shorter ones occur in many by chance."""


class Asked(NamedTuple):
    """A question and where it comes from."""

    question: Question
    holder: Passage
    """The passage of its record, possibly without text."""
    own: int
    """Its number among the passages with text, -1 for none."""


class Negatives(NamedTuple):
    """Numbers of passages, padded with -1."""

    neighbours: IntArray
    """Neighbours by BM25, best first, shape (Q, n)."""
    others: IntArray
    """Random passages, shape (Q, m)."""


def find_negatives(
    passages: Sequence[Passage],
    asked: Sequence[Asked],
    passage_tokens: Sequence[IntArray],
    question_tokens: Sequence[IntArray],
    *,
    needs_passage: frozenset[str],
    seed: int,
) -> Negatives:
    """Find passages of each question's language that do not answer it.

    A passage is left out if it is the question's own, contains the text of one of its answers or the
    question, or has the same question. Questions that need their passage meet other data sets only: other
    passages of their own may be about another thing of the same kind.

    Args:
        passages: P passages with text.
        asked: Q questions.
        passage_tokens: Token ids of the passages, which are BM25's terms: they work in every language.
        question_tokens: Token ids of the questions.
        needs_passage: Data sets whose questions need their passage.
        seed: Seed of the random passages.
    """
    rng = np.random.default_rng(seed)
    search = _Search(passages, needs_passage)
    neighbours = np.full((len(asked), _NEIGHBOURS), -1)
    others = np.full((len(asked), _OTHERS), -1)
    for language in sorted({one.holder.language for one in asked}):
        pool = np.array([i for i, p in enumerate(passages) if p.language == language], dtype=np.int64)
        numbers = [i for i, one in enumerate(asked) if one.holder.language == language]
        if not len(pool):
            continue
        found = _bm25([passage_tokens[i] for i in pool], [question_tokens[i] for i in numbers])
        for number, row in zip(numbers, found, strict=True):
            tried = rng.choice(pool, min(_TRIES, len(pool)), replace=False)
            _fill(neighbours[number], search.lacking(asked[number], pool[row].tolist(), _NEIGHBOURS))
            _fill(others[number], search.lacking(asked[number], tried.tolist(), _OTHERS))
    return Negatives(neighbours, others)


def _fill(row: IntArray, values: list[int]) -> None:
    row[: len(values)] = values


class _Search:
    """Looks for answers and questions in the passages' texts."""

    def __init__(self, passages: Sequence[Passage], needs_passage: frozenset[str]) -> None:
        self._needing = needs_passage
        self._sources = [passage.source for passage in passages]
        self._texts = [passage.text.lower() for passage in passages]
        self._questions = [{_bare(q.text) for q in passage.questions} for passage in passages]

    def lacking(self, asked: Asked, candidates: Sequence[int], most: int) -> list[int]:
        """The first `most` candidates that do not answer."""
        holder, question = asked.holder, _bare(asked.question.text)
        own_text = holder.text.lower()
        answers = {own_text[a.start : a.end].strip() for a in asked.question.answers or ()} - {""}
        needs_passage = holder.source in self._needing
        found: list[int] = []
        for i in candidates:
            text = self._texts[i]
            if (
                text == own_text
                or (needs_passage and self._sources[i] == holder.source)
                or question in self._questions[i]
                or (len(question) >= _SHORTEST and question in text)
                or any(answer in text for answer in answers)
            ):
                continue
            found.append(i)
            if len(found) == most:
                break
        return found


def _bare(question: str) -> str:
    return question.lower().rstrip("?？ ")


def _bm25(passages: Sequence[IntArray], questions: Sequence[IntArray]) -> list[IntArray]:
    """For each question the indices of the best passages that share a term with it, best first."""
    count = max(max((int(ids.max()) for ids in (*passages, *questions) if len(ids)), default=0) + 1, 1)
    held = np.bincount(np.concatenate([np.unique(ids) for ids in passages]), minlength=count)
    common = held > max(_FEW, _COMMON * len(passages))
    names = np.array([str(i) for i in range(count)], dtype=object)  # one string object per term
    index = bm25s.BM25()
    index.index([names[ids[~common[ids]]].tolist() for ids in passages], show_progress=False)
    rows = []
    for ids in questions:
        terms = names[ids[~common[ids] & (held[ids] > 0)]].tolist()
        rows.append(_best(index.get_scores(terms)) if terms else np.zeros(0, dtype=np.int64))
    return rows


def _best(scores: Float32Array) -> IntArray:
    """The highest scores' indices, highest first."""
    found = np.flatnonzero(scores)
    if len(found) > _FOUND:  # sorting all of them would take most of the time
        found = found[np.argpartition(-scores[found], _FOUND)[:_FOUND]]
    return found[np.argsort(-scores[found], kind="stable")]
