"""One stage of training: from a checkpoint and pairs to the next checkpoint."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)

from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.model import ProvenceModel
from provence_training.compute import choose_dtype, current_device
from provence_training.config import StageConfig, TrainingConfig
from provence_training.learning.auxiliary_losses import AuxiliaryLoss, RangeLoss
from provence_training.learning.guide import GuideLoss, load_guide
from provence_training.learning.loss import ProvenceLoss
from provence_training.learning.trainer import ProvenceTrainer, last_checkpoint
from provence_training.pairs.pair_set import PairSet
from provence_training.run.starting_point import copy_tokenizer

__all__ = ["balanced_weight", "run_stage"]

log = logging.getLogger(__name__)


class _LogFile(TrainerCallback):
    """Writes every log entry to a file, as a line of JSON, and logs it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_log(self, args: TrainingArguments, state: TrainerState, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            # The whole history each time: a run that continues from a checkpoint repeats no line.
            lines = [f"{json.dumps(entry)}\n" for entry in state.log_history]
            self._path.write_text("".join(lines), encoding="utf-8")
            log.info(" ".join(f"{name} {value:.4g}" for name, value in state.log_history[-1].items()))


def run_stage(
    stage: StageConfig,
    start: Path,
    directory: Path,
    pairs: PairSet,
    dev_pairs: PairSet | None,
    *,
    run: TrainingConfig,
    guide: Path | None = None,
) -> None:
    """Train, and write the checkpoint `directory/model`. An interrupted run continues.

    Args:
        stage: How to train.
        start: The checkpoint to start from.
        directory: The stage's directory.
        pairs: The pairs to learn from, at least one.
        dev_pairs: The pairs that the loss is measured on.
        run: The configuration of the run.
        guide: The checkpoint of the stage's guide, if it has one.

    Raises:
        InvalidInputError: The guide does not fit the model, or the device cannot compute in the stage's
            precision.
    """
    directory.mkdir(parents=True, exist_ok=True)
    model = ProvenceModel.from_pretrained(start)
    dtype = choose_dtype(stage.precision, current_device())
    if dtype == torch.bfloat16 and current_device().type == "cpu":
        # On a CPU, the backward pass of torch's fused attention takes half of a step's time in bfloat16.
        model.transformer.set_attn_implementation("eager")
    tokenizer = PairTokenizer.from_directory(start, model.provence_config.pair_template)
    callbacks: list[TrainerCallback] = [_LogFile(directory / "log.jsonl")]
    if stage.patience is not None:
        callbacks.append(EarlyStoppingCallback(stage.patience))
    loss = asdict(stage.loss)
    if stage.loss.positive_weight == "balanced":
        loss["positive_weight"] = balanced_weight(pairs)
    auxiliary_losses: list[AuxiliaryLoss] = []
    if stage.guide is not None and guide is not None:
        auxiliary_losses.append(GuideLoss(model, load_guide(guide, tokenizer, dtype), stage.guide))
    if stage.ranges is not None:
        auxiliary_losses.append(RangeLoss(model, stage.ranges))
    trainer = ProvenceTrainer(
        model,
        _arguments(stage, directory, run, dtype, evaluates=dev_pairs is not None),
        loss=ProvenceLoss(**loss),
        auxiliary_losses=auxiliary_losses,
        pairs=pairs,
        dev_pairs=dev_pairs,
        batch_tokens=stage.batch_tokens,
        head_learning_rate=stage.head_learning_rate,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # which prints the same to standard output
    trainer.train(resume_from_checkpoint=last_checkpoint(directory))
    if trainer.is_world_process_zero():
        partial = directory / "model.partial"
        model.save_pretrained(partial)
        copy_tokenizer(start, partial)
        partial.rename(directory / "model")


def balanced_weight(pairs: PairSet) -> float:
    """The number of sentences to drop for each sentence to keep."""
    _, labels, _ = pairs.sentence_labels(np.arange(len(pairs)))
    return float((labels == 0).sum()) / max(1, (labels == 1).sum()) or 1.0


def _arguments(
    stage: StageConfig, directory: Path, run: TrainingConfig, dtype: torch.dtype, *, evaluates: bool
) -> Any:
    known = {field.name for field in fields(TrainingArguments)}
    # Renamed between two releases of transformers 5.
    renamed = {"activation_checkpointing", "gradient_checkpointing"} & known
    checkpointing: dict[str, Any] = dict.fromkeys(renamed, stage.gradient_checkpointing)
    return TrainingArguments(
        output_dir=str(directory),
        num_train_epochs=stage.epochs,
        max_steps=stage.max_steps or -1,
        gradient_accumulation_steps=stage.gradient_accumulation,
        learning_rate=stage.learning_rate,
        warmup_steps=stage.warmup,
        lr_scheduler_type=stage.schedule,
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.max_grad_norm,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        logging_steps=run.logging_steps,
        report_to=list(run.report_to),
        save_steps=stage.save_steps,
        save_total_limit=1,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=stage.save_steps,
        load_best_model_at_end=stage.patience is not None,
        metric_for_best_model="eval_loss",
        seed=run.seed,
        use_cpu=current_device().type == "cpu",
        dataloader_pin_memory=current_device().type == "cuda",
        disable_tqdm=not sys.stderr.isatty(),
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        **checkpointing,
    )
