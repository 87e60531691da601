"""A tokenized corpus as flat arrays, in memory or in files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from filelock import FileLock

from provence_training.arrays import Array, IntArray

__all__ = ["Pack", "borders_of", "cached_pack"]


_MAPPED = 1 << 16
"""Bytes from which a file is mapped into memory instead of read; an empty one cannot be mapped."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """P passages with S sentences in all, and Q questions, in N tokens.

    Borders are positions in another array: item `i` is its slice `[borders[i], borders[i + 1])`. Sentences
    and passages follow each other without gaps, so a window of a passage is a run of sentences.
    """

    tokens: Array
    """Token ids of all texts, in the smallest unsigned type that fits, shape (N,)."""

    special: Array
    """Borders, in `tokens`, of the special tokens before, between and after the texts of a pair, shape
    (4,)."""

    sentences: Array
    """Borders of the sentences in `tokens`, shape (S + 1,)."""

    passages: Array
    """Borders of the passages in `sentences`, shape (P + 1,)."""

    titles: Array
    """Borders of each passage's title in `tokens`; many are empty. Shape (P + 1,)."""

    questions: Array
    """Borders of the questions in `tokens`, shape (Q + 1,)."""

    keywords: Array
    """Borders of the questions as people type them, in `tokens`, shape (Q + 1,)."""

    sources: Array
    """Names of the data sets."""

    question_sources: Array
    """The data set of each question, an index into `sources`, shape (Q,)."""

    own: Array
    """The passage that each question is about, -1 for none, shape (Q,)."""

    labels: Array
    """For each sentence of each question's own passage: 1 keep, 0 drop, or `IGNORE`."""

    label_borders: Array
    """Borders of the questions in `labels`, shape (Q + 1,)."""

    relevance: Array
    """Relevance of each question's own passage, 0 to 1, NaN if unknown, shape (Q,)."""

    given_scores: Array
    """The data's teacher logit for each question with its own passage, or NaN, shape (Q,)."""

    has_answer: Array
    """Whether an answer is marked, whose text other passages can be searched for, shape (Q,)."""

    neighbours: Array
    """Passages that BM25 finds for each question and that do not answer it, best first, then -1: (Q, n)."""

    others: Array
    """Random passages that do not answer each question, then -1: (Q, m)."""

    first_junk: Array
    """The passages from this number on are noise of unknown tokens, shape ()."""

    @property
    def num_questions(self) -> int:
        """Q."""
        return len(self.own)

    @property
    def num_texts(self) -> int:
        """Passages that are text, not junk."""
        return int(self.first_junk)

    def save(self, directory: Path) -> None:
        """Write one file per array."""
        for field in fields(self):
            np.save(directory / f"{field.name}.npy", getattr(self, field.name), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> Pack:
        """Read what `save` wrote; large arrays stay in their files until used."""
        return cls(**{field.name: _load(directory / f"{field.name}.npy") for field in fields(cls)})


def cached_pack(directory: Path, key: str, build: Callable[[], Pack]) -> Pack:
    """The pack for a key, read from a directory or built and stored there.

    A pack is stored as a whole or not at all. A process waits while another one builds the same pack.

    Args:
        directory: The directory of all packs.
        key: Identifies the pack; a file name.
        build: Builds the pack.
    """
    target = directory / key
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / f"{key}.lock"):
        if not target.exists():
            partial = directory / f"{key}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            build().save(partial)
            os.replace(partial, target)
    return Pack.load(target)


def borders_of(lengths: IntArray, start: int = 0) -> IntArray:
    """Borders of consecutive items that begin at `start`, shape (items + 1,)."""
    return np.concatenate([[start], start + np.cumsum(lengths)]).astype(np.int64)


def _load(path: Path) -> Array:
    mapped = path.stat().st_size >= _MAPPED
    # "c" never changes the file; torch only takes arrays that look writable.
    return np.asarray(np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False))
