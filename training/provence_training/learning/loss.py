"""ProvenceLoss: the joint loss of ranking and pruning."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provence_rag.errors import InvalidInputError
from provence_rag.modeling.model import ProvenceModelOutput
from provence_training.pairs.targets import IGNORE, Targets

__all__ = ["ProvenceLoss", "keep_logits", "pool_sentences"]


def keep_logits(pruning_logits: Tensor) -> Tensor:
    """One logit of keeping each token, (B, T), in float32, from those of drop and keep, (B, T, 2)."""
    drop, keep = pruning_logits.float().unbind(-1)
    return keep - drop


def pool_sentences(token_values: Tensor, sentence_ids: Tensor, num_sentences: int) -> Tensor:
    """Mean over each sentence's tokens.

    Args:
        token_values: One value per token, shape (B, T).
        sentence_ids: As in `Targets`, shape (B, T).
        num_sentences: S.

    Returns:
        Means, shape (S,); 0 for a sentence without tokens.
    """
    # Tokens outside of sentences go to an extra slot: selecting the others would make a GPU wait.
    slots = _slots(sentence_ids, num_sentences).flatten()
    values = token_values.flatten()
    empty = values.new_zeros(num_sentences + 1)
    sums = empty.index_add(0, slots, values)
    counts = empty.index_add(0, slots, torch.ones_like(values))
    return (sums / counts.clamp(min=1))[:-1]


class ProvenceLoss(nn.Module):
    """The weighted sum of ranking and pruning losses (after Provence, arXiv 2501.16214, section 3).

    Each part is a mean over all known targets; a weight of 0 leaves it out:

    - `ranking`: binary cross-entropy of a passage's logit with its relevance label.
    - `listwise`: cross-entropy of the softmax over a query's passages with their labels, scaled to sum to 1
      (ListNet; Cao et al. 2007). Lists have at least two labelled passages, one of them relevant.
    - `ranking_teacher`: squared error of the logit against a teacher's: the only ranking loss of the paper.
    - `listwise_teacher`: Kullback-Leibler divergence of the softmax over a query's unlabelled passages from
      the teacher's. Lists have at least two of them.
    - `pruning`: binary cross-entropy of keep against drop, per sentence, so that a long sentence counts no
      more than a short one, or per token as in the paper.
    - `answering`: the same, only on passages that answer (relevance above 0.5). They are few, and it is hard
      to tell where to cut them.
    - `pruning_teacher`: squared error of each sentence's mean keep logit against a teacher's.

    Args:
        ranking_weight: Weight of `ranking`.
        listwise_weight: Weight of `listwise`.
        ranking_teacher_weight: Weight of `ranking_teacher`.
        listwise_teacher_weight: Weight of `listwise_teacher`.
        pruning_weight: Weight of `pruning`. (The paper's 0.05 weighs its ranking part instead; both put
            pruning first when logits are regressed.)
        answering_weight: Weight of `answering`, on top of `pruning`.
        pruning_teacher_weight: Weight of `pruning_teacher`.
        pooling: What to compare pruning labels with: `sentence`, the mean logit of a sentence's tokens, which
            is close to how sentences are scored in use; or `token`, each token's logit.
        positive_weight: Weight of sentences to keep, which are few, against 1 for sentences to drop.

    Raises:
        InvalidInputError: `pooling` has another value.
    """

    parts = (
        "ranking",
        "listwise",
        "ranking_teacher",
        "listwise_teacher",
        "pruning",
        "answering",
        "pruning_teacher",
    )
    """The names of the parts."""

    def __init__(
        self,
        *,
        ranking_weight: float = 1.0,
        listwise_weight: float = 0.0,
        ranking_teacher_weight: float = 1.0,
        listwise_teacher_weight: float = 0.0,
        pruning_weight: float = 0.5,
        answering_weight: float = 0.0,
        pruning_teacher_weight: float = 0.5,
        pooling: str = "sentence",
        positive_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if pooling not in ("token", "sentence"):
            raise InvalidInputError(f"pooling must be 'token' or 'sentence', got {pooling!r}")
        self.part_weights = {
            "ranking": ranking_weight,
            "listwise": listwise_weight,
            "ranking_teacher": ranking_teacher_weight,
            "listwise_teacher": listwise_teacher_weight,
            "pruning": pruning_weight,
            "answering": answering_weight,
            "pruning_teacher": pruning_teacher_weight,
        }
        self.pooling = pooling
        self.positive_weight = positive_weight

    def counts(self, targets: Targets) -> Tensor:
        """The number of known targets of each part in a batch, in the order of `parts`, shape (7,)."""
        return torch.stack([known.sum() for known in self._known(targets).values()])

    def forward(
        self, output: ProvenceModelOutput, targets: Targets, counts: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The value of every part, and `loss`, their sum. A part without targets is 0.

        Args:
            output: The model's output.
            targets: The targets of the batch.
            counts: Divisors of the sums over this batch, shape (7,); `counts(targets)` by default. With the
                total counts of several batches, their added gradients equal those of one large batch.
        """
        known = self._known(targets)
        if counts is None:
            counts = torch.stack([mask.sum() for mask in known.values()])
        terms: dict[str, Tensor] = {}
        if output.ranking_logits is not None:
            terms |= self._ranking(output.ranking_logits.float(), targets)
        if output.pruning_logits is not None:
            terms |= self._pruning(keep_logits(output.pruning_logits), targets)
        values = {
            name: self.part_weights[name] * torch.where(known[name], terms[name], 0.0).sum() / count
            for name, count in zip(self.parts, counts.clamp(min=1), strict=True)
            if name in terms
        }
        return {"loss": torch.stack(list(values.values())).sum(), **values}

    def _known(self, targets: Targets) -> dict[str, Tensor]:
        """Which windows or lists (B,), sentences (S,) or tokens (B, T) have targets, for each part."""
        labelled, taught = ~targets.labels.isnan(), ~targets.teacher_scores.isnan()
        lists = targets.query_ids
        relevance = _sums(targets.labels.nan_to_num(), lists)
        judged = targets.pruning_labels != IGNORE
        # All tokens of a sentence are in one passage, so their mean is the passage's value.
        of_answers = (targets.labels > 0.5).float()[:, None].expand(targets.sentence_ids.shape)
        answering = judged & (pool_sentences(of_answers, targets.sentence_ids, len(judged)) > 0.5)
        return {
            "ranking": labelled,
            "listwise": (_sums(labelled.float(), lists) >= 2) & (relevance > 0),
            "ranking_teacher": taught,
            "listwise_teacher": _sums((taught & ~labelled).float(), lists) >= 2,
            "pruning": self._of_pooling(judged, targets, False),
            "answering": self._of_pooling(answering, targets, False),
            "pruning_teacher": ~targets.sentence_teacher_scores.isnan(),
        }

    def _ranking(self, logits: Tensor, targets: Targets) -> dict[str, Tensor]:
        labels, lists = targets.labels.nan_to_num(), targets.query_ids
        scores = targets.teacher_scores.nan_to_num()
        labelled, taught = ~targets.labels.isnan(), ~targets.teacher_scores.isnan()
        shares = labels / _sums(labels, lists).clamp(min=torch.finfo(labels.dtype).tiny)[lists]
        unlabelled = taught & ~labelled
        goal = _list_log_softmax(scores, unlabelled, lists)
        divergence = goal.exp() * (goal - _list_log_softmax(logits, unlabelled, lists))
        entropy = -shares * _list_log_softmax(logits, labelled, lists)
        return {
            "ranking": F.binary_cross_entropy_with_logits(logits, labels, reduction="none"),
            "listwise": _sums(torch.where(labelled, entropy, 0.0), lists),
            "ranking_teacher": (logits - scores).square(),
            "listwise_teacher": _sums(torch.where(unlabelled, divergence, 0.0), lists),
        }

    def _pruning(self, keep: Tensor, targets: Targets) -> dict[str, Tensor]:
        pooled = pool_sentences(keep, targets.sentence_ids, len(targets.pruning_labels))  # (S,)
        labels = self._of_pooling((targets.pruning_labels == 1).float(), targets, 0.0)
        entropy = F.binary_cross_entropy_with_logits(
            keep if self.pooling == "token" else pooled,
            labels,
            pos_weight=keep.new_tensor(self.positive_weight),
            reduction="none",
        )
        errors = (pooled - targets.sentence_teacher_scores.nan_to_num()).square()
        return {"pruning": entropy, "answering": entropy, "pruning_teacher": errors}

    def _of_pooling(self, of_sentences: Tensor, targets: Targets, elsewhere: float) -> Tensor:
        """Values of sentences, (S,), or with pooling `token` of their tokens, (B, T)."""
        if self.pooling == "sentence":
            return of_sentences
        padded = torch.cat([of_sentences, of_sentences.new_tensor([elsewhere])])
        return padded[_slots(targets.sentence_ids, len(of_sentences))]


def _slots(sentence_ids: Tensor, num_sentences: int) -> Tensor:
    """Each token's sentence, or S outside of sentences, shape (B, T)."""
    return torch.where(sentence_ids < 0, num_sentences, sentence_ids)


def _sums(values: Tensor, lists: Tensor) -> Tensor:
    """Sums over the windows of each list, shape (B,), since there are at most B lists."""
    return torch.zeros_like(values).index_add(0, lists, values)


def _list_log_softmax(logits: Tensor, members: Tensor, lists: Tensor) -> Tensor:
    """Log-softmax over the members of each list, shape (B,); values of other windows are meaningless."""
    lowest = torch.finfo(logits.dtype).min
    logits = logits.masked_fill(~members, lowest)
    # Softmax does not change when a constant is subtracted; without the largest value, exp would overflow.
    largest = torch.full_like(logits, lowest).scatter_reduce(0, lists, logits.detach(), "amax")
    shifted = logits - largest[lists]
    sums = _sums(torch.where(members, shifted.exp(), 0.0), lists)
    return shifted - sums.clamp(min=torch.finfo(logits.dtype).tiny).log()[lists]
