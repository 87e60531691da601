"""The training loop: transformers' Trainer with the joint loss."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from provence_rag.modeling.model import ProvenceModel
from provence_training.learning.auxiliary_losses import AuxiliaryLoss
from provence_training.learning.loss import ProvenceLoss
from provence_training.pairs.assembly import Assembler, Rows
from provence_training.pairs.pair_set import PairSet
from provence_training.pairs.sampler import TokenBatchSampler
from provence_training.pairs.targets import Targets

__all__ = ["ProvenceTrainer", "last_checkpoint"]


class _EpochLoader(DataLoader[Any]):
    """A DataLoader whose sampler knows the epoch, which transformers' Trainer sets."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        batches: Any = self.batch_sampler
        batches.set_epoch(epoch)


class ProvenceTrainer(Trainer):
    """transformers' Trainer for a `ProvenceModel`. It logs every part of the loss, and the speed.

    Each part is a mean over the targets of all batches of a step, so neither gradient accumulation nor the
    number of processes changes a gradient. Batches have a number of tokens and hold pairs of similar
    length (`TokenBatchSampler`). Their order follows from the seed and the epoch alone, so a resumed run
    continues as the interrupted one would have. They are assembled on the device.

    Args:
        model: The model to train.
        args: transformers' arguments. Their batch size is not used.
        loss: The joint loss.
        auxiliary_losses: Losses added to it in training; they have no parameters.
        pairs: Pairs to train on, from `draw_pairs` or `example_pairs`.
        dev_pairs: Pairs that the loss is evaluated on as `args` says: `eval_loss` and its parts.
        batch_tokens: Most tokens of a batch on one device, padding included.
        head_learning_rate: Learning rate of the heads, larger for fresh ones; by default that of `args`.
        callbacks: Callbacks of transformers.
    """

    # The loss is divided by the number of a step's targets, so not by the number of its batches.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: ProvenceModel,
        args: TrainingArguments,
        *,
        loss: ProvenceLoss,
        auxiliary_losses: Sequence[AuxiliaryLoss] = (),
        pairs: PairSet,
        dev_pairs: PairSet | None = None,
        batch_tokens: int = 4096,
        head_learning_rate: float | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=_numbers(pairs),
            eval_dataset=_numbers(dev_pairs),
            callbacks=callbacks,
        )
        self.model_accepts_loss_kwargs = (
            True  # earlier releases check this instead of `loss_is_scaled_for_ga`
        )
        self.loss = loss
        self.auxiliary_losses = [loss.to(args.device) for loss in auxiliary_losses]
        self.head_learning_rate = args.learning_rate if head_learning_rate is None else head_learning_rate
        self._pairs, self._dev_pairs = pairs, dev_pairs
        self._batch_tokens = batch_tokens
        self._assemble = Assembler.for_model(pairs.pack, model, pairs.encoder, args.device)
        self._parts: dict[str, Tensor] = {}
        self._steps = 0
        self._read = torch.zeros(2, dtype=torch.long, device=args.device)  # pairs and tokens
        self._logged_at: float | None = None

    def get_batch_samples(
        self, epoch_iterator: Iterator[Rows], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Tensor]:
        """The batches of a step, and the number of targets of each part in all processes."""
        if self._logged_at is None:
            self._logged_at = time.perf_counter()
        self._steps += 1
        batches = [self._assemble(rows) for rows in islice(epoch_iterator, num_batches)]
        counts = [self._counts(batch, batch["targets"]) for batch in batches]
        width = len(self.loss.parts) + sum(len(each.parts) for each in self.auxiliary_losses)
        total = torch.stack(counts).sum(0) if counts else torch.zeros(width, dtype=torch.long, device=device)
        return batches, self.accelerator.reduce(total, "sum")

    def _counts(self, inputs: dict[str, Any], targets: Targets) -> Tensor:
        """The counts of the loss, then those of each auxiliary loss."""
        own = self.loss.counts(targets)
        return torch.cat([own, *(each.counts(inputs, targets).to(own) for each in self.auxiliary_losses)])

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Tensor:
        """The loss of a batch: its contribution to the loss of the step."""
        inputs = dict(inputs)
        targets = inputs.pop("targets")
        counts = self._counts(inputs, targets) if num_items_in_batch is None else num_items_in_batch
        output = model(**inputs)
        widths = [len(self.loss.parts), *(len(each.parts) for each in self.auxiliary_losses)]
        own, *others = counts.split(widths)
        parts = self.loss(output, targets, own)
        for each, its_counts in zip(self.auxiliary_losses, others, strict=True):
            found = each(output, inputs, targets, its_counts)
            parts |= found
            parts["loss"] = parts["loss"] + torch.stack(list(found.values())).sum()
        # Gradients are averaged over the processes, but should be summed.
        parts = {name: value * self.args.world_size for name, value in parts.items()}
        for name, value in parts.items():
            if name != "loss":
                self._parts[name] = self._parts.get(name, 0.0) + value.detach()
        mask = inputs["attention_mask"]
        self._read += torch.stack([mask.new_tensor(len(mask)), mask.sum()])
        loss: Tensor = parts["loss"]
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the parts of the loss, and pairs and tokens per second, as means since the last log entry.

        The time includes saving and evaluating.
        """
        if "loss" in logs and self._parts and self._logged_at is not None:
            now = time.perf_counter()
            speeds = self.accelerator.reduce(self._read, "sum").cpu() / (now - self._logged_at)
            names = ("pairs_per_second", "tokens_per_second")
            logs |= {name: round(x, 1) for name, x in zip(names, speeds.tolist(), strict=True)}
            self._read.zero_()
            self._logged_at = now
            values = self.accelerator.reduce(torch.stack(list(self._parts.values())), "mean") / self._steps
            logs |= {name: round(x, 5) for name, x in zip(self._parts, values.tolist(), strict=True)}
            self._parts.clear()
            self._steps = 0
        super().log(logs, *args, **kwargs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss and its parts on `dev_pairs`, as means over all pairs."""
        device = self.args.device
        sums = dict.fromkeys(self.loss.parts, torch.zeros((), device=device))
        counts = torch.zeros(len(sums), dtype=torch.long, device=device)
        model = self.accelerator.unwrap_model(self.model).eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            for batch in self._dev_batches():
                targets = batch.pop("targets")
                counts += self.loss.counts(targets)
                for name, value in self.loss(model(**batch), targets, torch.ones_like(counts)).items():
                    if name != "loss":
                        sums[name] = sums[name] + value
        counts = self.accelerator.reduce(counts, "sum")
        means = self.accelerator.reduce(torch.stack(list(sums.values())), "sum") / counts.clamp(min=1)
        known = {n: x for n, x, count in zip(sums, means.tolist(), counts.tolist(), strict=True) if count}
        metrics = {f"{metric_key_prefix}_loss": sum(known.values())}
        metrics |= {f"{metric_key_prefix}_{name}": value for name, value in known.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _dev_batches(self) -> Iterator[dict[str, Any]]:
        """This process's share of the batches of `dev_pairs`."""
        pairs = self._dev_pairs
        if pairs is None:
            return
        model = self.accelerator.unwrap_model(self.model)
        assemble = Assembler.for_model(pairs.pack, model, pairs.encoder, self.args.device)
        batches = [*TokenBatchSampler(pairs, self._batch_tokens)]
        for batch in batches[self.args.process_index :: self.args.world_size]:
            yield assemble(pairs.rows(batch))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's share of the batches of each epoch, as numbers."""
        args = self.args
        return _EpochLoader(
            _numbers(self._pairs),
            batch_sampler=TokenBatchSampler(
                self._pairs,
                self._batch_tokens,
                seed=args.seed,
                rank=args.process_index,
                num_processes=args.world_size,
            ),
            collate_fn=self._pairs.rows,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
        )

    def create_optimizer(self, *_: Any) -> torch.optim.Optimizer:
        """The optimizer of `args`, with separate learning rates for encoder and heads.

        Vectors (biases and layer normalisation) do not decay.
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


def last_checkpoint(directory: str | Path) -> str | None:
    """The newest complete checkpoint of a run, or None.

    The trainer writes its state last: a checkpoint without it was being written when the run died.
    """
    complete = {}
    for path in Path(directory).glob("checkpoint-*"):
        try:
            state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        complete[state["global_step"]] = str(path)
    return complete[max(complete)] if complete else None


def _numbers(pairs: PairSet | None) -> Any:
    """The pairs' numbers as a data set, from which `PairSet.rows` makes batches."""
    return range(0 if pairs is None else len(pairs))


def _encoder_parameters(model: ProvenceModel) -> set[str]:
    """Names of the parameters below the heads. BERT's encoder includes the ranking head's pooler."""
    encoder = f"transformer.{model.transformer.base_model_prefix}."
    names = (name for name, _ in model.named_parameters())
    return {name for name in names if name.startswith(encoder) and not name.startswith(f"{encoder}pooler.")}
