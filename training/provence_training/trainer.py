"""The training loop: transformers' Trainer with the joint loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
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

    Batches hold examples of similar length. Their order follows from the seed and the epoch alone, so a
    resumed run goes on as the interrupted one would have.

    Args:
        model: The model to train.
        args: transformers' arguments. There is no evaluation on the way: see `provence_training.evaluation`.
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
        self._dataset = ExampleDataset(examples)
        super().__init__(model=model, args=args, data_collator=collator, train_dataset=self._dataset)
        self.loss = loss
        self.head_learning_rate = head_learning_rate
        self._parts: dict[str, list[Tensor]] = defaultdict(list)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        """The joint loss of a batch."""
        inputs = dict(inputs)
        targets = inputs.pop("targets").to(self.args.device)
        parts: dict[str, Tensor] = self.loss(model(**inputs), targets)
        for name, value in parts.items():
            if name != "loss":
                self._parts[name].append(value.detach())
        return parts["loss"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the parts of the loss, averaged since the last log."""
        for name, values in self._parts.items():
            logs[name] = round(float(torch.stack(values).mean()), 5)
        self._parts.clear()
        super().log(logs, *args, **kwargs)

    def _get_train_sampler(self, *_: Any) -> Sampler[int]:
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return _EpochSampler(batch, self._dataset.lengths, seed=self.args.seed)

    def create_optimizer(self, *_: Any) -> torch.optim.Optimizer:
        """The optimizer of `args`, with a learning rate for the encoder and one for the heads.

        Biases and layer normalisation (vectors) do not decay.
        """
        model = self.accelerator.unwrap_model(self.model)
        encoder = _encoder_parameters(model)
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in model.named_parameters():
            rate = self.args.learning_rate if name in encoder else self.head_learning_rate
            decay = self.args.weight_decay if parameter.ndim > 1 else 0.0
            groups[rate, decay].append(parameter)
        optimizer, settings = self.get_optimizer_cls_and_kwargs(self.args)
        self.optimizer = optimizer(
            [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()],
            **settings,
        )
        return self.optimizer


class _EpochSampler(LengthGroupedSampler):
    """Length-grouped batches in an order of its own for each epoch, whatever was drawn before."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self._seed + self._epoch)
        indices: Iterator[int] = super().__iter__()  # type: ignore[no-untyped-call]
        return indices


def _encoder_parameters(model: ProvenceModel) -> set[str]:
    """Names of the parameters below the heads. BERT keeps the ranking head's pooler with its encoder."""
    encoder = f"transformer.{model.transformer.base_model_prefix}."
    names = (name for name, _ in model.named_parameters())
    return {name for name in names if name.startswith(encoder) and not name.startswith(f"{encoder}pooler.")}
