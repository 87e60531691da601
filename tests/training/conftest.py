"""A tiny tokenizer and tiny encoders to train with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    ModernBertConfig,
    PretrainedConfig,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.model import ProvenceModel

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
TEXT = "the cat dog sat on mat who what where tea is hot cold rain"
WORDS = TEXT.split()
PIECES = [
    *SPECIALS,
    *(f"▁{word}" for word in WORDS),
    *("ing", "er", "猫が", "いる"),
    *"▁abcdefghijklmnopqrstuvwxyz.?!。、犬猫がいるは",
    "<mask>",
]


@pytest.fixture
def unigram() -> Tokenizer:
    """A Unigram tokenizer as XLM-R has one: the mask after all other pieces, no token types."""
    scores = [(piece, 0.0 if piece in SPECIALS else -1.0 - 0.01 * i) for i, piece in enumerate(PIECES)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False) for piece in (*SPECIALS, "<mask>")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return tokenizer


@pytest.fixture
def tokenizer(unigram: Tokenizer) -> PairTokenizer:
    """The same, as the collator takes it."""
    return PairTokenizer(unigram)


@pytest.fixture
def typed_tokenizer(unigram: Tokenizer) -> PairTokenizer:
    """The same with BERT's template: one separator, and token types."""
    unigram.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PairTokenizer(unigram)


@pytest.fixture
def make_model() -> Callable[..., ProvenceModel]:
    """A fresh joint BERT; the same seed gives the same weights."""

    def make(seed: int = 0, **settings: Any) -> ProvenceModel:
        config = BertConfig(**{**_sizes(), "num_labels": 1, **settings})
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return ProvenceModel(BertForSequenceClassification(config), ProvenceConfig(max_length=64))

    return make


@pytest.fixture(params=["bert", "xlm_roberta"])
def encoder(request: pytest.FixtureRequest, unigram: Tokenizer, tmp_path: Path) -> Path:
    """The directory of an encoder without heads, with its tokenizer."""
    directory = tmp_path / "encoder"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if request.param == "bert":
            model: Any = BertModel(BertConfig(**_sizes()), add_pooling_layer=False)
        else:
            ids = {"bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
            model = XLMRobertaModel(XLMRobertaConfig(**_sizes(), **ids), add_pooling_layer=False)
    model.save_pretrained(directory)
    unigram.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 32,
        "model_input_names": ["input_ids", "attention_mask"],
        "pad_token": "<pad>",
        "added_tokens_decoder": {str(len(PIECES) - 1): {"content": "<mask>", "special": True}},
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return directory


@pytest.fixture
def joint(make_model: Callable[..., ProvenceModel], encoder: Path, tmp_path: Path) -> Path:
    """The directory of a joint checkpoint, which is a stock CrossEncoder."""
    directory = tmp_path / "joint"
    make_model(type_vocab_size=1).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).write_bytes((encoder / name).read_bytes())
    return directory


@pytest.fixture
def family_config(unigram: Tokenizer) -> Callable[[str], PretrainedConfig]:
    """Small configurations, of four layers, of architectures that keep their layers in different places."""

    def make(family: str) -> PretrainedConfig:
        sizes = {"vocab_size": unigram.get_vocab_size(), "pad_token_id": 1, "max_position_embeddings": 66}
        if family == "distilbert":
            return DistilBertConfig(**sizes, dim=32, n_layers=4, n_heads=4, hidden_dim=48)
        sizes |= {
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 48,
        }
        if family == "xlm_roberta":
            return XLMRobertaConfig(**sizes)
        ids = {"bos_token_id": 0, "cls_token_id": 0, "eos_token_id": 2, "sep_token_id": 2}
        return ModernBertConfig(**sizes, **ids, global_attn_every_n_layers=2, local_attention=4)

    return make


def _sizes() -> dict[str, Any]:
    return {
        "vocab_size": len(PIECES),
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "pad_token_id": 1,
        "initializer_range": 0.2,
    }
