"""Checkpoint directories, through the public names."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from provence_rag import CheckpointError, InvalidInputError, Provence
from provence_rag.testing import fake_provence

OTHERS = [
    "Penguins swim. " * 40,
    "東京は日本の首都です。" * 30,
    "ice " * 200,
    "Fish.\n\nPenguins on ice. A fish.",
]


def test_a_checkpoint_directory(checkpoint: Path) -> None:
    model = Provence.from_pretrained(checkpoint)
    assert repr(model) == f"Provence({str(checkpoint)!r}, backend='onnx', device='cpu')"
    assert model.config.max_length == 64
    (passage,) = model.process("fox", ["The fox. The cat."])
    ids = [
        Tokenizer.from_file(str(checkpoint / "tokenizer.json")).encode(text, add_special_tokens=False).ids
        for text in ("The fox.", "The cat.")
    ]
    even, odd = 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(1.0))
    expected = [float(np.mean([odd if i % 2 else even for i in sentence])) for sentence in ids]
    assert [sentence.score for sentence in passage.sentences] == pytest.approx(expected)
    assert passage.score == pytest.approx(1 / (1 + np.exp(-(passage.logit or 0.0))))
    assert Provence.from_pretrained(str(checkpoint), max_length=128, backend="onnx").config.max_length == 128
    chunked = Provence.from_pretrained(checkpoint, chunker=lambda text: [text])
    assert len(chunked.process("fox", ["The fox. The cat."])[0].sentences) == 1


def test_loading_needs_no_torch(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "transformers", "safetensors"):
        monkeypatch.setitem(sys.modules, name, None)
    assert Provence.from_pretrained(checkpoint).backend.name == "onnx"


def test_a_saved_checkpoint_is_the_same(checkpoint: Path, tmp_path: Path) -> None:
    model = Provence.from_pretrained(checkpoint, max_length=32)
    model.save_pretrained(tmp_path / "copy")
    loaded = Provence.from_pretrained(tmp_path / "copy")
    assert loaded.config == model.config
    assert loaded.process("fox", OTHERS) == model.process("fox", OTHERS)
    assert json.loads((checkpoint / "config.json").read_text())["provence"]["max_length"] == 64


def test_saving_where_it_cannot_be_saved(checkpoint: Path, tmp_path: Path) -> None:
    model = Provence.from_pretrained(checkpoint)
    for directory in (checkpoint, checkpoint / "onnx" / ".." / "copy"):
        message = f"directory={str(directory)!r} is where this checkpoint already is"
        with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
            model.save_pretrained(directory)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match=re.escape(f"directory={str(tmp_path / 'file')!r} is a file")):
        model.save_pretrained(tmp_path / "file")
    with pytest.raises(
        CheckpointError, match=r"^this model was not loaded from a checkpoint: there is nothing"
    ):
        fake_provence().save_pretrained(tmp_path / "copy")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", "{checkpoint} is not a checkpoint: it has no config.json"),
        ("tokenizer.json", "{checkpoint} has no tokenizer.json"),
        ("onnx", "{checkpoint} has no onnx/model_int8.onnx or onnx/model.onnx: export it"),
    ],
)
def test_a_checkpoint_without_a_file(checkpoint: Path, file: str, message: str) -> None:
    path = checkpoint / file
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(CheckpointError, match=re.escape(message.format(checkpoint=checkpoint))):
        Provence.from_pretrained(checkpoint, backend="onnx")


def test_a_truncated_tokenizer(checkpoint: Path) -> None:
    path = checkpoint / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=re.escape(f"{path} is not a tokenizer: ")):
        Provence.from_pretrained(checkpoint)


def test_an_export_of_another_kind(checkpoint: Path, save_onnx: Callable[..., None]) -> None:
    save_onnx(checkpoint / "onnx" / "model.onnx", ranking="logits")
    model = Provence.from_pretrained(checkpoint)
    with pytest.raises(CheckpointError, match="mode is 'joint', but its onnx model has no pruning logits"):
        model.process("fox", ["The fox."])


def test_a_stock_reranker_runs_without_torch(checkpoint: Path, save_onnx: Callable[..., None]) -> None:
    values = json.loads((checkpoint / "config.json").read_text())
    del values["provence"]
    (checkpoint / "config.json").write_text(json.dumps({**values, "id2label": {"0": "LABEL_0"}}))
    save_onnx(checkpoint / "onnx" / "model.onnx", ranking="logits")
    model = Provence.from_pretrained(checkpoint)
    assert model.config.mode == "ranking"
    (passage,) = model.process("fox", ["The fox."])
    assert passage.score == pytest.approx(1 / (1 + np.exp(-(passage.logit or 0.0))))
    assert passage.text == "The fox."


def test_a_window_that_is_longer_than_the_positions(checkpoint: Path) -> None:
    with pytest.raises(
        InvalidInputError,
        match=r"^max_length=513 is more than the 512 positions of this checkpoint's encoder",
    ):
        Provence.from_pretrained(checkpoint, max_length=513)
