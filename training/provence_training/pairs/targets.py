"""The targets of a batch of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["IGNORE", "Targets"]

IGNORE = -100
"""Marks a target that the loss ignores."""


@dataclass
class Targets:
    """The targets of a batch of B windows with T tokens and S sentences in all.

    Sentences are numbered through the batch. Unknown targets are NaN, or `IGNORE` among integers.
    """

    labels: Tensor
    """Relevance, 0 to 1, shape (B,)."""

    teacher_scores: Tensor
    """A teacher's relevance logits, shape (B,)."""

    sentence_ids: Tensor
    """Number of the sentence that each token belongs to, -1 for none, shape (B, T)."""

    pruning_labels: Tensor
    """1 keep, 0 drop, per sentence, shape (S,)."""

    sentence_teacher_scores: Tensor
    """A teacher's keep logits per sentence, shape (S,)."""

    query_ids: Tensor
    """Number of each window's query, below B: windows with the same query make a list; shape (B,)."""

    guided: Tensor | None = None
    """Which windows learn from a guide (`GuideLoss`), shape (B,); None for all of them."""

    def to(self, device: torch.device) -> Targets:
        """A copy on another device."""
        moved: dict[str, Any] = {k: None if v is None else v.to(device) for k, v in vars(self).items()}
        return Targets(**moved)
