"""The training loop on a model that learns in seconds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    DebertaV2Config,
    EarlyStoppingCallback,
    ModernBertConfig,
    TrainerCallback,
    TrainerState,
    XLMRobertaConfig,
)

from provence_rag.chunking import Span
from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.model import ProvenceModel
from provence_training.config import GuideConfig
from provence_training.learning.collator import Example
from provence_training.learning.guide import GuideLoss
from provence_training.learning.loss import ProvenceLoss, pool_sentences
from provence_training.learning.trainer import ProvenceTrainer, last_checkpoint

THINGS = ["cat", "dog", "tea", "rain"]
LONGEST = 20
"""Tokens for an example: a batch of a multiple of it has as many examples."""


def make_examples(count: int) -> list[Example]:
    """Sentences about animals are to be kept; a passage with one is relevant."""
    rng = random.Random(0)
    examples = []
    for number in range(count):
        named = [rng.choice(THINGS) for _ in range(2)]
        first, second = (f"the {thing} {rng.choice(['sat', 'is cold'])}." for thing in named)
        labels = [int(thing in ("cat", "dog")) for thing in named]
        examples.append(
            Example(
                query=f"what is {rng.choice(['hot', 'cold'])} {number}",
                document=f"{first} {second}",
                sentences=[Span(0, len(first)), Span(len(first) + 1, len(first) + 1 + len(second))],
                label=float(any(labels)),
                pruning_labels=labels,
            )
        )
    return examples


MakeTrainer = Callable[..., ProvenceTrainer]
Collate = Callable[[Sequence[Example]], dict[str, Any]]


def logged(trainer: ProvenceTrainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if "loss" in entry]


def test_it_learns_32_examples_by_heart(make_trainer: MakeTrainer, make_model: Any, collate: Collate) -> None:
    examples = make_examples(32)
    model = make_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.05)
    trainer = make_trainer(examples, model, learning_rate=1e-2, head_learning_rate=1e-2, num_train_epochs=25)
    trainer.train()
    assert logged(trainer, "loss")[0] > 0.3
    assert max(logged(trainer, "loss")[-4:]) < 0.05
    batch = collate(examples)
    targets = batch.pop("targets")
    with torch.inference_mode():
        output = model.eval()(**batch)
    assert ((output.ranking_logits > 0) == (targets.labels > 0.5)).all()
    keep = output.pruning_logits[..., 1] - output.pruning_logits[..., 0]
    pooled = pool_sentences(keep, targets.sentence_ids, len(targets.pruning_labels))
    assert ((pooled > 0) == (targets.pruning_labels == 1)).all()


class KillAt(TrainerCallback):
    """Ends the run in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("accumulation", "steps"),
    # Before the first checkpoint, just after one, within and in the second epoch.
    [(1, (2, 3, 5, 6)), (2, (5,))],
)
def test_a_run_killed_at_any_step_ends_as_an_uninterrupted_one(
    make_trainer: MakeTrainer, make_model: Any, tmp_path: Path, accumulation: int, steps: tuple[int, ...]
) -> None:
    examples = make_examples(32)
    plan = {
        "num_train_epochs": 2,
        "batch_tokens": 8 * LONGEST // accumulation,
        "gradient_accumulation_steps": accumulation,
        "save_strategy": "steps",
        "save_steps": 3,
    }
    whole_model = make_model()
    whole = make_trainer(examples, whole_model, output_dir=str(tmp_path / "whole"), **plan)
    whole.train()
    assert whole.state.global_step == 8
    for step in steps:
        settings = {"output_dir": str(tmp_path / f"killed-{step}"), **plan}
        with pytest.raises(KeyboardInterrupt):
            make_trainer(examples, callbacks=[KillAt(step)], **settings).train()
        found = last_checkpoint(tmp_path / f"killed-{step}")
        assert found == (
            str(tmp_path / f"killed-{step}" / f"checkpoint-{step // 3 * 3}") if step > 2 else None
        )
        resumed_model = make_model(seed=0 if found is None else 1)
        resumed = make_trainer(examples, resumed_model, **settings)
        resumed.train(resume_from_checkpoint=found)
        assert resumed.state.global_step == 8
        for name in ("loss", "ranking", "pruning"):
            assert logged(resumed, name) == pytest.approx(logged(whole, name), abs=1e-5)
        for one, other in zip(resumed_model.parameters(), whole_model.parameters(), strict=True):
            torch.testing.assert_close(one, other)


def test_a_checkpoint_that_was_being_written_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step, state in (
        (20, '{"global_step": 20}'),
        (100, '{"global_step": 100}'),
        (200, '{"glo'),
        (300, ""),
    ):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")


def test_every_part_is_logged(make_trainer: MakeTrainer) -> None:
    loss = ProvenceLoss(ranking_weight=0.5, pruning_weight=2.0)
    trainer = make_trainer(make_examples(32), loss=loss, num_train_epochs=1, logging_steps=2)
    seen: list[dict[str, float]] = []
    loss.register_forward_hook(lambda *arguments: seen.append({k: v.item() for k, v in arguments[2].items()}))
    trainer.train()
    for number in range(2):
        pair = seen[2 * number : 2 * number + 2]
        for name in (*ProvenceLoss.parts, "loss"):
            expected = sum(parts[name] for parts in pair) / 2
            assert logged(trainer, name)[number] == pytest.approx(expected, abs=1e-4)


def uneven_examples() -> list[Example]:
    """Of some the relevance is known, of some the sentences, of some a teacher's scores."""
    examples = []
    for i, example in enumerate(make_examples(16)):
        changes: dict[str, Any] = {}
        if i % 3:
            changes["label"] = None
        if i % 4 == 0:
            changes["pruning_labels"] = None
        if i % 5 == 0:
            changes |= {"teacher_score": i / 4 - 2, "sentence_teacher_scores": [1.0, -i]}
        examples.append(replace(example, **changes))
    return examples


STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def train_with_sgd(
    make_trainer: MakeTrainer, model: ProvenceModel, size: int, steps: int, **settings: Any
) -> ProvenceTrainer:
    """Train on `uneven_examples` with steps of 16 examples, in `steps` batches of `size`."""
    trainer = make_trainer(
        uneven_examples(),
        model,
        optim="sgd",
        learning_rate=0.1,
        head_learning_rate=0.1,
        max_grad_norm=0.0,
        batch_tokens=size * LONGEST,
        gradient_accumulation_steps=steps,
        **settings,
    )
    trainer.train()
    return trainer


def test_accumulated_gradients_are_those_of_one_batch(make_trainer: MakeTrainer, make_model: Any) -> None:
    weights, logs = [], []
    for size, steps in ((16, 1), (4, 4)):  # which examples meet in a step is all of them
        model = make_model(**STILL)
        trainer = train_with_sgd(make_trainer, model, size, steps, num_train_epochs=2)
        assert trainer.state.global_step == 2
        weights.append(list(model.parameters()))
        logs.append([logged(trainer, name) for name in ("loss", *ProvenceLoss.parts)])
    assert logs[0] == pytest.approx(np.array(logs[1]), abs=2e-4)
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_two_processes_killed_and_resumed_have_the_gradients_of_one(
    make_trainer: MakeTrainer, make_model: Any, tokenizer: PairTokenizer, tmp_path: Path
) -> None:
    settings = {
        "optim": "sgd",
        "learning_rate": 0.1,
        "max_grad_norm": 0.0,
        "max_steps": 4,
        "eval_strategy": "steps",
        "eval_steps": 2,
    }
    for name, seed in (("start", 0), ("guide", 1)):
        make_model(seed=seed, **STILL).save_pretrained(tmp_path / name)
        tokenizer.save(tmp_path / name)
    two_settings = {
        **settings,
        "output_dir": str(tmp_path / "run2"),
        "save_strategy": "steps",
        "save_steps": 2,
    }
    job = {
        "start": str(tmp_path / "start"),
        "guide": str(tmp_path / "guide"),
        "result": str(tmp_path / "two"),
        "examples": [{**vars(e), "sentences": list(e.sentences)} for e in uneven_examples()],
        "batch_tokens": 4 * LONGEST,
        "settings": two_settings,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    script = str(Path(__file__).with_name("distributed_run.py"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for _ in range(2):  # the first time, the processes are killed on the way
        found = subprocess.run(
            [*command, script, str(tmp_path / "job.json")],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            # The processes meet on this machine alone, whatever its name resolves to.
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
        )
        assert (tmp_path / "run2" / "checkpoint-2").exists(), found.stderr
    assert found.returncode == 0, found.stderr

    model = ProvenceModel.from_pretrained(tmp_path / "start")
    trainer = make_trainer(
        uneven_examples(),
        model,
        dev_examples=uneven_examples()[:7],
        auxiliary_losses=[
            GuideLoss(model, ProvenceModel.from_pretrained(tmp_path / "guide"), GuideConfig(model="any"))
        ],
        head_learning_rate=None,
        batch_tokens=4 * LONGEST,
        gradient_accumulation_steps=2,
        **settings,
    )
    trainer.train()
    two = ProvenceModel.from_pretrained(tmp_path / "two")
    for one, other in zip(model.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    history = json.loads((tmp_path / "two" / "history.json").read_text())
    parts = {*ProvenceLoss.parts, *GuideLoss.parts, "loss"}
    for ours, theirs in zip(trainer.state.log_history[:-1], history[:-1], strict=True):
        shared = {name for name in ours if name.removeprefix("eval_") in parts}
        assert len(shared) >= 5
        # Losses in the thousands, as here, have no more than seven digits.
        expected = pytest.approx({n: ours[n] for n in shared}, rel=1e-5, abs=2e-4)
        assert {n: theirs[n] for n in shared} == expected


# Evaluation on the way


def test_the_loss_on_the_development_data(make_trainer: MakeTrainer, collate: Collate) -> None:
    examples = [replace(e, query=f"what is {i % 6}") for i, e in enumerate(uneven_examples())]
    trainer = make_trainer(
        make_examples(8), dev_examples=examples, batch_tokens=3 * LONGEST, num_train_epochs=1
    )
    metrics = trainer.evaluate()
    batch = collate(examples)
    targets = batch.pop("targets")
    with torch.no_grad():
        expected = trainer.loss(trainer.model.eval()(**batch), targets)
    known = {"loss", *ProvenceLoss.parts} - {"listwise_teacher"}
    assert {name.removeprefix("eval_") for name in metrics} - {"epoch"} == known
    assert {n: metrics[f"eval_{n}"] for n in known} == pytest.approx(
        {n: expected[n].item() for n in known}, rel=1e-4
    )
    only_labels = [replace(e, teacher_score=None, sentence_teacher_scores=None) for e in examples]
    labelled = make_trainer(make_examples(8), dev_examples=only_labels).evaluate()
    assert {name.removeprefix("eval_") for name in labelled} - {"epoch"} == {
        name for name in known if "teacher" not in name
    }


def test_it_stops_when_the_development_loss_no_longer_falls(
    make_trainer: MakeTrainer, make_model: Any
) -> None:
    examples = make_examples(32)
    unlearnable = [
        replace(e, label=1 - e.label, pruning_labels=[1 - x for x in e.pruning_labels])
        for e in make_examples(32)
    ]
    model = make_model(initializer_range=0.05, **STILL)
    trainer = make_trainer(
        examples,
        model,
        dev_examples=unlearnable,
        callbacks=[EarlyStoppingCallback(2)],
        num_train_epochs=25,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
    )
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(losses) < 20
    assert losses.index(min(losses)) == len(losses) - 3
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), rel=1e-4)


# How it is computed


def test_mixed_precision(make_trainer: MakeTrainer, make_model: Any) -> None:
    losses = []
    for bf16 in (False, True):
        trainer = make_trainer(make_examples(16), make_model(**STILL), bf16=bf16, num_train_epochs=2)
        trainer.train()
        losses.append(logged(trainer, "loss"))
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_passages_of_a_question_meet_in_a_batch(make_trainer: MakeTrainer) -> None:
    examples = [replace(e, query=f"what is {i % 4}") for i, e in enumerate(make_examples(16))]
    loss = ProvenceLoss(listwise_weight=0.3)
    trainer = make_trainer(examples, loss=loss, batch_tokens=4 * LONGEST)
    batches = [*trainer.get_train_dataloader()]
    assert len(batches) == 4
    for rows in batches:
        (batch,), _ = trainer.get_batch_samples(iter([rows]), 1, torch.device("cpu"))
        assert loss.counts(batch["targets"])[loss.parts.index("listwise")] == 1


def test_what_a_guide_teaches_is_added(make_trainer: MakeTrainer, make_model: Any) -> None:
    weights, logs = [], []
    for size, steps in ((16, 1), (4, 4)):  # which examples meet in a step is all of them
        model = make_model(**STILL)
        guide = GuideLoss(model, make_model(seed=1), GuideConfig(model="any"))
        trainer = train_with_sgd(
            make_trainer, model, size, steps, auxiliary_losses=[guide], num_train_epochs=1
        )
        parts = {name: logged(trainer, name) for name in (*ProvenceLoss.parts, *GuideLoss.parts)}
        assert all(value > 0 for name in GuideLoss.parts for value in parts[name])
        sums = [sum(step) for step in zip(*parts.values(), strict=True)]
        assert logged(trainer, "loss") == pytest.approx(sums, abs=2e-4)
        weights.append(list(model.parameters()))
        logs.append(list(parts.values()))
    assert logs[0] == pytest.approx(np.array(logs[1]), rel=1e-3, abs=2e-4)
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_speed_is_logged(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 6.0])
    monkeypatch.setattr("provence_training.learning.trainer.time.perf_counter", lambda: next(clock))
    trainer = make_trainer(make_examples(16), num_train_epochs=1)
    lengths = [int(rows.lengths.sum()) for rows in trainer.get_train_dataloader()]
    trainer.train()
    assert logged(trainer, "pairs_per_second") == [4.0, 2.0]
    found = logged(trainer, "tokens_per_second")
    assert found == [pytest.approx(lengths[0] / 2, abs=0.1), pytest.approx(lengths[1] / 4, abs=0.1)]


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
    make_trainer: MakeTrainer, make_model: Any, collate: Collate, tmp_path: Path
) -> None:
    model = make_model()
    trainer = make_trainer(make_examples(8), model, num_train_epochs=1)
    trainer.train()
    model.save_pretrained(tmp_path / "model")
    batch = collate(make_examples(4))
    del batch["targets"]
    with torch.inference_mode():
        expected = model.eval()(**batch)
        output = ProvenceModel.from_pretrained(tmp_path / "model")(**batch)
    for one, other in zip(output, expected, strict=True):
        torch.testing.assert_close(one, other)
