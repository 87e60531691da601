"""Tiny models of stock architectures with random weights, and tokenizers for them."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    DebertaV2Config,
    ModernBertConfig,
    PreTrainedConfig,
    XLMRobertaConfig,
)

from provence_rag.config import ProvenceConfig
from provence_rag.modeling.export import export_onnx
from provence_rag.modeling.model import ProvenceModel

Batch = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
MakeModel = Callable[[str, str], ProvenceModel]
MakeBatch = Callable[..., Batch]
Checkpoint = Callable[[str, str], Path]
Exported = Callable[[str, str], Path]

ENCODERS = ("bert", "xlm_roberta", "deberta_v2", "modernbert")
MODES = ("joint", "ranking", "pruning")
TEXT = "the a cat dog sat on mat who what where old red house of rain and tea is hot cold ."
WORDS = TEXT.split()

_SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
}


@cache
def _hf_config(encoder: str) -> PreTrainedConfig:
    if encoder == "bert":
        return BertConfig(**_SIZES, pad_token_id=0)
    if encoder == "xlm_roberta":
        return XLMRobertaConfig(**_SIZES, type_vocab_size=1, bos_token_id=0, pad_token_id=1, eos_token_id=2)
    if encoder == "deberta_v2":  # as deberta-v3 is set up
        return DebertaV2Config(
            **_SIZES,
            pad_token_id=0,
            type_vocab_size=0,
            relative_attention=True,
            position_buckets=8,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
        )
    return ModernBertConfig(
        **_SIZES,
        pad_token_id=0,
        bos_token_id=1,
        cls_token_id=1,
        eos_token_id=2,
        sep_token_id=2,
        local_attention=8,
        global_attn_every_n_layers=2,  # one layer looks everywhere, one nearby
    )


def _tokenizer(encoder: str) -> tuple[Tokenizer, dict[str, Any]]:
    """A word tokenizer with the encoder's pair template, and its `tokenizer_config.json`."""
    if encoder == "xlm_roberta":
        specials = ["<s>", "<pad>", "</s>", "<unk>"]
        template = ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
        inputs = ["input_ids", "attention_mask"]
    else:
        specials = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
        template = ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
        inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (encoder == "bert")
    first, pad, last, unknown = specials
    ids = [1, 0, 2, 3] if encoder != "xlm_roberta" else [0, 1, 2, 3]
    vocabulary = {**dict(zip(specials, ids, strict=True)), **{word: 4 + i for i, word in enumerate(WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(specials)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template[0],
        pair=template[1],
        special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
    )
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # read tokenizer.json as it is
        "model_max_length": 64,
        "model_input_names": inputs,
        "cls_token": first,
        "sep_token": last,
        "pad_token": pad,
        "unk_token": unknown,
    }
    return tokenizer, settings


@cache
def _model(encoder: str, mode: str) -> ProvenceModel:
    config = copy.deepcopy(_hf_config(encoder))
    if mode == "pruning":
        auto = AutoModelForTokenClassification
        config.id2label, config.label2id = {0: "DROP", 1: "KEEP"}, {"DROP": 0, "KEEP": 1}
    else:
        auto = AutoModelForSequenceClassification
        config.num_labels = 1
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = ProvenceModel(auto.from_config(config), ProvenceConfig(mode=mode, max_length=64))
        with torch.no_grad():
            for parameter in model.parameters():
                # Fresh weights are so small that a wrong mask would not show in the logits.
                parameter.add_(torch.randn_like(parameter) * (0.25 if parameter.ndim > 1 else 0.1))
    return model.eval()


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn."""
    return str(request.param)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Each mode in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """A model of an architecture and a mode: always the same weights, always a copy of its own."""
    return lambda encoder, mode: copy.deepcopy(_model(encoder, mode))


@pytest.fixture(scope="session")
def make_batch() -> MakeBatch:
    """Random rows of falling length: input ids, attention mask and token types, shape (B, T)."""

    def make(encoder: str, rows: int = 3, tokens: int = 20) -> Batch:
        rng = np.random.default_rng(rows * 100 + tokens)
        lengths = np.maximum(tokens - 5 * np.arange(rows), 1)
        mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
        pad = _hf_config(encoder).pad_token_id
        ids = np.where(mask == 1, rng.integers(4, _SIZES["vocab_size"], mask.shape), pad)
        types = ((np.arange(tokens) >= tokens // 3) & (mask == 1)).astype(np.int64)
        return ids, mask, types if encoder == "bert" else np.zeros_like(types)

    return make


@pytest.fixture(scope="session")
def sample(make_batch: MakeBatch) -> Callable[[str], list[dict[str, NDArray[np.int64]]]]:
    """Random windows of 4 to 60 tokens to find ranges on, one a batch."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    return lambda encoder: [
        dict(zip(names, make_batch(encoder, 1, tokens), strict=True)) for tokens in range(4, 61, 2)
    ]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A saved model with its tokenizer. Tests that change files copy the directory."""

    @cache
    def save(encoder: str, mode: str) -> Path:
        directory = tmp_path_factory.mktemp(f"{encoder}-{mode}")
        _model(encoder, mode).save_pretrained(directory)
        tokenizer, settings = _tokenizer(encoder)
        tokenizer.save(str(directory / "tokenizer.json"))
        (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        return directory

    return save


@pytest.fixture
def broken(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """A joint checkpoint to be damaged."""
    return Path(shutil.copytree(checkpoint("bert", "joint"), tmp_path / "broken"))


@pytest.fixture(scope="session")
def exported(make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A float32 ONNX export for each encoder and mode; made once."""

    @cache
    def export(encoder: str, mode: str) -> Path:
        path = tmp_path_factory.mktemp("onnx") / f"{encoder}-{mode}.onnx"
        export_onnx(make_model(encoder, mode), path)
        return path

    return export
