"""What would fail in a run, early or after hours of training, is refused before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provence_rag import CheckpointError, InvalidInputError
from provence_rag.config import ProvenceConfig
from provence_training.config.yaml_file import read_config
from provence_training.run.training import run_training

pytestmark = pytest.mark.parametrize("encoder", ["xlm_roberta"], indirect=True)

MakeConfig = Callable[..., Path]
WriteData = Callable[..., str]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"train": ["A"], "dev_share": 0.01},
            "data.dev_share of 0.01 holds out none of the 4 training passages: give a larger share, or "
            "data.dev",
        ),
        ({"train": ["EMPTY"]}, "the training data have no questions"),
        ({"train": ["A"], "dev": ["EMPTY"]}, "the development data have no questions"),
    ],
)
def test_data_that_cannot_be_used(
    make_config: MakeConfig, write_data: WriteData, tmp_path: Path, data: dict[str, Any], message: str
) -> None:
    (tmp_path / "empty.jsonl").write_text('{"text": "The cat.", "questions": []}\n')
    paths = {"A": write_data(tmp_path / "a.jsonl", 4), "EMPTY": str(tmp_path / "empty.jsonl")}
    values = {
        key: [paths[x] for x in value] if isinstance(value, list) else value for key, value in data.items()
    }
    config = make_config(data=values)
    with pytest.raises(InvalidInputError) as raised:
        run_training(read_config(config))
    assert str(raised.value) == message


def test_a_run_that_could_not_begin_may_be_changed(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        run_training(read_config(make_config(model={"checkpoint": str(tmp_path / "none")})))
    run_training(read_config(make_config()))


def test_calibration_needs_answers(make_config: MakeConfig, write_data: WriteData, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"query": "?", "sentences": ["A."], "labels": null}\n')
    data = {"train": [write_data(tmp_path / "a.jsonl", 4)], "dev": [str(tmp_path / "b.jsonl")]}
    with pytest.raises(InvalidInputError) as raised:
        run_training(read_config(make_config(data=data, release={"calibration": {}})))
    assert str(raised.value) == "release.calibration needs development data with marked answers"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stages": [{"name": "a", "layers": "first:2"}, {"name": "b", "layers": "0,2"}]},
            "stages.1: layers must be first:N, last:N, alternate:N, or ascending numbers below 2; got '0,2'",
        ),
        (
            {"stages": [{"name": "a"}, {"name": "b", "guide": {"model": "none/such"}}]},
            "name_or_path='none/such'",
        ),
        (
            {
                "stages": [{"name": "a"}, {"name": "b", "pairs": [{"teacher": True}]}],
                "teachers": [{"kind": "provence", "model": "none/such"}],
            },
            "name_or_path='none/such'",
        ),
        (
            {"stages": [{"name": "a"}, {"name": "b", "guide": "SMALL"}]},
            "the guide reads at most 32 tokens, but the model 64: set model.max_length to 32 or less",
        ),
        (
            {"stages": [{"name": "a"}, {"name": "b", "pairs": [{"weights": {"bare": 2}}]}]},
            "the source 'bare' has a weight, but no questions",
        ),
        (
            {"stages": [{"name": "a"}, {"name": "b", "guide": "JOINT", "pairs": [{"weights": {"bare": 0}}]}]},
            "stage b: guide.exclude has 'asked', whose questions have no labels: nothing is learned from "
            "them. Set teacher to true, do not exclude it, or set weights: {asked: 0} to leave it out of "
            "this stage",
        ),
        (
            {"release": {"calibration": {}}},
            "8 questions with marked answers are too few to calibrate 'en' with keep=0.97: give at least 34, "
            "lower keep, or set release.calibration.allow_few_questions to calibrate nonetheless",
        ),
    ],
)
def test_what_would_fail_late(
    make_config: MakeConfig,
    write_data: WriteData,
    joint: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
) -> None:
    small = tmp_path / "small"
    shutil.copytree(joint, small)
    ProvenceConfig(max_length=32).to_directory(small)
    guides = {
        "SMALL": {"model": str(small)},
        "JOINT": {"model": str(joint), "exclude": ["asked"]},
    }
    for stage in changes.get("stages", ()):
        if isinstance(stage.get("guide"), str):
            stage["guide"] = guides[stage["guide"]]
    (tmp_path / "bare.jsonl").write_text('{"text": "The cat.", "questions": []}\n')
    (tmp_path / "asked.jsonl").write_text('{"question": "where sat the dog", "lang": "en"}\n' * 3)
    train = [
        write_data(tmp_path / "zoo.jsonl", 24),
        *(str(tmp_path / f"{x}.jsonl") for x in ("bare", "asked")),
    ]
    data = {"train": train, "dev": [write_data(tmp_path / "dev.jsonl", 8)]}
    with pytest.raises((InvalidInputError, CheckpointError)) as raised:
        run_training(read_config(make_config(data=data, **changes)))
    assert str(raised.value).startswith(message)
    assert not (tmp_path / "run" / "stages").exists()
