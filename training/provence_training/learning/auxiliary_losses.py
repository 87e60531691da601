"""Losses beside that on labels and scores: what they have in common, and the one on activations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from provence_rag.modeling.model import ProvenceModel, ProvenceModelOutput
from provence_training.config import RangesConfig
from provence_training.pairs.targets import Targets

__all__ = ["AuxiliaryLoss", "RangeLoss"]

_ROWS = 4
"""Windows of a batch whose activations are looked at: ranges are much the same in all of them."""


class AuxiliaryLoss(nn.Module):
    """Is added to `ProvenceLoss` in training. It may look on while the model runs in training mode.

    `forward(output, inputs, targets, counts)` gives each part's sum over the batch, divided by its count and
    weighted. It judges the pass that ran last: `inputs` are what the model read, `output` what it gave.
    """

    parts: tuple[str, ...]
    """What the loss is the sum of."""

    def counts(self, inputs: dict[str, Tensor], targets: Targets) -> Tensor:
        """How many terms of each part a batch has, in the order of `parts`."""
        raise NotImplementedError


class RangeLoss(AuxiliaryLoss):
    """Keeps what is multiplied with the encoder's matrices in a range, which int8 divides into 256 steps.

    A few channels of pretrained encoders reach thirty times the size of the others (Bondarenko et al. 2021,
    arXiv 2109.12948). The loss is, summed over matrices and channels, the squared excess over the limit: a
    mean over the tokens of each batch, and over batches.

    Args:
        model: The model.
        config: The limit and the weight.
    """

    parts = ("ranges",)

    def __init__(self, model: ProvenceModel, config: RangesConfig) -> None:
        super().__init__()
        self._limit, self._weight = config.limit, config.weight
        self._seen: list[Tensor] = []
        for module in model.transformer.base_model.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_pre_hook(self._see)

    def _see(self, module: nn.Module, inputs: Any) -> None:
        # Queries, keys and values are made of one tensor, which counts once.
        if module.training and not (self._seen and self._seen[-1] is inputs[0]):
            self._seen.append(inputs[0])

    def counts(self, inputs: dict[str, Tensor], targets: Targets) -> Tensor:
        """1: each batch is one term."""
        return torch.ones(1, dtype=torch.long)

    def forward(
        self, output: ProvenceModelOutput, inputs: dict[str, Tensor], targets: Targets, counts: Tensor
    ) -> dict[str, Tensor]:
        """See `AuxiliaryLoss`."""
        seen, self._seen = self._seen, []
        excess = [(x[:_ROWS].float().abs() - self._limit).relu().square().sum(-1).mean() for x in seen]
        return {"ranges": self._weight * torch.stack(excess).sum() / counts[0]}
