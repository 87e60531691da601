"""ProvenceLoss: ranking and pruning, learned together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provence_rag.errors import InvalidInputError
from provence_rag.modeling.model import ProvenceModelOutput

__all__ = ["IGNORE", "ProvenceLoss", "Targets", "pool_sentences", "pool_sentences_softmax"]

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

    query_ids: Tensor
    """The same number for windows with the same query, shape (B,)."""

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


def pool_sentences_softmax(token_values: Tensor, sentence_ids: Tensor, num_sentences: int) -> Tensor:
    """Mean over each sentence's tokens, weighted by the softmax of their values.

    A few tokens that are sure then decide for a long sentence (softmax pooling, Wang et al. 2019, arXiv
    1810.09050). Arguments and result are those of `pool_sentences`.
    """
    inside = sentence_ids >= 0
    ids, values = sentence_ids[inside], token_values[inside]  # (N,)
    # Softmax does not change when a constant is taken off; without the largest value, exp would overflow.
    largest = values.detach().new_zeros(num_sentences)
    largest = largest.scatter_reduce(0, ids, values.detach(), "amax", include_self=False)
    weights = (values - largest[ids]).exp()
    sums = token_values.new_zeros(num_sentences).index_add(0, ids, weights * values)
    totals = token_values.new_zeros(num_sentences).index_add(0, ids, weights)
    return sums / torch.where(totals > 0, totals, 1.0)


class ProvenceLoss(nn.Module):
    """`ranking_weight * ranking + pruning_weight * pruning` (Provence, arXiv 2501.16214, section 3).

    Ranking is binary cross-entropy against labels, plus `teacher_weight` times a regression to a teacher's
    logits, where given; the paper regresses only. Pruning is cross-entropy of keep against drop, per token
    as in the paper, or per sentence, so that a long sentence counts no more than a short one; a teacher's
    sentence logits are regressed likewise. Each part is a mean over what is known.

    Args:
        ranking_weight: Weight of the ranking part.
        pruning_weight: Weight of the pruning part. (The paper's 0.05 weighs its ranking part instead;
            both put pruning first when logits are regressed.)
        teacher_weight: Weight of the regression within each part.
        ranking_regression: `mse`, the squared error of each logit; or `margin_mse`, that of the difference
            of two passages' logits, over all pairs of passages in a batch that have the same query
            (Hofstätter et al. 2020, arXiv 2010.02666).
        pooling: `token` for no pooling; `sentence` for the mean logit of a sentence's tokens, which is
            nearest to how sentences are scored in use; `softmax` for `pool_sentences_softmax`.
        positive_weight: Weight of sentences to keep, which are few, against sentences to drop.

    Raises:
        InvalidInputError: `ranking_regression` or `pooling` is none of these.
    """

    parts = ("ranking", "ranking_teacher", "pruning", "pruning_teacher")
    """What the loss is the sum of."""

    def __init__(
        self,
        *,
        ranking_weight: float = 1.0,
        pruning_weight: float = 0.5,
        teacher_weight: float = 1.0,
        ranking_regression: str = "mse",
        pooling: str = "sentence",
        positive_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if ranking_regression not in ("mse", "margin_mse"):
            raise InvalidInputError(
                f"ranking_regression must be 'mse' or 'margin_mse', got {ranking_regression!r}"
            )
        if pooling not in ("token", "sentence", "softmax"):
            raise InvalidInputError(f"pooling must be 'token', 'sentence' or 'softmax', got {pooling!r}")
        self.part_weights = {
            "ranking": ranking_weight,
            "ranking_teacher": ranking_weight * teacher_weight,
            "pruning": pruning_weight,
            "pruning_teacher": pruning_weight * teacher_weight,
        }
        self.ranking_regression = ranking_regression
        self.pooling = pooling
        self.positive_weight = positive_weight

    def counts(self, targets: Targets) -> Tensor:
        """How many terms of each part are known in a batch, in the order of `parts`, shape (4,)."""
        known = targets.pruning_labels != IGNORE  # (S,)
        if self.pooling == "token":
            known = known[targets.sentence_ids[targets.sentence_ids >= 0]]  # (N,)
        teacher = ~targets.teacher_scores.isnan()  # (B,)
        if self.ranking_regression == "margin_mse":
            teacher = _pairs(targets)
        masks = ~targets.labels.isnan(), teacher, known, ~targets.sentence_teacher_scores.isnan()
        return torch.stack([mask.sum() for mask in masks])

    def forward(
        self, output: ProvenceModelOutput, targets: Targets, counts: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Every part's value, and `loss`, their sum. A part without targets is 0.

        Args:
            output: Of the model.
            targets: Of the batch.
            counts: What the sums over this batch are divided by, shape (4,); `counts(targets)` by default.
                Where gradients of several batches are added up, their common counts make them those of one.
        """
        counts = (self.counts(targets) if counts is None else counts).clamp(min=1)
        sums: dict[str, Tensor] = {}
        if output.ranking_logits is not None:
            logits = output.ranking_logits.float()  # (B,)
            sums["ranking"] = _binary_cross_entropy(logits, targets.labels)
            sums["ranking_teacher"] = self._ranking_regression(logits, targets)
        if output.pruning_logits is not None:
            keep = (output.pruning_logits[..., 1] - output.pruning_logits[..., 0]).float()  # (B, T)
            pool = pool_sentences_softmax if self.pooling == "softmax" else pool_sentences
            pooled = pool(keep, targets.sentence_ids, len(targets.pruning_labels))  # (S,)
            sums["pruning"] = self._pruning_loss(keep, pooled, targets)
            sums["pruning_teacher"] = _squared_error(pooled, targets.sentence_teacher_scores)
        values = {
            name: self.part_weights[name] * sums[name] / count
            for name, count in zip(self.parts, counts, strict=True)
            if name in sums
        }
        return {"loss": torch.stack(list(values.values())).sum(), **values}

    def _ranking_regression(self, logits: Tensor, targets: Targets) -> Tensor:
        if self.ranking_regression == "mse":
            return _squared_error(logits, targets.teacher_scores)
        first, second = _pairs(targets).nonzero(as_tuple=True)
        errors = logits - targets.teacher_scores.nan_to_num()  # (B,)
        return (errors[first] - errors[second]).square().sum()

    def _pruning_loss(self, keep: Tensor, pooled: Tensor, targets: Targets) -> Tensor:
        labels = targets.pruning_labels.float()
        labels = labels.masked_fill(targets.pruning_labels == IGNORE, torch.nan)  # (S,)
        if self.pooling != "token":
            return _binary_cross_entropy(pooled, labels, self.positive_weight)
        inside = targets.sentence_ids >= 0
        return _binary_cross_entropy(keep[inside], labels[targets.sentence_ids[inside]], self.positive_weight)


def _pairs(targets: Targets) -> Tensor:
    """Whether two windows have the same query and both a teacher's score, each pair once, shape (B, B)."""
    known = ~targets.teacher_scores.isnan()
    same = targets.query_ids[:, None] == targets.query_ids[None, :]
    return (same & known[:, None] & known[None, :]).triu(diagonal=1)


def _binary_cross_entropy(logits: Tensor, labels: Tensor, positive_weight: float = 1.0) -> Tensor:
    """Sum over what is known; zero, with a gradient of zero, if nothing is."""
    known = ~labels.isnan()
    weight = logits.new_tensor(positive_weight)
    return F.binary_cross_entropy_with_logits(
        logits[known], labels[known], pos_weight=weight, reduction="sum"
    )


def _squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    known = ~targets.isnan()
    return F.mse_loss(logits[known], targets[known], reduction="sum")
