"""A corpus as flat arrays of numbers, in memory or in files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

__all__ = ["Pack", "borders_of", "cached_pack"]

Array = NDArray[Any]
IntArray = NDArray[np.int64]

_MAPPED = 1 << 16
"""Bytes from which a file is mapped into memory instead of read: an empty one cannot be mapped."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """P passages with S sentences in all, and Q questions, in N tokens.

    Borders are positions in another array: item `i` is `[borders[i], borders[i + 1])` of it. The sentences of
    a passage and the passages follow each other without gaps, so a window of a passage is a run of sentences.
    """

    tokens: Array
    """Token ids of all texts, in the smallest unsigned type that holds them, shape (N,)."""

    special: Array
    """Borders, in `tokens`, of what stands before, between and after the texts of a pair, shape (4,)."""

    sentences: Array
    """Borders of the sentences in `tokens`, shape (S + 1,)."""

    passages: Array
    """Borders of the passages in `sentences`, shape (P + 1,)."""

    titles: Array
    """Borders of each passage's title in `tokens`; many are empty. Shape (P + 1,)."""

    questions: Array
    """Borders of the questions in `tokens`, shape (Q + 1,)."""

    keywords: Array
    """Borders of the same questions in `tokens`, as people type them, shape (Q + 1,)."""

    sources: Array
    """Names of the data sets."""

    question_sources: Array
    """The data set of each question, an index into `sources`, shape (Q,)."""

    own: Array
    """The passage that each question was asked about, -1 for none, shape (Q,)."""

    labels: Array
    """For each sentence of each question's own passage: 1 keep, 0 drop, or `IGNORE`."""

    label_borders: Array
    """Borders of the questions in `labels`, shape (Q + 1,)."""

    relevance: Array
    """Relevance of a question's own passage, 0 to 1, NaN if it is not known, shape (Q,)."""

    given_scores: Array
    """A teacher's logit of each question with its own passage that came with the data, or NaN, shape (Q,)."""

    has_answer: Array
    """Whether an answer is marked, so that other passages could be searched for its text, shape (Q,)."""

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
        """Write a file for each array."""
        for field in fields(self):
            np.save(directory / f"{field.name}.npy", getattr(self, field.name), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> Pack:
        """What `save` wrote; large arrays stay in their files until they are read."""
        return cls(**{field.name: _load(directory / f"{field.name}.npy") for field in fields(cls)})


def cached_pack(directory: Path, key: str, build: Callable[[], Pack]) -> Pack:
    """The pack of a key, from the directory or built into it.

    A pack is there in whole or not at all; a process that needs one which another process is building waits.

    Args:
        directory: Of all packs.
        key: Tells the pack from others; a file name.
        build: Makes it.
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
    """Borders of items that follow each other from `start` on, shape (items + 1,)."""
    return np.concatenate([[start], start + np.cumsum(lengths)]).astype(np.int64)


def _load(path: Path) -> Array:
    mapped = path.stat().st_size >= _MAPPED
    # "c" never changes the file, and torch takes only arrays that look writable.
    return np.asarray(np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False))
