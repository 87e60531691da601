"""Checkpoints that ProvenceModel cannot load: it names what is missing, unexpected or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from provence_rag import CheckpointError
from provence_rag.modeling.model import ProvenceModel


def edit_config(directory: Path, **values: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def check_refused(directory: Path, *parts: str) -> None:
    with pytest.raises(CheckpointError) as raised:
        ProvenceModel.from_pretrained(directory)
    for part in parts:
        assert part in str(raised.value)
    assert "transformer." not in str(raised.value)  # names are those in the file


@pytest.mark.parametrize("name", ["pruning_head.bias", "classifier.weight", "bert.pooler.dense.bias"])
def test_a_missing_tensor_is_named(broken: Path, name: str) -> None:
    tensors = load_file(broken / "model.safetensors")
    del tensors[name]
    save_file(tensors, broken / "model.safetensors")
    check_refused(
        broken,
        f"the weights in {broken} do not fit its config.json: missing {name}; unexpected nothing",
    )


def test_many_missing_tensors_are_counted(broken: Path) -> None:
    kept = dict(list(load_file(broken / "model.safetensors").items())[:4])
    save_file(kept, broken / "model.safetensors")
    check_refused(broken, "do not fit its config.json: missing bert.", " more; unexpected nothing")


def test_an_extra_tensor_is_named(broken: Path) -> None:
    tensors = load_file(broken / "model.safetensors")
    save_file({**tensors, "adapter.weight": torch.zeros(2)}, broken / "model.safetensors")
    check_refused(broken, "missing nothing; unexpected adapter.weight")


def test_a_tensor_of_another_shape_is_named(broken: Path) -> None:
    tensors = load_file(broken / "model.safetensors")
    save_file({**tensors, "pruning_head.bias": torch.zeros(3)}, broken / "model.safetensors")
    check_refused(broken, "do not fit its config.json", "pruning_head.bias", "torch.Size([3])")


def test_missing_weights(broken: Path) -> None:
    (broken / "model.safetensors").unlink()
    check_refused(broken, f"{broken} has neither model.safetensors nor pytorch_model.bin")


def test_weights_that_are_not_safetensors(broken: Path) -> None:
    (broken / "model.safetensors").write_bytes(b"not tensors")
    check_refused(broken, f"{broken / 'model.safetensors'} cannot be read")


def test_no_config(broken: Path) -> None:
    (broken / "config.json").unlink()
    check_refused(broken, f"{broken} is not a checkpoint: it has no config.json")


@pytest.mark.parametrize("content", ["{", "", "[1]"])
def test_a_config_that_is_no_json_object(broken: Path, content: str) -> None:
    (broken / "config.json").write_text(content)
    check_refused(broken, str(broken / "config.json"), "JSON")


@pytest.mark.parametrize(
    "values",
    [
        {"model_type": "no_such_model"},
        {"model_type": "no_such_model", "auto_map": {"AutoConfig": "code.Config"}},
        {"num_attention_heads": 5},
        {"id2label": {"0": "A", "1": "B"}},
    ],
)
def test_a_config_that_makes_no_model(broken: Path, values: dict[str, Any]) -> None:
    (broken / "code.py").write_text("raise SystemExit('code of a checkpoint was run')")
    edit_config(broken, **values)
    check_refused(broken, f"transformers cannot build a model from {broken}/config.json")
