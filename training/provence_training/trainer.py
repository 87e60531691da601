"""The training loop: transformers' Trainer with the joint loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from provence_rag.modeling.model import ProvenceModel
from provence_training.collator import Example, ProvenceCollator
from provence_training.loss import ProvenceLoss

__all__ = ["ExampleDataset", "ProvenceTrainer"]

_HEADS = ("pruning_head.", "transformer.classifier.", "transformer.pooler.")


class ExampleDataset(Dataset[Example]):
    """A list of examples as a torch data set."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    @property
    def lengths(self) -> list[int]:
        """Lengths to group by, in UTF-8 bytes: nearly proportional to tokens in every language."""
        return [len(e.query.encode()) + len(e.document.encode()) for e in self.examples]


class ProvenceTrainer(Trainer):
    """transformers' Trainer for a `ProvenceModel`; logs every part of the loss.

    Args:
        model: The model to train.
        args: transformers' arguments; `remove_unused_columns` must be False.
        loss: The joint loss.
        collator: Makes batches of examples.
        examples: What to train on.
        head_learning_rate: Learning rate of the freshly made heads, which need a larger one.
    """

    def __init__(
        self,
        model: ProvenceModel,
        args: TrainingArguments,
        *,
        loss: ProvenceLoss,
        collator: ProvenceCollator,
        examples: Sequence[Example],
        head_learning_rate: float,
    ) -> None:
        super().__init__(
            model=model, args=args, data_collator=collator, train_dataset=ExampleDataset(examples)
        )
        self.loss = loss
        self.head_learning_rate = head_learning_rate
        self._parts: dict[str, list[float]] = defaultdict(list)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        """The joint loss of a batch."""
        targets = inputs.pop("targets").to(self.args.device)
        parts: dict[str, Tensor] = self.loss(model(**inputs), targets)
        for name, value in parts.items():
            if name != "loss":
                self._parts[name].append(float(value.detach()))
        return parts["loss"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the parts of the loss, averaged since the last log."""
        for name, values in self._parts.items():
            logs[name] = round(sum(values) / max(len(values), 1), 5)
        self._parts.clear()
        super().log(logs, *args, **kwargs)

    def _get_train_sampler(self, *_: Any) -> Sampler[int]:
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        generator = torch.Generator().manual_seed(self.args.seed)
        return LengthGroupedSampler(batch, lengths=self.train_dataset.lengths, generator=generator)

    def create_optimizer(self, *_: Any) -> torch.optim.Optimizer:
        """AdamW with a learning rate for the encoder and one for the heads, no decay on vectors."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in self.model.named_parameters():
            rate = self.head_learning_rate if name.startswith(_HEADS) else self.args.learning_rate
            decay = self.args.weight_decay if parameter.ndim > 1 else 0.0
            groups[rate, decay].append(parameter)
        self.optimizer = torch.optim.AdamW(
            [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()],
            fused=True,
        )
        return self.optimizer
