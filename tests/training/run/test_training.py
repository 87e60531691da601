"""`provence train` from a file of YAML to a checkpoint that prunes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from accelerate import PartialState
from transformers import TrainerCallback
from typer.testing import CliRunner, Result

from provence_rag import InvalidInputError, Provence
from provence_rag.cli.app import _Commands
from provence_rag.config import DynamicRule, ProvenceConfig
from provence_rag.modeling.model import ProvenceModel
from provence_training.cli.train import train
from provence_training.config.yaml_file import read_config
from provence_training.learning.guide import GuideLoss
from provence_training.run import stages
from provence_training.run.training import run_training

pytestmark = pytest.mark.parametrize("encoder", ["xlm_roberta"], indirect=True)

MakeConfig = Callable[..., Path]
WriteData = Callable[..., str]


def invoke(*arguments: Any) -> Result:
    app = typer.Typer(cls=_Commands)
    app.command()(train)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=False)


def logged(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def test_two_stages_with_a_teacher(
    make_config: MakeConfig, write_data: WriteData, joint: Path, tmp_path: Path
) -> None:
    base = {"epochs": 1, "batch_tokens": 256, "learning_rate": 3e-3}
    taught = {"random": 0.5, "labels": False, "teacher": True}
    config = make_config(
        data={"train": [write_data(tmp_path / "zoo.jsonl", 40)], "dev_share": 0.25},
        teachers=[{"kind": "provence", "model": str(joint)}],
        stages=[
            {"name": "warm-up", **base, "pairs": [{"count": 40, **taught}]},
            {
                "name": "labels",
                **base,
                "pairs": [{}, {"count": 16, "teacher": True}],
                "ranges": {"limit": 1.0},
                "patience": 3,
            },
        ],
        release={"precision": "float16", "exports": ["onnx-int8"], "calibration": {"keep": 0.8}},
    )
    result = invoke(config)
    assert result.exit_code == 0, result.stderr
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'run' / 'model'}\n")

    warm_up, labels = (
        logged(tmp_path / "run" / "stages" / "warm-up"),
        logged(tmp_path / "run" / "stages" / "labels"),
    )
    assert warm_up[0]["ranking_teacher"] > 0
    assert warm_up[0]["ranking"] == warm_up[0]["pruning"] == 0
    assert min(labels[0][part] for part in ("ranking", "pruning", "ranges")) > 0
    assert {"eval_loss", "eval_ranking", "eval_pruning"} <= {name for entry in labels for name in entry}

    model = Provence.from_pretrained(tmp_path / "run" / "model")
    (passage,) = model.process("where sat the cat", ["the cat sat on mat. rain is cold."])
    assert passage.score is not None
    stored = ProvenceConfig.from_directory(tmp_path / "run" / "model")
    assert {"default", "en"} == set(stored.rules(0.97))
    assert stored.dynamic == 0.8
    assert (tmp_path / "run" / "model" / "onnx" / "model_int8.onnx").is_file()
    report = json.loads((tmp_path / "run" / "evaluation" / "evaluation.json").read_text())
    assert report["sets"][0]["num_questions"] == 10
    assert len((tmp_path / "run" / "dev" / "zoo.jsonl").read_text().splitlines()) == 10


def test_a_student_with_some_layers_of_its_guide(
    make_config: MakeConfig, write_data: WriteData, joint: Path, tmp_path: Path
) -> None:
    base = {"epochs": 1, "batch_tokens": 256, "learning_rate": 1e-4}
    unread = write_data(tmp_path / "unread.jsonl", 24)
    config = make_config(
        data={"train": [write_data(tmp_path / "zoo.jsonl", 24), unread]},
        stages=[
            {"name": "base", **base},
            {
                "name": "student",
                **base,
                "layers": "0,2",
                "guide": {"stage": "base"},
                "pairs": [{"count": 24, "weights": {"unread": 0}, "labels": False}],
            },
            {
                "name": "last",
                **base,
                "guide": {"model": str(joint), "exclude": ["unread"]},
                "pairs": [{"count": 24, "weights": {"zoo": 0, "unread": 1}}],
            },
        ],
    )
    result = invoke(config)
    assert result.exit_code == 0, result.stderr
    stages = tmp_path / "run" / "stages"
    start, student = logged(stages / "base")[0], logged(stages / "student")[0]
    assert set(GuideLoss.parts).isdisjoint(start)
    assert min(student[part] for part in GuideLoss.parts) > 0
    assert student["ranking"] == student["pruning"] == 0
    last = logged(stages / "last")[0]
    assert {last[part] for part in GuideLoss.parts} == {0.0}
    assert min(last["ranking"], last["pruning"]) > 0

    teacher = ProvenceModel.from_pretrained(stages / "base" / "model").transformer
    begun = ProvenceModel.from_pretrained(stages / "student" / "start").transformer
    assert begun.config.num_hidden_layers == 2
    for name, tensor in begun.state_dict().items():
        of_teacher = name.replace("layer.1.", "layer.2.")
        torch.testing.assert_close(tensor, teacher.state_dict()[of_teacher])


def test_float16_needs_a_gpu(make_config: MakeConfig, tmp_path: Path) -> None:
    result = invoke(make_config(stages=[{"precision": "float16"}]))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "provence: precision float16 needs a GPU: choose auto, bfloat16 or float32 on a CPU"
    )
    assert not (tmp_path / "run").exists()


def test_bfloat16_where_there_is_no_gpu(make_config: MakeConfig, joint: Path, tmp_path: Path) -> None:
    stage = {
        "epochs": 1,
        "batch_tokens": 256,
        "precision": "bfloat16",
        "guide": {"model": str(joint)},
    }
    result = invoke(make_config(device="auto", stages=[stage]))
    assert result.exit_code == 0, result.stderr
    assert all(entry["guide_states"] >= 0 for entry in logged(tmp_path / "run" / "stages" / "train")[:-1])
    weights = ProvenceModel.from_pretrained(tmp_path / "run" / "model").state_dict().values()
    assert {w.dtype for w in weights if w.is_floating_point()} == {torch.float32}


def test_a_finished_run_is_not_run_again(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    assert invoke(config).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "model").rglob("*")}
    assert invoke(config).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "model").rglob("*")} == before
    result = invoke(make_config(seed=1))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        f"provence: {tmp_path / 'run'} holds a run with another configuration: "
        "choose another output, or delete this one"
    )


def test_a_run_does_not_go_on_with_other_data(
    make_config: MakeConfig, write_data: WriteData, tmp_path: Path
) -> None:
    config = make_config(data={"train": [write_data(tmp_path / "mine.jsonl", 24)]})
    assert invoke(config).exit_code == 0
    write_data(tmp_path / "mine.jsonl", 25)
    result = invoke(config)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        f"provence: {tmp_path / 'run'} holds a run with other data: choose another output, or delete this one"
    )


def test_processes_wait_for_the_first_one_for_hours(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*_: Any, timeout: timedelta = timedelta(minutes=30), **__: Any) -> None:
        raise InterruptedError(timeout)

    monkeypatch.setattr(torch.distributed, "init_process_group", begin)
    monkeypatch.setattr(PartialState, "_shared_state", {})
    for name in ("RANK", "LOCAL_RANK", "MASTER_PORT", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    with pytest.raises(InterruptedError) as raised:
        run_training(read_config(make_config()))
    assert raised.value.args[0] >= timedelta(hours=12)


class KillAt(TrainerCallback):
    """Ends the run in the middle of a step."""

    step = 0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == KillAt.step:
            raise KeyboardInterrupt


def test_a_run_that_was_killed_goes_on(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(read_config(make_config(output=str(tmp_path / "whole"))))
    expected = logged(tmp_path / "whole" / "stages" / "train")
    config = read_config(make_config(output=str(tmp_path / "killed")))
    with monkeypatch.context() as patch:
        patch.setattr(stages, "_LogFile", lambda _: KillAt())
        for step in (1, 3, 5):
            KillAt.step = step
            with pytest.raises(KeyboardInterrupt):
                run_training(config)
    run_training(config)
    found = logged(tmp_path / "killed" / "stages" / "train")
    assert [entry.get("loss") for entry in found] == pytest.approx([entry.get("loss") for entry in expected])
    one, other = (ProvenceModel.from_pretrained(tmp_path / name / "model") for name in ("whole", "killed"))
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_an_encoder_gets_heads_and_loses_layers(
    make_config: MakeConfig, encoder: Path, tmp_path: Path
) -> None:
    model = {
        "encoder": str(encoder),
        "max_length": 48,
        "languages": ["en"],
        "dropout": 0.0,
        "shrink": {"vocabulary": 55, "layers": "alternate:2"},
    }
    result = invoke(make_config(model=model))
    assert result.exit_code == 0, result.stderr
    trained = ProvenceModel.from_pretrained(tmp_path / "run" / "model")
    assert (trained.provence_config.max_length, trained.provence_config.languages) == (48, ("en",))
    stored = trained.transformer.config
    assert (stored.vocab_size, stored.num_hidden_layers, stored.hidden_dropout_prob) == (55, 2, 0.0)
    assert logged(tmp_path / "run" / "stages" / "train")[0]["pruning"] > 0


def test_a_model_that_only_prunes(
    make_config: MakeConfig, write_data: WriteData, encoder: Path, tmp_path: Path
) -> None:
    train, dev = (write_data(tmp_path / f"{name}.jsonl", 24) for name in ("a", "b"))
    config = make_config(
        model={"encoder": str(encoder), "mode": "pruning", "max_length": 48},
        data={"train": [train], "dev": [dev]},
    )
    model = Provence.from_pretrained(run_training(read_config(config)))
    assert model.config.mode == "pruning"
    names = {name for entry in logged(tmp_path / "run" / "stages" / "train") for name in entry}
    assert {"pruning", "eval_pruning"} <= names
    assert "ranking" not in names


def test_data_are_checked_without_training(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    result = invoke(config, "--check")
    assert (result.exit_code, result.stdout) == (0, f"{config}: no errors found\n")
    assert "training: 24 passages with 24 questions" in result.stderr
    assert not (tmp_path / "run").exists()
    data = tmp_path / "animals.jsonl"
    data.write_text(data.read_text() + '{"query": "?", "sentences": ["A."], "labels": [2]}\n')
    result = invoke(config, "--check")
    assert result.exit_code == 2
    assert f"provence: {data}:25: labels[0]: must be 0 or 1, got int 2" in result.stderr


def test_promises_that_were_made_for_other_weights(
    make_config: MakeConfig, write_data: WriteData, joint: Path, tmp_path: Path
) -> None:
    before = ProvenceConfig.from_directory(joint)
    replace(before, promises={0.9: {"default": DynamicRule()}}, dynamic=0.9).to_directory(joint)
    result = invoke(make_config())
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == (
        f"the promises of {tmp_path / 'run' / 'model'} are those of the model that training started from; "
        "its new weights may keep fewer answers: set release.calibration, or run provence calibrate"
    )
    shutil.rmtree(tmp_path / "run")
    data = {"train": [write_data(tmp_path / "mine.jsonl", 24)], "dev_share": 0.3}
    result = invoke(make_config(data=data, release={"calibration": {"keep": 0.5}}))
    assert result.exit_code == 0
    assert "are those of the model" not in result.stderr


def test_a_tracker_that_is_not_installed(make_config: MakeConfig, tmp_path: Path) -> None:
    result = invoke(make_config(report_to=["trackorama"]))
    assert result.exit_code == 2
    assert "provence: report_to has 'trackorama', which is not installed" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_model_that_only_ranks_has_nothing_to_calibrate(
    make_config: MakeConfig, write_data: WriteData, encoder: Path, tmp_path: Path
) -> None:
    settings = {
        "model": {"encoder": str(encoder), "mode": "ranking", "max_length": 48},
        "data": {
            "train": [write_data(tmp_path / "a.jsonl", 24)],
            "dev": [write_data(tmp_path / "b.jsonl", 8)],
        },
    }
    start = tmp_path / "ranking"
    ProvenceModel.from_encoder(str(encoder), ProvenceConfig(mode="ranking", max_length=48)).save_pretrained(
        start
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(encoder / name, start / name)
    calibration = {"calibration": {"keep": 0.8}}
    with pytest.raises(InvalidInputError) as raised:
        run_training(
            read_config(make_config(**{**settings, "model": {"checkpoint": str(start)}}, release=calibration))
        )
    assert str(raised.value) == "release.calibration needs a model that prunes"
    model = Provence.from_pretrained(run_training(read_config(make_config(**settings))))
    assert model.config.mode == "ranking"


def test_figures_that_were_not_reached_are_made_up_for(
    make_config: MakeConfig, write_data: WriteData, tmp_path: Path
) -> None:
    config = read_config(
        make_config(data={"train": [write_data(tmp_path / "a.jsonl", 24)], "dev_share": 0.3})
    )
    run_training(config)
    figures = (tmp_path / "run" / "evaluation" / "evaluation.json").read_text()
    shutil.rmtree(tmp_path / "run" / "evaluation")
    run_training(config)
    assert (tmp_path / "run" / "evaluation" / "evaluation.json").read_text() == figures


def test_questions_whose_passage_does_not_answer_are_not_evaluated(
    make_config: MakeConfig, write_data: WriteData, tmp_path: Path
) -> None:
    dev = tmp_path / "dev.jsonl"
    dev.write_text('{"query": "who sat", "sentences": ["The cat sat."], "labels": null, "relevance": 0.1}\n')
    output = run_training(
        read_config(make_config(data={"train": [write_data(tmp_path / "a.jsonl", 24)], "dev": [str(dev)]}))
    )
    assert (output.parent / "dev" / "dev.jsonl").is_file()
    assert not (output.parent / "evaluation").exists()
