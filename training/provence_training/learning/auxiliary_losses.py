"""Auxiliary losses: their common interface, and the loss on activations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from provence_rag.modeling.model import ProvenceModel, ProvenceModelOutput
from provence_training.config import RangesConfig
from provence_training.pairs.targets import Targets

__all__ = ["AuxiliaryLoss", "RangeLoss"]

_ROWS = 4
"""Windows of a batch whose activations count: the ranges of the others are much the same."""


class AuxiliaryLoss(nn.Module):
    """A loss that is added to `ProvenceLoss` in training. It may hook into the model's forward pass.

    `forward(output, inputs, targets, counts)` returns each part's weighted sum over the batch, divided by its
    count, for the pass that ran last: the model read `inputs` and returned `output`.
    """

    parts: tuple[str, ...]
    """The names of the parts."""

    def counts(self, inputs: dict[str, Tensor], targets: Targets) -> Tensor:
        """The number of terms of each part in a batch, in the order of `parts`."""
        raise NotImplementedError


class RangeLoss(AuxiliaryLoss):
    """Keeps the inputs of the encoder's matrices in a range, which int8 divides into 256 steps.

    A few channels of pretrained encoders reach thirty times the size of the others (Bondarenko et al. 2021,
    arXiv 2109.12948). The loss is the squared excess over the limit, summed over matrices and channels and
    averaged over tokens and batches.

    Args:
        model: The model in training.
        config: Limit and weight.
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
        # Queries, keys and values have one input, which counts once.
        if module.training and not (self._seen and self._seen[-1] is inputs[0]):
            self._seen.append(inputs[0])

    def counts(self, inputs: dict[str, Tensor], targets: Targets) -> Tensor:
        """1, since a batch is one term."""
        return torch.ones(1, dtype=torch.long)

    def forward(
        self, output: ProvenceModelOutput, inputs: dict[str, Tensor], targets: Targets, counts: Tensor
    ) -> dict[str, Tensor]:
        """See `AuxiliaryLoss`."""
        seen, self._seen = self._seen, []
        excess = [(x[:_ROWS].float().abs() - self._limit).relu().square().sum(-1).mean() for x in seen]
        return {"ranges": self._weight * torch.stack(excess).sum() / counts[0]}
