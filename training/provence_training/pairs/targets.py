"""What a model should give for a batch of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["IGNORE", "Targets"]

IGNORE = -100
"""Marks a target that takes no part in the loss."""


@dataclass
class Targets:
    """What a batch of B windows with T tokens and S sentences in all should give.

    The sentences are numbered through the batch. What is unknown is NaN, or `IGNORE` among the integers.
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
    """A number below B, the same for windows with the same query, which make a list; shape (B,)."""

    guided: Tensor | None = None
    """Whether a guide (`GuideLoss`) is learned from, shape (B,); None: everywhere."""

    def to(self, device: torch.device) -> Targets:
        """A copy on another device."""
        moved: dict[str, Any] = {k: None if v is None else v.to(device) for k, v in vars(self).items()}
        return Targets(**moved)
