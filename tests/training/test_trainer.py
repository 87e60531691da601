"""The training loop on a model that learns in seconds."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    DebertaV2Config,
    ModernBertConfig,
    TrainingArguments,
    XLMRobertaConfig,
)

from provence_rag.chunking import Span
from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.model import ProvenceModel
from provence_training.collator import Example, ProvenceCollator
from provence_training.loss import ProvenceLoss, pool_sentences
from provence_training.trainer import ProvenceTrainer

THINGS = ["cat", "dog", "tea", "rain"]


def make_examples(count: int) -> list[Example]:
    """Sentences about animals are to be kept; a passage with one is relevant."""
    rng = random.Random(0)
    examples = []
    for _ in range(count):
        named = [rng.choice(THINGS) for _ in range(2)]
        first, second = (f"the {thing} {rng.choice(['sat', 'is cold'])}." for thing in named)
        labels = [int(thing in ("cat", "dog")) for thing in named]
        examples.append(
            Example(
                query=f"what is {rng.choice(['hot', 'cold'])}",
                document=f"{first} {second}",
                sentences=[Span(0, len(first)), Span(len(first) + 1, len(first) + 1 + len(second))],
                label=float(any(labels)),
                pruning_labels=labels,
            )
        )
    return examples


MakeTrainer = Callable[..., ProvenceTrainer]


@pytest.fixture
def make_trainer(tokenizer: PairTokenizer, make_model: Any, tmp_path: Path) -> MakeTrainer:
    def make(
        examples: Sequence[Example],
        model: ProvenceModel | None = None,
        loss: ProvenceLoss | None = None,
        head_learning_rate: float = 3e-3,
        **settings: Any,
    ) -> ProvenceTrainer:
        arguments = {
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 8,
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
            collator=ProvenceCollator(tokenizer, max_length=64, pad_token_id=1, uses_token_types=False),
            examples=examples,
            head_learning_rate=head_learning_rate,
        )

    return make


def logged(trainer: ProvenceTrainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if "loss" in entry]


def test_it_learns_32_examples_by_heart(make_trainer: MakeTrainer, make_model: Any) -> None:
    examples = make_examples(32)
    model = make_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.05)
    trainer = make_trainer(examples, model, learning_rate=1e-2, head_learning_rate=1e-2, num_train_epochs=25)
    trainer.train()
    assert logged(trainer, "loss")[0] > 0.3
    assert max(logged(trainer, "loss")[-4:]) < 0.05
    batch = trainer.data_collator(examples)
    targets = batch.pop("targets")
    with torch.inference_mode():
        output = model.eval()(**batch)
    assert ((output.ranking_logits > 0) == (targets.labels > 0.5)).all()
    keep = output.pruning_logits[..., 1] - output.pruning_logits[..., 0]
    pooled = pool_sentences(keep, targets.sentence_ids, len(targets.pruning_labels))
    assert ((pooled > 0) == (targets.pruning_labels == 1)).all()


@pytest.mark.parametrize("stop", [3, 6, 8])  # within the first epoch, within and at the end of the second
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    make_trainer: MakeTrainer, make_model: Any, tmp_path: Path, stop: int
) -> None:
    examples = make_examples(32)
    plan = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": stop}
    whole_model = make_model()
    whole = make_trainer(examples, whole_model, output_dir=str(tmp_path / "whole"), **plan)
    whole.train()
    resumed_model = make_model(seed=1)
    resumed = make_trainer(examples, resumed_model, output_dir=str(tmp_path / "resumed"), **plan)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{stop}"))
    assert resumed.state.global_step == whole.state.global_step == 12
    for name in ("loss", "ranking", "pruning"):
        assert logged(resumed, name)[stop:] == pytest.approx(logged(whole, name)[stop:], abs=1e-5)
    for one, other in zip(resumed_model.parameters(), whole_model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_every_epoch_has_an_order_of_its_own(make_trainer: MakeTrainer) -> None:
    def order(sampler: Any, epoch: int) -> list[int]:
        sampler.set_epoch(epoch)
        return list(sampler)

    examples = [Example(query="q", document="the cat " * (i % 7)) for i in range(40)]
    first, second = (make_trainer(examples)._get_train_sampler() for _ in range(2))
    torch.manual_seed(5)
    orders = [order(first, epoch) for epoch in (0, 1, 2)]
    torch.manual_seed(6)
    assert [order(second, epoch) for epoch in (2, 1, 0)] == orders[::-1]
    assert orders[0] != orders[1] != orders[2]
    assert all(sorted(each) == list(range(40)) for each in orders)


def test_batches_hold_examples_of_similar_length(make_trainer: MakeTrainer) -> None:
    rng = random.Random(0)
    examples = [Example(query="q", document="猫" * rng.randint(1, 60)) for _ in range(320)]
    order = list(make_trainer(examples)._get_train_sampler())
    lengths = [len(examples[i].document) for i in order]
    spread = [max(lengths[i : i + 8]) - min(lengths[i : i + 8]) for i in range(0, 320, 8)]
    assert sum(spread) / len(spread) < 10


def test_every_part_is_logged(make_trainer: MakeTrainer) -> None:
    loss = ProvenceLoss(ranking_weight=0.5, pruning_weight=2.0)
    trainer = make_trainer(make_examples(32), loss=loss, num_train_epochs=1, logging_steps=2)
    seen: list[dict[str, float]] = []
    loss.register_forward_hook(lambda *arguments: seen.append({k: v.item() for k, v in arguments[2].items()}))
    trainer.train()
    for number in range(2):
        pair = seen[2 * number : 2 * number + 2]
        for name in ("ranking", "ranking_teacher", "pruning", "pruning_teacher", "loss"):
            expected = sum(parts[name] for parts in pair) / 2
            assert logged(trainer, name)[number] == pytest.approx(expected, abs=1e-4)


def test_gradients_may_be_accumulated(make_trainer: MakeTrainer, make_model: Any) -> None:
    examples = [
        Example(query="the cat", document=f"the {t} sat", label=i % 2) for i, t in enumerate(THINGS * 4)
    ]
    weights = []
    for size, steps in ((8, 1), (4, 2)):
        model = make_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        trainer = make_trainer(
            examples,
            model,
            optim="sgd",
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            num_train_epochs=1,
        )
        trainer.train()
        assert trainer.state.global_step == 2
        weights.append(list(model.parameters()))
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_activation_checkpointing(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(make_examples(8), activation_checkpointing=True, num_train_epochs=1)
    trainer.train()
    assert logged(trainer, "loss")


@pytest.mark.parametrize(
    ("config", "mode", "heads"),
    [
        (BertConfig, "joint", {"bert.pooler.dense", "classifier"}),
        (BertConfig, "pruning", {"classifier"}),
        (XLMRobertaConfig, "joint", {"classifier.dense", "classifier.out_proj"}),
        (DebertaV2Config, "ranking", {"pooler.dense", "classifier"}),
        (ModernBertConfig, "joint", {"head.dense", "head.norm", "classifier"}),
    ],
)
def test_heads_have_a_learning_rate_of_their_own(
    make_trainer: MakeTrainer, config: Any, mode: Any, heads: set[str]
) -> None:
    auto = AutoModelForTokenClassification if mode == "pruning" else AutoModelForSequenceClassification
    settings = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = dict.fromkeys(
        ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1
    )
    hf_config = config(**settings, **special, intermediate_size=16, num_labels=2 if mode == "pruning" else 1)
    model = ProvenceModel(auto.from_config(hf_config), ProvenceConfig(mode=mode, max_length=64))
    trainer = make_trainer(
        make_examples(8), model, learning_rate=1e-4, head_learning_rate=1e-2, weight_decay=0.1
    )
    groups = trainer.create_optimizer().param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(names)
    found = {
        names[id(p)].rpartition(".")[0].removeprefix("transformer.")
        for group in groups
        if group["lr"] == 1e-2
        for p in group["params"]
    }
    assert found == heads | ({"pruning_head"} if mode == "joint" else set())
    assert {group["lr"] for group in groups} == {1e-4, 1e-2}
    for group in groups:
        assert {group["weight_decay"] > 0} == {p.ndim > 1 for p in group["params"]}


def test_what_was_trained_is_saved_and_loaded(
    make_trainer: MakeTrainer, make_model: Any, tmp_path: Path
) -> None:
    model = make_model()
    trainer = make_trainer(make_examples(8), model, num_train_epochs=1)
    trainer.train()
    model.save_pretrained(tmp_path / "model")
    batch = trainer.data_collator(make_examples(4))
    del batch["targets"]
    with torch.inference_mode():
        expected = model.eval()(**batch)
        output = ProvenceModel.from_pretrained(tmp_path / "model")(**batch)
    for one, other in zip(output, expected, strict=True):
        torch.testing.assert_close(one, other)
