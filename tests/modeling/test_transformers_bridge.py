"""Transformers that something else has loaded: Provence.from_transformer and attach_pruning_head."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from provence_rag import CheckpointError, InvalidInputError, Provence, ProvenceConfig, attach_pruning_head

QUERY = "who sat on the mat"
DOCUMENTS = ["the old cat sat on the mat . rain is cold .", "tea is hot . the dog sat . " * 20]


def loaded(directory: Path) -> Any:
    """What transformers makes of a checkpoint."""
    mode = json.loads((directory / "config.json").read_text())["provence"]["mode"]
    auto: Any = AutoModelForTokenClassification if mode == "pruning" else AutoModelForSequenceClassification
    return auto.from_pretrained(directory)


def results(model: Provence) -> list[dict[str, Any]]:
    return [passage.to_dict() for passage in model.process(QUERY, DOCUMENTS)]


def assert_same(ours: Provence, theirs: Provence) -> None:
    assert ours.config == theirs.config
    for passage, expected in zip(results(ours), results(theirs), strict=True):
        assert passage["text"] == expected["text"]
        for name in ("score", "logit"):
            assert passage[name] == pytest.approx(expected[name], abs=1e-5)
        for sentence, other in zip(passage["sentences"], expected["sentences"], strict=True):
            assert sentence == {**other, "score": pytest.approx(other["score"], abs=1e-5)}


def test_it_is_the_checkpoint(checkpoint: Any, encoder: str, mode: str) -> None:
    directory = checkpoint(encoder, mode)
    transformer = loaded(directory)
    if mode == "joint":
        attach_pruning_head(transformer, directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = Provence.from_transformer(transformer, tokenizer)
    assert_same(model, Provence.from_pretrained(directory, backend="torch", device="cpu"))
    assert repr(model) == "Provence(backend='torch', device='cpu')"


def test_the_weights_are_shared_and_the_tokenizer_is_not(checkpoint: Any) -> None:
    directory = checkpoint("bert", "joint")
    transformer = loaded(directory)
    attach_pruning_head(transformer, directory)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=9)
    model = Provence.from_transformer(transformer, tokenizer)
    before = results(model)
    transformer.train()
    assert results(model) == before
    with torch.no_grad():
        transformer.pruning_head.bias.copy_(torch.tensor([50.0, -50.0]))
        transformer.classifier.bias.add_(1.0)
    passages = model.process(QUERY, DOCUMENTS)
    assert [passage.text for passage in passages] == ["", ""]
    assert passages[0].logit == pytest.approx(before[0]["logit"] + 1.0)
    transformer.bfloat16()
    assert model.predict((QUERY, DOCUMENTS[0])) == pytest.approx(passages[0].score, abs=0.02)
    transformer.to("meta")
    assert model.backend.device == "meta"
    assert tokenizer.truncation["max_length"] == 9


def test_a_config_and_a_chunker_of_one_s_own(checkpoint: Any) -> None:
    directory = checkpoint("bert", "joint")
    transformer = loaded(directory)
    attach_pruning_head(transformer, directory)
    config = ProvenceConfig(mode="ranking", max_length=32, score_activation="identity")
    model = Provence.from_transformer(
        transformer, AutoTokenizer.from_pretrained(directory), config=config, chunker=lambda text: [text]
    )
    assert model.config is config
    (passage,) = model.process(QUERY, DOCUMENTS[:1])
    assert passage.score == passage.logit
    assert len(passage.sentences) == 1


def test_two_models_may_share_a_transformer(checkpoint: Any) -> None:
    directory = checkpoint("bert", "joint")
    transformer = loaded(directory)
    attach_pruning_head(transformer, directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    first, second = (Provence.from_transformer(transformer, tokenizer) for _ in range(2))
    assert results(first) == results(second)
    assert len(transformer.base_model._forward_hooks) == 1


def test_the_head_is_as_the_transformer_is(checkpoint: Any) -> None:
    directory = checkpoint("bert", "joint")
    transformer = loaded(directory).bfloat16()
    attach_pruning_head(transformer, directory)
    assert transformer.pruning_head.weight.dtype == torch.bfloat16
    transformer.float()
    assert transformer.pruning_head.weight.dtype == torch.float32


def test_the_head_is_saved_with_the_transformer(checkpoint: Any, tmp_path: Path, encoder: str) -> None:
    directory = checkpoint(encoder, "joint")
    transformer = loaded(directory)
    attach_pruning_head(transformer, directory)
    transformer.save_pretrained(tmp_path)
    shutil.copy(directory / "tokenizer.json", tmp_path)
    assert_same(
        Provence.from_pretrained(tmp_path, device="cpu"), Provence.from_pretrained(directory, device="cpu")
    )


def test_a_head_from_the_hub(checkpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def snapshot_download(name: str, **settings: Any) -> str:
        seen.append({"name": name, **settings})
        return str(checkpoint("bert", "joint"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    transformer = loaded(checkpoint("bert", "joint"))
    attach_pruning_head(transformer, "owner/name", revision="v1", cache_folder="cache", token="secret")
    (settings,) = seen
    assert not [pattern for pattern in settings.pop("allow_patterns") if "onnx" in pattern]
    assert settings == {
        "name": "owner/name",
        "revision": "v1",
        "cache_dir": "cache",
        "local_files_only": False,
        "token": "secret",
    }


def test_what_has_no_pruning_head(checkpoint: Any, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(checkpoint("bert", "joint"), tmp_path / "headless"))
    transformer, tokenizer = loaded(directory), AutoTokenizer.from_pretrained(directory)
    message = "the transformer has no pruning head: see provence_rag.attach_pruning_head"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        Provence.from_transformer(transformer, tokenizer)
    tensors = {name: tensor.clone() for name, tensor in load_file(directory / "model.safetensors").items()}
    headless = {name: tensor for name, tensor in tensors.items() if not name.startswith("pruning_head.")}
    for wrong, message in (
        (
            headless,
            f"the weights in {directory} have no pruning head: the class that saved them leaves",
        ),
        ({**tensors, "pruning_head.bias": torch.zeros(3)}, f"the pruning head in {directory} does not fit: "),
    ):
        save_file(wrong, directory / "model.safetensors")
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}"):
            attach_pruning_head(transformer, directory)


def test_what_is_no_transformer_of_a_known_kind(checkpoint: Any) -> None:
    directory = checkpoint("bert", "ranking")
    transformer, tokenizer = loaded(directory), AutoTokenizer.from_pretrained(directory)
    with pytest.raises(
        InvalidInputError, match=r"tokenizer must be a tokenizers.Tokenizer or based on one, got"
    ):
        Provence.from_transformer(transformer, "bert")
    with pytest.raises(InvalidInputError, match="transformer must be a model of transformers, got str"):
        Provence.from_transformer("bert", tokenizer)
    with pytest.raises(InvalidInputError, match="must have 2 label"):
        Provence.from_transformer(transformer, tokenizer, config=ProvenceConfig(mode="pruning"))
    with pytest.raises(InvalidInputError, match="transformer must be a model of transformers in torch, got"):
        Provence.from_transformer(SimpleNamespace(config=transformer.config), tokenizer)
    del transformer.config.provence
    transformer.config.num_labels = 3
    with pytest.raises(CheckpointError, match=r"^BertForSequenceClassification is neither a Provence"):
        Provence.from_transformer(transformer, tokenizer)
