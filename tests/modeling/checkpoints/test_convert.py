"""Exported checkpoints: they need no knowledge of the family, and give what the original gives."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from sentence_transformers import CrossEncoder
from transformers import AutoModelForTokenClassification, AutoTokenizer

from langchain_provence import ProvenceCompressor
from llama_index_provence import ProvencePostprocessor
from provence_rag import CheckpointError, InvalidInputError, Provence, PruningOptions
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling import Format, export
from provence_rag.modeling.calibration_sample import sample_batches
from provence_rag.modeling.checkpoints import families, read_checkpoint
from provence_rag.modeling.convert import convert
from provence_rag.modeling.quantization import quantize_onnx

QUERY = "who invented the paper filter of coffee"
DOCUMENTS = [
    "Coffee is a drink. The paper filter is of 1908! Who knows water?\nTea is not coffee. It cools.",
    "Water.",
    "緑茶は日本の茶。煎茶は80度の湯で分蒸らす。茶葉は湿気と光を避けて保存する。",
]


@pytest.fixture(scope="session")
def exported(miniature: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """A family's miniature, written in a format; made once."""

    @cache
    def write(family: str, to: Any) -> Path:
        directory = Path(tmp_path_factory.mktemp(f"{family}-{to}"))
        convert(miniature(family).directory, directory, to)
        return directory

    return write


def original(miniature: Any, family: str) -> Provence:
    return Provence.from_pretrained(miniature(family).directory, backend="torch", device="cpu")


def assert_same(one: Provence, other: Provence, tolerance: float) -> None:
    for threshold in (None, 0.1, 0.3, 0.5, 0.9):
        options = PruningOptions(threshold=threshold)
        pairs = zip(
            one.process(QUERY, DOCUMENTS, options=options),
            other.process(QUERY, DOCUMENTS, options=options),
            strict=True,
        )
        for mine, theirs in pairs:
            assert mine.logit == pytest.approx(theirs.logit, abs=tolerance)
            assert mine.score == pytest.approx(theirs.score, abs=tolerance)
            assert [s.score for s in mine.sentences] == pytest.approx(
                [s.score for s in theirs.sentences], abs=tolerance
            )
            assert mine.text == theirs.text


@pytest.mark.parametrize("to", ["safetensors", "onnx"])
def test_an_export_gives_the_same(miniature: Any, exported: Any, family: str, to: str) -> None:
    directory = exported(family, to)
    assert read_checkpoint(directory).family == "provence-rag"
    loaded = Provence.from_pretrained(directory)
    assert loaded.backend.name == ("onnx" if to == "onnx" else "torch")
    assert loaded.config == original(miniature, family).config
    assert_same(loaded, original(miniature, family), 2e-5 if to == "onnx" else 1e-6)


def test_an_export_needs_no_knowledge_of_the_family(
    exported: Any, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, onnx = exported(family, "safetensors"), exported(family, "onnx")
    monkeypatch.setattr(families, "_FAMILIES", ())
    Provence.from_pretrained(tensors)
    for name in ("torch", "transformers", "safetensors"):
        monkeypatch.setitem(sys.modules, name, None)
    Provence.from_pretrained(onnx).process(QUERY, DOCUMENTS)


def test_int8(miniature: Any, tmp_path: Path) -> None:
    convert(miniature("xprovence").directory, tmp_path, "onnx-int8")
    assert [path.name for path in (tmp_path / "onnx").iterdir()] == ["model_int8.onnx"]
    loaded, exact = Provence.from_pretrained(tmp_path), original(miniature, "xprovence")
    for mine, theirs in zip(loaded.process(QUERY, DOCUMENTS), exact.process(QUERY, DOCUMENTS), strict=True):
        assert mine.logit == pytest.approx(theirs.logit, abs=0.5)


@pytest.mark.parametrize("family", ["provence", "xprovence", "zilliz"])
def test_a_token_classifier(miniature: Any, exported: Any, family: str) -> None:
    directory = exported(family, "token-classification")
    loaded, whole = Provence.from_pretrained(directory), original(miniature, family)
    assert loaded.config.mode == "pruning"
    for mine, theirs in zip(loaded.process(QUERY, DOCUMENTS), whole.process(QUERY, DOCUMENTS), strict=True):
        assert mine.score is None
        assert mine.text == theirs.text
    stock = AutoModelForTokenClassification.from_pretrained(directory).eval()
    assert stock.config.id2label == {0: "DROP", 1: "KEEP"}
    batch = AutoTokenizer.from_pretrained(directory)(QUERY, "The paper filter.", return_tensors="pt")
    with torch.inference_mode():
        logits = stock(**batch).logits
    arrays = [batch[name].numpy() for name in ("input_ids", "attention_mask")]
    expected = whole.backend.run(*arrays, np.zeros_like(arrays[0])).pruning
    assert expected is not None
    np.testing.assert_allclose(logits.numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["open-provence-ja", "open-provence-gte"])
def test_modernbert_makes_no_token_classifier(miniature: Any, tmp_path: Path, family: str) -> None:
    message = "the pruning head cannot be written as a ModernBertForTokenClassification, "
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}"):
        convert(miniature(family).directory, tmp_path / "out", "token-classification")
    assert not (tmp_path / "out").exists()


def test_a_cross_encoder(miniature: Any, exported: Any, family: str) -> None:
    directory = exported(family, "cross-encoder")
    loaded, whole = Provence.from_pretrained(directory), original(miniature, family)
    assert loaded.config.mode == "ranking"
    # Texts of one sentence, without what a family would normalise: stock classes know no such rules.
    pairs = [(QUERY, "The paper filter."), ("water", "Coffee is a drink."), ("who", "80度の湯。")]
    ours, theirs = ([m.process(q, [d])[0].logit for q, d in pairs] for m in (loaded, whole))
    assert np.std(theirs) > 0.01
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    found = CrossEncoder(str(directory), device="cpu").predict(pairs)
    np.testing.assert_allclose(found, whole.predict(pairs), rtol=0, atol=1e-5)


def test_a_ranking_head_makes_no_token_classifier(exported: Any, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"^this checkpoint only ranks: a token classifier needs a pruning head"
    ):
        convert(exported("xprovence", "cross-encoder"), tmp_path, "token-classification")
    with pytest.raises(
        CheckpointError, match=r"^this checkpoint only prunes: a cross-encoder needs a ranking head"
    ):
        convert(exported("xprovence", "token-classification"), tmp_path, "cross-encoder")


def test_a_token_classifier_is_one_already(exported: Any, tmp_path: Path) -> None:
    first = exported("xprovence", "token-classification")
    convert(first, tmp_path, "token-classification")
    assert (tmp_path / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()


def test_both_adapters_take_them(miniature: Any, exported: Any, family: str) -> None:
    expected = original(miniature, family).process(QUERY, DOCUMENTS)
    for directory, backend in (
        (miniature(family).directory, "torch"),
        (exported(family, "onnx"), "onnx"),
    ):
        settings: Any = {"model": str(directory), "backend": backend, "rerank": False, "keep_empty": True}
        documents = ProvenceCompressor(**settings).compress_documents(
            [Document(text) for text in DOCUMENTS], QUERY
        )
        assert [d.page_content for d in documents] == [p.text for p in expected]
        nodes = ProvencePostprocessor(**settings).postprocess_nodes(
            [NodeWithScore(node=TextNode(text=text), score=0.5) for text in DOCUMENTS], QueryBundle(QUERY)
        )
        assert [node.text for node in nodes] == [p.text for p in expected]


def test_saving_a_loaded_checkpoint_writes_our_layout(miniature: Any, family: str, tmp_path: Path) -> None:
    model = Provence.from_pretrained(
        miniature(family).directory, backend="torch", device="cpu", max_length=128
    )
    model.save_pretrained(tmp_path / "saved")
    saved = Provence.from_pretrained(tmp_path / "saved")
    assert (saved.config, saved.config.max_length) == (model.config, 128)
    assert_same(saved, model, 1e-6)


def test_the_card_goes_along(miniature: Any, tmp_path: Path) -> None:
    source = Path(shutil.copytree(miniature("provence").directory, tmp_path / "source"))
    (source / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    (source / "modeling_provence.py").write_text("raise SystemExit")
    convert(source, tmp_path / "target")
    assert {path.name for path in (tmp_path / "target").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    config = json.loads((tmp_path / "target" / "config.json").read_text())
    assert config["architectures"] == ["DebertaV2ForSequenceClassification"]
    assert "auto_map" not in config


def test_several_formats_share_a_directory(miniature: Any, exported: Any, tmp_path: Path) -> None:
    shutil.copytree(exported("xprovence", "onnx"), tmp_path, dirs_exist_ok=True)
    convert(miniature("xprovence").directory, tmp_path, "safetensors")
    for backend in ("onnx", "torch"):
        loaded = Provence.from_pretrained(tmp_path, backend=backend)  # type: ignore[arg-type]
        assert_same(loaded, original(miniature, "xprovence"), 2e-5)


def test_what_is_in_the_way(miniature: Any, exported: Any, tmp_path: Path) -> None:
    source = miniature("xprovence").directory
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InvalidInputError, match=f"^{re.escape(f'directory={str(tmp_path)!r} is not empty')}"):
        convert(source, tmp_path)
    with pytest.raises(InvalidInputError, match=r"is a file$"):
        convert(source, tmp_path / "notes.txt")
    with pytest.raises(InvalidInputError, match=r"is not empty: choose a new one$"):
        convert(source, source)
    with pytest.raises(InvalidInputError, match=r"holds another checkpoint: choose a new one$"):
        convert(source, exported("provence", "safetensors"))
    known = ", ".join(get_args(Format))
    with pytest.raises(InvalidInputError, match=f"^to must be one of {known}, got 'gguf'$"):
        convert(source, tmp_path / "new", "gguf")  # type: ignore[arg-type]


def test_weights_that_are_too_large_for_one_file(
    miniature: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_LARGEST_FILE", 1000)
    convert(miniature("xprovence").directory, tmp_path, "onnx")
    assert {path.name for path in (tmp_path / "onnx").iterdir()} == {"model.onnx", "model.onnx.data"}
    assert_same(Provence.from_pretrained(tmp_path), original(miniature, "xprovence"), 2e-5)
    checkpoint = read_checkpoint(tmp_path)
    tokenizer = PairTokenizer.from_directory(tmp_path)
    sample = sample_batches(tokenizer, checkpoint.config)
    quantize_onnx(tmp_path / "onnx" / "model.onnx", tmp_path / "onnx" / "model_int8.onnx", sample)
    Provence.from_pretrained(tmp_path, dtype="int8").process(QUERY, DOCUMENTS)
