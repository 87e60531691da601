"""Distillation from a whole model, which reads every batch along with the model in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from provence_rag.errors import InvalidInputError
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.model import ProvenceModel, ProvenceModelOutput
from provence_training.config import GuideConfig
from provence_training.learning.auxiliary_losses import AuxiliaryLoss
from provence_training.learning.loss import keep_logits, pool_sentences
from provence_training.pairs.targets import Targets
from provence_training.shrinking.checkpoint import keep_pieces

__all__ = ["GuideLoss", "check_guide", "load_guide"]


class GuideLoss(AuxiliaryLoss):
    """The model learns from the outputs of a guide, a frozen model, for the same batch.

    Squared errors against the guide's relevance logit, its mean keep logit of each sentence, its keep logit
    of each token, and its last hidden state of each token (a mean over dimensions; after TinyBERT, Jiao et
    al. 2020, arXiv 1909.10351). Each part is a mean over the windows, sentences or tokens of the rows in
    `Targets.guided`.

    Args:
        model: The model in training.
        guide: The guide, which reads the model's token ids: see `load_guide`.
        config: The weights of the parts.

    Raises:
        InvalidInputError: See `check_guide`.
    """

    parts = ("guide_ranking", "guide_sentences", "guide_tokens", "guide_states")

    def __init__(self, model: ProvenceModel, guide: ProvenceModel, config: GuideConfig) -> None:
        super().__init__()
        check_guide(model, guide, config)
        self._weights = dict(
            zip(self.parts, (config.ranking, config.sentences, config.tokens, config.states), strict=True)
        )
        self.guide = guide.requires_grad_(False).eval()
        self._states: dict[str, Tensor] = {}
        for name, each in (("model", model), ("guide", guide)):
            each.transformer.base_model.register_forward_hook(_keeper(self._states, name))

    def counts(self, inputs: dict[str, Tensor], targets: Targets) -> Tensor:
        """The numbers of windows, sentences, tokens and again tokens to learn from, shape (4,)."""
        return torch.stack([known.sum() for known in _known(inputs, targets).values()])

    def forward(
        self, output: ProvenceModelOutput, inputs: dict[str, Tensor], targets: Targets, counts: Tensor
    ) -> dict[str, Tensor]:
        """See `AuxiliaryLoss`."""
        with torch.no_grad():
            goal = self.guide(**inputs)
        states = {name: states.float() for name, states in self._states.items()}
        self._states.clear()
        errors: dict[str, Tensor] = {}
        if output.ranking_logits is not None and goal.ranking_logits is not None:
            errors["guide_ranking"] = output.ranking_logits.float() - goal.ranking_logits.float()  # (B,)
        if output.pruning_logits is not None and goal.pruning_logits is not None:
            apart = keep_logits(output.pruning_logits) - keep_logits(goal.pruning_logits)  # (B, T)
            errors["guide_tokens"] = apart
            # The difference of means is the mean of differences.
            count = len(targets.pruning_labels)
            errors["guide_sentences"] = pool_sentences(apart, targets.sentence_ids, count)  # (S,)
        squares = {name: error.square() for name, error in errors.items()}
        if self._weights["guide_states"] > 0:
            squares["guide_states"] = (states["model"] - states["guide"]).square().mean(-1)  # (B, T)
        known = _known(inputs, targets)
        return {
            name: self._weights[name] * torch.where(known[name], squares[name], 0.0).sum() / count
            for name, count in zip(self.parts, counts.clamp(min=1), strict=True)
            if name in squares
        }


def load_guide(directory: Path, tokenizer: PairTokenizer, dtype: torch.dtype) -> ProvenceModel:
    """Load a checkpoint that reads the ids of the model's tokenizer. It must know every piece of it.

    Args:
        directory: The guide's checkpoint.
        tokenizer: The tokenizer of the model in training.
        dtype: Number format of the guide's computations.

    Raises:
        CheckpointError: The checkpoint does not exist.
        InvalidInputError: It lacks pieces, or joins query and passage in another way.
    """
    guide = ProvenceModel.from_pretrained(directory)
    own = PairTokenizer.from_directory(directory, guide.provence_config.pair_template)
    pieces, wanted = own.pieces(), tokenizer.pieces()
    if missing := sorted(set(wanted) - set(pieces)):
        raise InvalidInputError(
            f"the guide {directory} lacks {len(missing)} pieces of the model's vocabulary, such as "
            f"{missing[0]!r}: choose a guide with the same tokenizer, or the model that this one is cut from"
        )
    if _layout(own, pieces) != _layout(tokenizer, wanted):
        raise InvalidInputError(
            f"the guide {directory} joins query and passage as {_layout(own, pieces)}, but the model as "
            f"{_layout(tokenizer, wanted)}: choose a guide of the same family"
        )
    if pieces != wanted:
        ids = {piece: i for i, piece in enumerate(pieces)}
        keep_pieces(guide.transformer, [ids[piece] for piece in wanted])
    return guide.to(dtype)


def _layout(tokenizer: PairTokenizer, pieces: list[str]) -> str:
    layout = tokenizer.layout
    before, between, after = (
        [pieces[i] for i in part] for part in (layout.before, layout.between, layout.after)
    )
    return " ".join([*before, "query", *between, "passage", *after])


def check_guide(model: ProvenceModel, guide: ProvenceModel, config: GuideConfig) -> None:
    """Check that a model can learn from a guide.

    Raises:
        InvalidInputError: A part with a weight is something that one of the two models does not give, their
            hidden states have different sizes, or the guide reads fewer tokens.
    """
    configs = model.provence_config, guide.provence_config
    sizes = [each.transformer.config.hidden_size for each in (model, guide)]
    needs = {
        "ranking": (all(c.can_rank for c in configs), "both models must rank"),
        "sentences": (all(c.can_prune for c in configs), "both models must prune"),
        "tokens": (all(c.can_prune for c in configs), "both models must prune"),
        "states": (
            sizes[0] == sizes[1],
            f"hidden states have different sizes, {sizes[0]} and {sizes[1]}",
        ),
    }
    for name, (is_met, need) in needs.items():
        if getattr(config, name) > 0 and not is_met:
            raise InvalidInputError(f"guide.{name} must be 0 here: {need}")
    windows = [each.provence_config.max_length for each in (model, guide)]
    if windows[0] > windows[1]:
        raise InvalidInputError(
            f"the guide reads at most {windows[1]} tokens, but the model {windows[0]}: set model.max_length "
            f"to {windows[1]} or less"
        )


def _known(inputs: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
    """Which windows (B,), sentences with tokens (S,) and tokens (B, T) count in each part."""
    rows = targets.guided
    if rows is None:
        rows = torch.ones_like(targets.labels, dtype=torch.bool)
    of_tokens = rows[:, None].expand(targets.sentence_ids.shape)
    tokens = of_tokens & (inputs["attention_mask"] == 1)
    # A sentence's tokens have one window: their mean is the window's, and 0 without tokens.
    sentences = pool_sentences(of_tokens.float(), targets.sentence_ids, len(targets.pruning_labels)) > 0.5
    return {
        "guide_ranking": rows,
        "guide_sentences": sentences,
        "guide_tokens": tokens,
        "guide_states": tokens,
    }


def _keeper(found: dict[str, Tensor], name: str) -> Any:
    """A hook that keeps an encoder's output; for the model in training, only in training mode."""

    def keep(encoder: Any, _inputs: Any, output: Any) -> None:
        if encoder.training or name == "guide":
            found[name] = output[0]

    return keep
