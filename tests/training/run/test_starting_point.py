"""Checkpoints with fewer layers, of encoders that keep their layers in different places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from provence_rag import CheckpointError, InvalidInputError, ProvenceConfig
from provence_rag.modeling.model import ProvenceModel
from provence_training.run.starting_point import keep_layers_of

IDS = torch.tensor([[0, 7, 8, 9, 2, 2, 10, 11, 12, 2]])
FAMILIES = ("xlm_roberta", "distilbert", "modernbert")


@pytest.fixture
def checkpoint(
    request: pytest.FixtureRequest,
    unigram: Tokenizer,
    family_config: Callable[[str], PretrainedConfig],
    tmp_path: Path,
) -> Path:
    config = family_config(request.param)
    config.update({"num_labels": 1, "initializer_range": 0.2})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = AutoModelForSequenceClassification.from_config(config)
        model = ProvenceModel(transformer, ProvenceConfig(max_length=64))
    model.save_pretrained(tmp_path / "whole")
    unigram.save(str(tmp_path / "whole" / "tokenizer.json"))
    return tmp_path / "whole"


@pytest.mark.parametrize("checkpoint", FAMILIES, indirect=True)
def test_layers_and_heads_stay_as_they_were(checkpoint: Path, tmp_path: Path) -> None:
    kept = keep_layers_of(checkpoint, "0,3", tmp_path / "cut")
    assert kept == tmp_path / "cut"
    whole, cut = (ProvenceModel.from_pretrained(directory) for directory in (checkpoint, kept))
    layers = [m for m in whole.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 4]
    (stack,) = layers
    for index in (1, 2):  # layers that are left out pass on their input
        stack[index].register_forward_hook(_pass_on)
    with torch.inference_mode():
        for one, other in zip(*(m(IDS, torch.ones_like(IDS)) for m in (whole, cut)), strict=True):
            torch.testing.assert_close(one, other)
    # A run that continues finds it complete.
    before = (kept / "model.safetensors").stat().st_mtime_ns
    keep_layers_of(checkpoint, "0,3", kept)
    assert (kept / "model.safetensors").stat().st_mtime_ns == before


def _pass_on(_layer: Any, inputs: Any, output: Any) -> Any:
    return (inputs[0], *output[1:]) if isinstance(output, tuple) else inputs[0]


@pytest.mark.parametrize("checkpoint", ["modernbert"], indirect=True)
def test_layers_that_cannot_go(checkpoint: Path, tmp_path: Path) -> None:
    message = "ModernBertForSequenceClassification cannot do without the layers left out"
    with pytest.raises(CheckpointError, match=message):  # the first one has no normalisation before it
        keep_layers_of(checkpoint, "1,2", tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    with pytest.raises(InvalidInputError, match="ascending numbers below 4; got '0,4'"):
        keep_layers_of(checkpoint, "0,4", tmp_path / "cut")
