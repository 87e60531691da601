"""ProvenceLoss: ranking and pruning, learned together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provence_rag.errors import InvalidInputError
from provence_rag.modeling.model import ProvenceModelOutput

__all__ = ["IGNORE", "ProvenceLoss", "Targets", "pool_sentences"]

IGNORE = -100
"""Marks a target that takes no part in the loss."""


@dataclass
class Targets:
    """What a batch of B windows with T tokens and S sentences in all is to give.

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

    def to(self, device: torch.device) -> Targets:
        """A copy on another device."""
        return Targets(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def pool_sentences(token_values: Tensor, sentence_ids: Tensor, num_sentences: int) -> Tensor:
    """Mean over each sentence's tokens.

    Args:
        token_values: One value a token, shape (B, T).
        sentence_ids: As in `Targets`, shape (B, T).
        num_sentences: S.

    Returns:
        Means, shape (S,); 0 for a sentence without tokens.
    """
    inside = sentence_ids >= 0
    ids = sentence_ids[inside]  # (N,)
    sums = token_values.new_zeros(num_sentences).index_add(0, ids, token_values[inside])
    counts = token_values.new_zeros(num_sentences).index_add(0, ids, torch.ones_like(token_values[inside]))
    return sums / counts.clamp(min=1)


class ProvenceLoss(nn.Module):
    """`ranking_weight * ranking + pruning_weight * pruning` (Provence, arXiv 2501.16214, section 3).

    Ranking is binary cross-entropy against labels, plus `teacher_weight` times the squared error against a
    teacher's logits, where given; the paper regresses only. Pruning is cross-entropy of keep against drop,
    per token as in the paper, or per sentence on the mean of its tokens' logits (`pooling="sentence"`), so
    that a long sentence counts no more than a short one; a teacher's sentence logits are regressed likewise.

    Args:
        ranking_weight: Weight of the ranking part.
        pruning_weight: Weight of the pruning part. (The paper's 0.05 weighs its ranking part instead;
            both put pruning first when logits are regressed.)
        teacher_weight: Weight of the regression within each part.
        pooling: `token` or `sentence`.
        positive_weight: Weight of sentences to keep, which are few, against sentences to drop.
    """

    def __init__(
        self,
        *,
        ranking_weight: float = 1.0,
        pruning_weight: float = 0.5,
        teacher_weight: float = 1.0,
        pooling: str = "sentence",
        positive_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if pooling not in ("token", "sentence"):
            raise InvalidInputError(f"pooling must be 'token' or 'sentence', got {pooling!r}")
        self.ranking_weight = ranking_weight
        self.pruning_weight = pruning_weight
        self.teacher_weight = teacher_weight
        self.pooling = pooling
        self.positive_weight = positive_weight

    def forward(self, output: ProvenceModelOutput, targets: Targets) -> dict[str, Tensor]:
        """Every part's value, and `loss`, their weighted sum. A part without targets is 0."""
        parts: dict[str, Tensor] = {}
        if output.ranking_logits is not None:
            logits = output.ranking_logits.float()  # (B,)
            parts["ranking"] = self.ranking_weight * _binary_cross_entropy(logits, targets.labels)
            parts["ranking_teacher"] = (
                self.ranking_weight * self.teacher_weight * _squared_error(logits, targets.teacher_scores)
            )
        if output.pruning_logits is not None:
            keep = (output.pruning_logits[..., 1] - output.pruning_logits[..., 0]).float()  # (B, T)
            pooled = pool_sentences(keep, targets.sentence_ids, len(targets.pruning_labels))  # (S,)
            parts["pruning"] = self.pruning_weight * self._pruning_loss(keep, pooled, targets)
            parts["pruning_teacher"] = (
                self.pruning_weight
                * self.teacher_weight
                * _squared_error(pooled, targets.sentence_teacher_scores)
            )
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def _pruning_loss(self, keep: Tensor, pooled: Tensor, targets: Targets) -> Tensor:
        labels = targets.pruning_labels.float()
        labels = labels.masked_fill(targets.pruning_labels == IGNORE, torch.nan)  # (S,)
        if self.pooling == "sentence":
            return _binary_cross_entropy(pooled, labels, self.positive_weight)
        inside = targets.sentence_ids >= 0
        return _binary_cross_entropy(keep[inside], labels[targets.sentence_ids[inside]], self.positive_weight)


def _binary_cross_entropy(logits: Tensor, labels: Tensor, positive_weight: float = 1.0) -> Tensor:
    known = ~labels.isnan()
    if not known.any():
        return logits.sum() * 0.0
    weight = logits.new_tensor(positive_weight)
    return F.binary_cross_entropy_with_logits(logits[known], labels[known], pos_weight=weight)


def _squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    known = ~targets.isnan()
    return F.mse_loss(logits[known], targets[known]) if known.any() else logits.sum() * 0.0
