"""Plain rerankers: stock sequence classifiers with one label, and those that are none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    ModernBertConfig,
    XLMRobertaConfig,
)

from provence_rag import CheckpointError, Provence
from provence_rag.modeling.checkpoints import read_checkpoint

PAIRS = [
    ("who invented coffee", "The paper filter is of 1908."),
    ("water", "Coffee."),
    ("who", "Tea is water."),
]
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_labels": 1,
}
# Their class, where a tokenizer of their kind comes from, and what their config.json has besides.
RERANKERS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "ms-marco-MiniLM": (
        BertConfig,
        "provence",
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity", "type_vocab_size": 2},
    ),
    "bge-reranker-v2-m3": (
        XLMRobertaConfig,
        "xprovence",
        {"max_position_embeddings": 8194, "type_vocab_size": 1},
    ),
    "mxbai-rerank": (
        DebertaV2Config,
        "provence",
        {
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "gte-reranker-modernbert": (
        ModernBertConfig,
        "open-provence-gte",
        {
            "classifier_pooling": "mean",
            "local_attention": 8,
            **dict.fromkeys(("bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id"), 260),
        },
    ),
}


@pytest.fixture(scope="session")
def reranker(miniature: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A small random reranker of a kind."""

    @cache
    def make(name: str) -> Path:
        directory = Path(tmp_path_factory.mktemp(name))
        config_class, family, values = RERANKERS[name]
        mini = miniature(family)
        pad = mini.tokenizer.token_to_id("<pad>" if family == "xprovence" else "[PAD]")
        config = config_class(**SIZES, **values, pad_token_id=pad, vocab_size=mini.tokenizer.get_vocab_size())
        with torch.random.fork_rng():
            torch.manual_seed(5)
            model = AutoModelForSequenceClassification.from_config(config)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        model.save_pretrained(directory)
        mini.tokenizer.save(str(directory / "tokenizer.json"))
        settings = json.loads((mini.directory / "tokenizer_config.json").read_text())
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
        types = ["token_type_ids"] * (config_class is BertConfig)
        settings["model_input_names"] = ["input_ids", "attention_mask", *types]
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
        return directory

    return make


@pytest.mark.parametrize("name", RERANKERS)
def test_scores_are_those_of_a_stock_cross_encoder(reranker: Any, name: str) -> None:
    model = Provence.from_pretrained(reranker(name), backend="torch", device="cpu")
    assert read_checkpoint(reranker(name)).family == "transformers"
    assert (model.config.mode, model.config.max_length) == ("ranking", 512)
    assert model.config.score_activation == ("identity" if name == "ms-marco-MiniLM" else "sigmoid")
    expected = CrossEncoder(str(reranker(name)), device="cpu").predict(PAIRS)
    assert expected.std() > 0.01
    np.testing.assert_allclose(model.predict(PAIRS), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", RERANKERS)
def test_pickled_weights(reranker: Any, tmp_path: Path, name: str) -> None:
    directory = Path(shutil.copytree(reranker(name), tmp_path / "copy"))
    expected = Provence.from_pretrained(directory, backend="torch", device="cpu").predict(PAIRS)
    stock = AutoModelForSequenceClassification.from_pretrained(directory)
    torch.save(stock.state_dict(), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    found = Provence.from_pretrained(directory, backend="torch", device="cpu").predict(PAIRS)
    np.testing.assert_array_equal(found, expected)


def edit(directory: Path, **values: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_an_architecture_that_comes_as_code_is_refused(reranker: Any, tmp_path: Path) -> None:
    """As jina-reranker-v1-tiny-en: it calls itself bert, but has positions of another kind."""
    directory = Path(shutil.copytree(reranker("ms-marco-MiniLM"), tmp_path / "copy"))
    code = {"AutoModelForSequenceClassification": "modeling_bert.JinaBertForSequenceClassification"}
    edit(directory, architectures=["JinaBertForSequenceClassification"], auto_map=code)
    with pytest.raises(CheckpointError) as raised:
        Provence.from_pretrained(directory, backend="torch", device="cpu")
    assert str(raised.value) == (
        f"{directory}/config.json names the architecture JinaBertForSequenceClassification, but transformers "
        "builds a BertForSequenceClassification from it: code of a checkpoint is never run"
    )


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"architectures": ["Qwen2ForCausalLM"]}, "architecture Qwen2ForCausalLM and 1 labels"),
        (
            {"id2label": {"0": "A", "1": "B", "2": "C"}},
            "architecture BertForSequenceClassification and 3 labels",
        ),
        ({"architectures": None}, "architecture unknown and 1 labels"),
    ],
)
def test_what_is_no_reranker_is_refused(reranker: Any, tmp_path: Path, values: Any, found: str) -> None:
    directory = Path(shutil.copytree(reranker("ms-marco-MiniLM"), tmp_path / "copy"))
    edit(directory, id2label={"0": "LABEL_0"})
    edit(directory, **values)
    with pytest.raises(CheckpointError, match=f"is neither a Provence checkpoint nor a reranker.*{found}$"):
        Provence.from_pretrained(directory, backend="torch", device="cpu")
