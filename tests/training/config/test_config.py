"""The configuration of a run: defaults, checks, and what is said of a mistake."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
import yaml

from provence_rag import InvalidInputError
from provence_training.config import PairConfig, StageConfig, TrainingConfig
from provence_training.config.yaml_file import read_config
from provence_training.data import load_passages

ROOT = Path(__file__).parents[3]
LEAST: dict[str, Any] = {"output": "runs/a", "data": {"train": ["a.jsonl"]}}
TAUGHT: dict[str, Any] = {
    "teachers": [{"kind": "cross-encoder", "model": "owner/reranker"}],
    "stages": [{"pairs": [{"teacher": True}]}],
}


def write(path: Path, values: Any) -> Path:
    text = values if isinstance(values, str) else yaml.safe_dump(values)
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path: Path, values: Any) -> TrainingConfig:
    return read_config(write(tmp_path / "config.yaml", values))


def test_the_least(tmp_path: Path) -> None:
    config = read(tmp_path, LEAST)
    assert config == TrainingConfig(**LEAST)
    assert config.data.train[0].path == "a.jsonl"
    assert config.stages == (StageConfig(),)
    assert config.stages[0].pairs == (PairConfig(),)
    with pytest.raises(FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]


def test_values_of_every_kind(tmp_path: Path) -> None:
    text = """
    output: runs/a
    data:
      train: [a.jsonl, {path: b.parquet, weight: 2, needs_passage: true}]
      dev: [c.jsonl]
    stages:
      - learning_rate: 1e-4  # a string for YAML
        loss: {positive_weight: balanced}
        pairs: [{window: null}, {count: 10, window: [10, 20]}]
    """
    config = read(tmp_path, text)
    assert config.data.train[1].weight == 2.0
    (stage,) = config.stages
    assert (stage.learning_rate, stage.loss.positive_weight) == (1e-4, "balanced")
    assert [pairs.window for pairs in stage.pairs] == [None, (10, 20)]


def test_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.delenv("NOWHERE", raising=False)
    config = read(tmp_path, {**LEAST, "data": {"train": ["${DATA}/a.jsonl", "$DATA.jsonl"]}})
    assert [source.path for source in config.data.train] == ["/data/a.jsonl", "$DATA.jsonl"]
    with pytest.raises(InvalidInputError) as raised:
        read(tmp_path, {**LEAST, "output": "${NOWHERE}/a"})
    assert str(raised.value) == (
        f"{tmp_path}/config.yaml: output: the environment variable NOWHERE is not set"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sed": 3}, "sed: unknown key (did you mean seed?)"),
        (
            {"stages": [{"loss": {"poling": "token"}}]},
            "stages.0.loss.poling: unknown key (did you mean pooling?)",
        ),
        ({"xyzzy": 3}, "xyzzy: unknown key"),
        ({"output": None}, "output: Input should be a valid string, got None"),
        ({"data": {}}, "data.train: must be given"),
        (
            {"data": {"train": []}},
            "data.train: must have at least one entry",
        ),
        (
            {"stages": [{"learning_rate": "fast"}]},
            "stages.0.learning_rate: Input should be a valid number, unable to parse string as a number, "
            "got 'fast'",
        ),
        (
            {"stages": [{"loss": {"pooling": "max"}}, {"name": "b", "epochs": 0}]},
            "stages.0.loss.pooling: Input should be 'sentence' or 'token', got 'max'; "
            "stages.1.epochs: Input should be greater than 0, got 0",
        ),
        ({"stages": [{}, {}]}, "stages must have different names, got train, train"),
        (
            {"stages": [{"pairs": [{"bm25": 0.75, "random": 0.5}]}]},
            "stages.0.pairs.0: bm25, random and junk must add up to at most 1, got 1.25",
        ),
        (
            {"stages": [{"pairs": [{"bm25": 0.5, "random": 0.5}]}]},
            "stages.0.pairs.0: count must be given if bm25, random and junk add up to 1: no question meets "
            "its own passage",
        ),
        (
            {"stages": [{"pairs": [{"per_question": 2, "bm25": 0, "random": 0}]}]},
            "stages.0.pairs.0: per_question above 1 needs other passages: give bm25, random or junk a share",
        ),
        (
            {"stages": [{"pairs": [{"labels": False}]}]},
            "stages.0: pairs.0: without a guide, labels or teacher must be true, or nothing is learned",
        ),
        (
            {"stages": [{"pairs": [{"window": [30, 20]}]}]},
            "stages.0.pairs.0: window must be [fewest tokens, most tokens], got [30, 20]",
        ),
        (
            {"stages": [{"loss": {"listwise_teacher_weight": 0.5}}]},
            "stages.0: loss.listwise_teacher_weight needs pairs with teacher: true",
        ),
        (
            {"stages": [{"guide": {}}]},
            "stages.0.guide: give either stage or model, which is the guide",
        ),
        (
            {"stages": [{"guide": {"model": "a", "stage": "b"}}]},
            "stages.0.guide: give either stage or model, which is the guide",
        ),
        (
            {"stages": [{"guide": {"model": "a", "ranking": 0, "sentences": 0, "tokens": 0, "states": 0}}]},
            "stages.0.guide: ranking, sentences, tokens and states must not all be 0",
        ),
        (
            {"stages": [{"pairs": [{}, {"weights": {"a": 2, "zoo": 1}}]}]},
            "stages.0.pairs.1.weights must name sources of data.train (a), got 'zoo'",
        ),
        (
            {"stages": [{"guide": {"model": "a", "exclude": ["a", "zoo"]}}]},
            "stages.0.guide.exclude must name sources of data.train (a), got 'zoo'",
        ),
        (
            {"stages": [{"guide": {"stage": "train"}}]},
            "stages.0.guide.stage must be an earlier stage, got 'train': the first stage has none, so give "
            "it guide.model instead",
        ),
        (
            {"stages": [{"name": "a"}, {"name": "b", "guide": {"stage": "c"}}]},
            "stages.1.guide.stage must be an earlier stage (a), got 'c'",
        ),
        (
            {"stages": [{"pairs": [{"teacher": True}]}]},
            "pairs with teacher: true need teachers, or a teacher_column in the training data",
        ),
        (
            {"data": {"train": [{"path": "a.jsonl", "teacher_column": "score"}]}},
            "teacher scores are given, but no pairs learn from them: set teacher: true in some pairs",
        ),
        (
            {"teachers": TAUGHT["teachers"]},
            "teacher scores are given, but no pairs learn from them: set teacher: true in some pairs",
        ),
        (
            {
                "teachers": [{"kind": "bi-encoder", "model": "owner/embedder"}],
                "stages": [{}, {"name": "b", "pairs": [{"teacher": True, "random": 0}]}],
            },
            "stages.1.pairs with teacher: true must have own and random passages, which scale scores of "
            "owner/embedder: give random a share",
        ),
        (
            {"stages": [{"guide": {"model": "a", "exclude": ["a"]}, "pairs": [{"labels": False}]}]},
            "stages.0.guide.exclude has 'a', but no pairs learn from labels or a teacher, so that "
            "nothing is learned from it: set labels or teacher to true, do not exclude it, or set weights: "
            "{a: 0} to leave it out of this stage",
        ),
        (
            {"data": {"train": [{"path": "a.jsonl", "name": "en/qed"}]}},
            "data.train.0: name must not be empty or have a slash or a dot in it, got 'en/qed': give the "
            "source a name such as 'en-qed'",
        ),
        (
            {"data": {"train": ["a.jsonl"], "dev": [{"path": "a.jsonl", "name": "qed.v1"}]}},
            "data.dev.0: name must not be empty or have a slash or a dot in it, got 'qed.v1': give the "
            "source a name such as 'en-qed'",
        ),
        (
            {"data": {"train": ["."]}},
            "data.train.0: name must not be empty or have a slash or a dot in it, got '': give the source a "
            "name such as 'en-qed'",
        ),
        (
            {"data": {"train": ["en/a.jsonl", "ja/a.jsonl"]}},
            "data: train has 2 sources named 'a': give each a name of its own",
        ),
        (
            {
                "data": {"train": ["a.jsonl"], "dev": ["b.jsonl"]},
                "model": {"encoder": "a", "mode": "ranking"},
                "release": {"calibration": {}},
            },
            "release.calibration needs a model that prunes: set model.mode to joint or pruning",
        ),
        (
            {"stages": [{"patience": 2}]},
            "patience of stage train needs development data: give data.dev or data.dev_share",
        ),
        (
            {**TAUGHT, "stages": [{"patience": 2, "pairs": [{"labels": False, "teacher": True}]}]},
            "stages.0: patience needs pairs with labels: true, whose loss is measured",
        ),
        (
            {"release": {"calibration": {}}},
            "release.calibration needs development data: give data.dev or data.dev_share",
        ),
        (
            {"model": {"checkpoint": "a", "encoder": "b"}},
            "model: give either checkpoint or encoder, not both",
        ),
        ({"model": {"dropout": 0.1}}, "model: dropout needs encoder: a checkpoint cannot be changed"),
        (
            {"model": {"line_breaks": True}},
            "model: line_breaks needs encoder: a checkpoint cannot be changed",
        ),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        read(tmp_path, {**LEAST, **changes})
    assert str(raised.value) == f"{tmp_path}/config.yaml: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not YAML: "),
        ("", "must be a mapping of keys to values, got NoneType"),
        ("- a", "must be a mapping of keys to values, got list"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path}/config.yaml: {message}")
    with pytest.raises(InvalidInputError) as raised:
        read_config(tmp_path / "none.yaml")
    assert str(raised.value) == f"{tmp_path}/none.yaml: No such file or directory"


def test_a_source_that_is_left_out_of_a_stage_may_be_excluded(tmp_path: Path) -> None:
    guide = {"model": "a", "exclude": ["a"]}
    data = {"train": ["a.jsonl", "b.jsonl"]}
    for pairs in ({"labels": False, "weights": {"a": 0}}, {"labels": True}):
        assert read(tmp_path, {**LEAST, "data": data, "stages": [{"guide": guide, "pairs": [pairs]}]})


def test_teachers(tmp_path: Path) -> None:
    assert read(tmp_path, {**LEAST, **TAUGHT}).teachers
    given = {"train": [{"path": "a.jsonl", "teacher_column": "score"}]}
    assert read(tmp_path, {**LEAST, "data": given, "stages": TAUGHT["stages"]}).teachers == ()


@pytest.mark.parametrize(
    "recipe", sorted((ROOT / "training" / "recipes").glob("*.yaml")), ids=lambda p: p.name
)
def test_recipes_can_be_read(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "data")
    monkeypatch.setenv("ENCODER", "encoder")
    monkeypatch.setenv("ENGLISH", "english")
    monkeypatch.setenv("BASE", "base")
    assert len(read_config(recipe).stages) >= 1


def test_the_example_has_data() -> None:
    for name, count in (("train", 200), ("test", 50)):
        passages = load_passages(ROOT / "examples" / "finetune" / f"{name}.jsonl")
        assert len(passages) == count
        assert all(len(q.answers or ()) == 1 for p in passages for q in p.questions)
