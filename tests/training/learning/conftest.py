"""A trainer of a model that learns in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback, TrainingArguments

from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.pair_encoder import PairEncoder
from provence_rag.modeling.model import ProvenceModel
from provence_training.learning.auxiliary_losses import AuxiliaryLoss
from provence_training.learning.collator import Example, ProvenceCollator, example_pairs
from provence_training.learning.loss import ProvenceLoss
from provence_training.learning.trainer import ProvenceTrainer

LONGEST = 20
"""Tokens for an example: a batch of a multiple of it has as many examples."""

MakeTrainer = Callable[..., ProvenceTrainer]
Collate = Callable[[Sequence[Example]], dict[str, Any]]


@pytest.fixture
def encoder(tokenizer: PairTokenizer) -> PairEncoder:
    return PairEncoder(tokenizer, ProvenceConfig(max_length=64))


@pytest.fixture
def collate(encoder: PairEncoder) -> Collate:
    return ProvenceCollator(encoder, pad_token_id=1, uses_token_types=False)


@pytest.fixture
def make_trainer(encoder: PairEncoder, make_model: Any, tmp_path: Path) -> MakeTrainer:
    def make(
        examples: Sequence[Example],
        model: ProvenceModel | None = None,
        loss: ProvenceLoss | None = None,
        head_learning_rate: float | None = 3e-3,
        dev_examples: Sequence[Example] = (),
        batch_tokens: int = 8 * LONGEST,
        callbacks: list[TrainerCallback] | None = None,
        auxiliary_losses: Sequence[AuxiliaryLoss] = (),
        **settings: Any,
    ) -> ProvenceTrainer:
        arguments = {
            "output_dir": str(tmp_path / "run"),
            "learning_rate": 3e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
            "seed": 3,
            **settings,
        }
        return ProvenceTrainer(
            model if model is not None else make_model(),
            TrainingArguments(**arguments),
            loss=loss or ProvenceLoss(),
            auxiliary_losses=auxiliary_losses,
            pairs=example_pairs(examples, encoder),
            dev_pairs=example_pairs(dev_examples, encoder) if dev_examples else None,
            batch_tokens=batch_tokens,
            head_learning_rate=head_learning_rate,
            callbacks=callbacks,
        )

    return make
