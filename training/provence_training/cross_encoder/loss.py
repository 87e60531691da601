"""ProvenceLoss for sentence-transformers' CrossEncoderTrainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from torch import Tensor, nn

from provence_rag.errors import InvalidInputError
from provence_rag.modeling.model import ProvenceModelOutput
from provence_training.cross_encoder.batch import CrossEncoderBatch, batch_of, reading_of
from provence_training.learning import loss as joint
from provence_training.learning.loss import pool_sentences
from provence_training.pairs.targets import IGNORE, Targets

__all__ = ["ProvenceLoss"]

LossFunction = Callable[[Tensor, Tensor], Tensor]


class ProvenceLoss(nn.Module):
    """Trains both heads of a `PruningCrossEncoder` through sentence-transformers' CrossEncoderTrainer.

    The trainer's `data_collator` has to be a `ProvenceCrossEncoderDataCollator`. The sum and its parts are
    those of `provence_training`'s own ProvenceLoss (after Provence, arXiv 2501.16214, section 3), as far as
    they can be chosen here. Unknown targets take no part.

    Args:
        model: A `PruningCrossEncoder` with a pruning head.
        ranking_loss_fn: Called with relevance logits and targets, both of shape (N,); gives a scalar. None is
            binary cross-entropy with the labels, or the squared error against a teacher's logits.
        pruning_loss_fn: Called with drop and keep logits, shape (M, 2), and labels 0 or 1, shape (M,), of
            sentences or tokens; gives a scalar. None is cross-entropy (`torch.nn.CrossEntropyLoss()`).
        ranking_weight: Weight of the ranking loss.
        pruning_weight: Weight of the pruning loss.
        use_teacher_scores: Whether the ranking targets are `teacher_score` instead of `label`.
        sentence_level_pruning: Whether a label is compared with the mean logits of its sentence's tokens, or
            with each token's.

    Raises:
        InvalidInputError: The model is not a CrossEncoder, or a weight is negative.
        CheckpointError: The model has no pruning head.
    """

    def __init__(
        self,
        model: CrossEncoder,
        ranking_loss_fn: LossFunction | None = None,
        pruning_loss_fn: LossFunction | None = None,
        ranking_weight: float = 1.0,
        pruning_weight: float = 0.5,
        use_teacher_scores: bool = False,
        sentence_level_pruning: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(model, CrossEncoder) or not hasattr(type(model), "provence"):
            raise InvalidInputError(
                f"model must be a sentence_transformers_provence.CrossEncoder, got {type(model).__name__}"
            )
        for name, weight in (("ranking_weight", ranking_weight), ("pruning_weight", pruning_weight)):
            if not weight >= 0:
                raise InvalidInputError(f"{name} must be a number >= 0, got {weight!r}")
        self.model = model
        self.config = model.provence.config
        self.ranking_loss_fn = ranking_loss_fn
        self.pruning_loss_fn = pruning_loss_fn
        self.ranking_weight = ranking_weight
        self.pruning_weight = pruning_weight
        self.use_teacher_scores = use_teacher_scores
        self.sentence_level_pruning = sentence_level_pruning
        self._parts = joint.ProvenceLoss(
            ranking_weight=0.0 if use_teacher_scores else ranking_weight,
            ranking_teacher_weight=ranking_weight if use_teacher_scores else 0.0,
            pruning_weight=pruning_weight,
            pruning_teacher_weight=0.0,
            pooling="sentence" if sentence_level_pruning else "token",
        )

    def forward(
        self,
        inputs: Sequence[Any],
        labels: Tensor,
        prompt: str | None = None,
        task: str | None = None,
    ) -> dict[str, Tensor]:
        """The weighted losses of a batch, `ranking_loss` and `pruning_loss`, which the trainer adds and logs.

        Args:
            inputs: The columns of a `CrossEncoderBatch`, in order.
            labels: Relevance, NaN if unknown, shape (B,).
            prompt: Must be None: records hold queries as they are read.
            task: Not used: there is one way through the model.
        """
        if prompt is not None:
            raise InvalidInputError(f"ProvenceLoss takes no prompts, got {prompt!r}: put it into the queries")
        batch = batch_of(inputs)
        self._check_reading(batch)
        targets = self._targets(batch, labels)
        names = ("input_ids", "attention_mask", "token_type_ids")
        found = self.model({name: batch[name] for name in names}, pruning=True)  # type: ignore[literal-required]
        output = ProvenceModelOutput(found["scores"].squeeze(-1), found["pruning_logits"])
        values = self._parts(output, targets)
        ranking = values["ranking"] + values["ranking_teacher"]
        pruning = values["pruning"]
        if self.ranking_loss_fn is not None:
            wanted = targets.teacher_scores if self.use_teacher_scores else targets.labels
            known = ~wanted.isnan()
            ranking = _applied(self.ranking_loss_fn, output.ranking_logits, wanted, known)
            ranking = self.ranking_weight * ranking
        if self.pruning_loss_fn is not None:
            logits, wanted = self._pruned(output, targets)
            pruning = _applied(self.pruning_loss_fn, logits, wanted, wanted != IGNORE)
            pruning = self.pruning_weight * pruning
        return {"ranking_loss": ranking, "pruning_loss": pruning}

    def get_config_dict(self) -> dict[str, Any]:
        """What a model card says of the loss."""
        names = ("ranking_weight", "pruning_weight", "use_teacher_scores", "sentence_level_pruning")
        return {name: getattr(self, name) for name in names}

    def _check_reading(self, batch: CrossEncoderBatch) -> None:
        too_long = batch["input_ids"].shape[1] > self.config.max_length
        if too_long or tuple(batch["reading"]) != reading_of(self.config):
            raise InvalidInputError(
                "the collator makes other token ids of a pair than the model reads in use: make it with "
                "ProvenceCrossEncoderDataCollator(model.tokenizer, config=model.provence.config)"
            )

    def _targets(self, batch: CrossEncoderBatch, labels: Tensor) -> Targets:
        teacher_scores, wanted = batch["teacher_scores"], batch["pruning_labels"]
        if self.use_teacher_scores and bool(teacher_scores.isnan().all()):
            raise InvalidInputError("use_teacher_scores=True needs records with a teacher_score, got none")
        sentence_ids = batch["sentence_ids"]
        if wanted.ndim == 2:  # labels of tokens: each is a sentence of its own
            if self.sentence_level_pruning:
                raise InvalidInputError(
                    "sentence_level_pruning=True needs labels of sentences: set it to False, or make the "
                    "collator with sentence_level=True"
                )
            sentence_ids = torch.arange(wanted.numel(), device=wanted.device).view_as(wanted)
            wanted = wanted.flatten()
        return Targets(
            labels=labels.float(),
            teacher_scores=teacher_scores,
            sentence_ids=sentence_ids,
            pruning_labels=wanted,
            sentence_teacher_scores=torch.full_like(wanted, torch.nan, dtype=torch.float32),
            query_ids=batch["query_ids"],
        )

    def _pruned(self, output: ProvenceModelOutput, targets: Targets) -> tuple[Tensor, Tensor]:
        """Drop and keep logits, (M, 2), and their labels, (M,): of all sentences, or of all tokens."""
        assert output.pruning_logits is not None
        logits, ids, labels = output.pruning_logits.float(), targets.sentence_ids, targets.pruning_labels
        if self.sentence_level_pruning:
            pooled = [pool_sentences(logits[..., column], ids, len(labels)) for column in (0, 1)]
            return torch.stack(pooled, dim=-1), labels
        padded = torch.cat([labels, labels.new_tensor([IGNORE])])
        return logits.flatten(0, 1), padded[ids].flatten()  # -1, no sentence, is the last label


def _applied(function: LossFunction, logits: Tensor | None, wanted: Tensor, known: Tensor) -> Tensor:
    """A loss function's value on what is known; 0 if nothing is."""
    assert logits is not None
    logits = logits.float()
    return function(logits[known], wanted[known]) if bool(known.any()) else logits.sum() * 0.0
