"""Miniatures of published checkpoints: their config keys, tensor names and kinds of tokenizer.

The keys of each family's `config.json` and the names of its tensors follow the sources in
docs/checkpoints.md; the sizes are small and the weights random. All are built from stock classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    DebertaV2Config,
    DebertaV2Model,
    ModernBertConfig,
    ModernBertModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

FAMILIES = ("provence", "xprovence", "open-provence-ja", "open-provence-gte", "zilliz")

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'-：。、\n"
KANJI = "日本茶東京首都緑煎湯度分蒸葉湿気光避保存味噌大豆作コーヒー紙のはをでいれるすかられたにとがなまもこ"
WORDS = ("the", "filter", "coffee", "paper", "water", "who", "invented", "is", "a", "of")
HIDDEN = 32


@dataclass(frozen=True)
class Miniature:
    """A checkpoint directory and what it was made of."""

    directory: Path

    encoder: nn.Module
    """The stock encoder, in evaluation mode."""

    heads: dict[str, Tensor]
    """The other tensors, under the names in the file."""

    tokenizer: Tokenizer


def _pieces(specials: list[str]) -> list[tuple[str, float]]:
    singles = [(piece, -8.0) for piece in ["▁", *dict.fromkeys(LETTERS + KANJI)]]
    words = [(f"{mark}{word}", -5.0 - len(mark)) for word in WORDS for mark in ("▁", "")]
    # Without duplicates: some versions count pieces, others ids.
    return list({**dict.fromkeys(specials, 0.0), **dict(singles), **dict(words)}.items())


def _sentencepiece(specials: list[str], unknown: str, *, prefix: str) -> Tokenizer:
    """Unigram pieces with a mark for spaces, as DeBERTa-v3, XLM-R and Llama-style tokenizers have."""
    tokenizer = Tokenizer(models.Unigram(_pieces(specials), unk_id=specials.index(unknown)))
    if prefix == "always":
        # Line breaks become spaces, and runs of spaces one, as in sentencepiece's nmt_nfkc.
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Replace("\n", " "), normalizers.Strip()]
        )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=prefix)
    tokenizer.add_special_tokens(specials)
    return tokenizer


def _with_template(tokenizer: Tokenizer, single: str, pair: str) -> Tokenizer:
    names = {piece.partition(":")[0] for piece in f"{single} {pair}".split()} - {"$A", "$B"}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(name, tokenizer.token_to_id(name)) for name in names]
    )
    return tokenizer


def _deberta_tokenizer() -> tuple[Tokenizer, dict[str, Any]]:
    tokenizer = _sentencepiece(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "[UNK]", prefix="always")
    tokenizer.add_special_tokens(["[MASK]"])
    settings = {
        "tokenizer_class": "DebertaV2Tokenizer",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "do_lower_case": False,
        "model_max_length": 1000000000000000019884624838656,
    }
    return _with_template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"), settings


def _xlmr_tokenizer() -> tuple[Tokenizer, dict[str, Any]]:
    tokenizer = _sentencepiece(["<s>", "<pad>", "</s>", "<unk>"], "<unk>", prefix="always")
    settings = {
        "tokenizer_class": "XLMRobertaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "cls_token": "<s>",
        "sep_token": {"__type": "AddedToken", "content": "</s>"},
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "model_max_length": 8192,
    }
    return _with_template(tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>"), settings


def _llama_tokenizer() -> tuple[Tokenizer, dict[str, Any]]:
    specials = ["<unk>", "<s>", "</s>", "<pad>", "<sep>", "<mask>", "<cls>"]
    tokenizer = _sentencepiece(specials, "<unk>", prefix="never")
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": True,
        "add_prefix_space": False,
        "legacy": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "sep_token": "<sep>",
        "cls_token": "<cls>",
        "mask_token": "<mask>",
        "model_max_length": 8192,
    }
    # The file's own pair is another one than the class's, so that a test sees which is taken.
    return _with_template(tokenizer, "<s> $A </s>", "<s> $A </s> $B </s>"), settings


def _bytes_tokenizer() -> tuple[Tokenizer, dict[str, Any]]:
    specials = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "he", "Ġthe"]
    vocabulary = {piece: number for number, piece in enumerate([*alphabet, *specials])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "t"), ("h", "e"), ("Ġt", "he")]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
        "model_max_length": 8192,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    return _with_template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]"), settings


def _encoder(cls: Any, config: Any) -> nn.Module:
    """Random weights, larger than fresh ones, so that a wrong layout shows in the logits."""
    encoder: nn.Module = cls(config)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.ndim > 1 else 0.1))
    return encoder.eval()


def _linear(name: str, rows: int, *, bias: bool = True) -> dict[str, Tensor]:
    tensors = {f"{name}.weight": torch.randn(rows, HIDDEN) * 0.5}
    return {**tensors, f"{name}.bias": torch.randn(rows) * 0.3} if bias else tensors


def _modernbert_settings(vocab_size: int, **values: Any) -> dict[str, Any]:
    """A dump of a config as transformers 4.5x writes it, with the keys that differ from today's."""
    return {
        "model_type": "modernbert",
        "architectures": ["ModernBertForSequenceClassification"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "classifier_activation": "gelu",
        "classifier_bias": False,
        "classifier_dropout": 0.0,
        "decoder_bias": True,
        "deterministic_flash_attn": False,
        "embedding_dropout": 0.0,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "gradient_checkpointing": False,
        "hidden_activation": "gelu",
        "hidden_size": HIDDEN,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "initializer_cutoff_factor": 2.0,
        "initializer_range": 0.02,
        "intermediate_size": 48,
        "layer_norm_eps": 1e-05,
        "local_attention": 8,
        "local_rope_theta": 10000.0,
        "max_length": 20,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "mlp_dropout": 0.0,
        "norm_bias": False,
        "norm_eps": 1e-05,
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "position_embedding_type": "rope",
        "reference_compile": None,
        "repad_logits_with_grad": False,
        "sparse_pred_ignore_index": -100,
        "sparse_prediction": False,
        "torch_dtype": "float32",
        "transformers_version": "4.57.1",
        "vocab_size": vocab_size,
        **values,
    }


def _open_provence_settings(base: dict[str, Any], **values: Any) -> dict[str, Any]:
    """What OpenProvence's exporter writes around the dump of the backbone."""
    module = "modeling_open_provence_standalone"
    return {
        "architectures": ["OpenProvenceForSequenceClassification"],
        "auto_map": {
            "AutoConfig": f"{module}.OpenProvenceConfig",
            "AutoModel": f"{module}.OpenProvenceForSequenceClassification",
        },
        "base_model_config": base,
        "base_model_name_or_path": "somebody/some-reranker",
        "encoder_architecture": base["model_type"],
        "hidden_size": HIDDEN,
        "id2label": {"0": "LABEL_0"},
        "max_length": 512,
        "mode": "reranking_pruning",
        "model_type": "open_provence",
        "num_pruning_labels": 2,
        "pruning_config": {
            "classifier_dropout": 0.0,
            "hidden_size": HIDDEN,
            "max_length": 20,
            "model_type": "open_provence_head",
            "num_labels": 2,
            "sentence_pooling": "mean",
            "transformers_version": "4.57.1",
            "use_weighted_pooling": False,
        },
        "tokenizer_name_or_path": None,
        "transformers_version": "4.57.1",
        "vocab_size": base["vocab_size"],
        **values,
    }


def _known(cls: Any, settings: dict[str, Any]) -> Any:
    return cls(
        **{key: value for key, value in settings.items() if key not in ("model_type", "architectures")}
    )


def _provence() -> tuple[dict[str, Any], nn.Module, dict[str, Tensor], str, Any]:
    tokenizer = _deberta_tokenizer()
    settings: dict[str, Any] = {
        "_name_or_path": "naver/provence-reranker-debertav3-v1",
        "architectures": ["Provence"],
        "attention_probs_dropout_prob": 0.1,
        "auto_map": {
            "AutoConfig": "modeling_provence.ProvenceConfig",
            "AutoModel": "modeling_provence.Provence",
        },
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": HIDDEN,
        "id2label": {"0": "LABEL_0"},
        "initializer_range": 0.02,
        "intermediate_size": 48,
        "label2id": {"LABEL_0": 0},
        "layer_norm_eps": 1e-07,
        "max_position_embeddings": 512,
        "max_relative_positions": -1,
        "model_type": "Provence",
        "norm_rel_ebd": "layer_norm",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "pooler_dropout": 0,
        "pooler_hidden_act": "gelu",
        "pooler_hidden_size": HIDDEN,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "position_buckets": 16,
        "relative_attention": True,
        "share_att_key": True,
        "torch_dtype": "float32",
        "transformers_version": "4.45.1",
        "type_vocab_size": 0,
        "vocab_size": tokenizer[0].get_vocab_size() + 9,
    }
    encoder = _encoder(DebertaV2Model, _known(DebertaV2Config, settings))
    heads = {**_linear("pooler.dense", HIDDEN), **_linear("classifier", 1), **_linear("token_classifier", 2)}
    return settings, encoder, heads, "deberta.", tokenizer


def _xlmr_settings(vocab_size: int) -> dict[str, Any]:
    return {
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "classifier_dropout": None,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": HIDDEN,
        "id2label": {"0": "LABEL_0"},
        "initializer_range": 0.02,
        "intermediate_size": 48,
        "label2id": {"LABEL_0": 0},
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 514,
        "model_type": "xlm-roberta",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "output_past": True,
        "pad_token_id": 1,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "transformers_version": "4.46.0",
        "type_vocab_size": 1,
        "use_cache": True,
        "vocab_size": vocab_size,
    }


def _xprovence() -> tuple[dict[str, Any], nn.Module, dict[str, Tensor], str, Any]:
    tokenizer = _xlmr_tokenizer()
    settings = {**_xlmr_settings(tokenizer[0].get_vocab_size()), "architectures": ["XProvence"]}
    encoder = _encoder(XLMRobertaModel, _known(XLMRobertaConfig, settings))  # with its pooler
    return (
        settings,
        encoder,
        {**_linear("classifier", 1), **_linear("token_classifier", 2)},
        "roberta.",
        tokenizer,
    )


def _open_provence(
    tokenizer: Any, **values: Any
) -> tuple[dict[str, Any], nn.Module, dict[str, Tensor], str, Any]:
    base = _modernbert_settings(tokenizer[0].get_vocab_size(), **values)
    encoder = _encoder(ModernBertModel, _known(ModernBertConfig, base))
    heads = {
        **_linear("ranking_model.head.dense", HIDDEN, bias=False),
        "ranking_model.head.norm.weight": 1 + torch.randn(HIDDEN) * 0.2,
        **_linear("ranking_model.classifier", 1),
        **_linear("pruning_head.classifier", 2),
    }
    return _open_provence_settings(base), encoder, heads, "ranking_model.model.", tokenizer


def _open_provence_ja() -> tuple[dict[str, Any], nn.Module, dict[str, Tensor], str, Any]:
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3, "sep_token_id": 4, "cls_token_id": 6}
    return _open_provence(_llama_tokenizer(), classifier_pooling="cls", **ids)


def _open_provence_gte() -> tuple[dict[str, Any], nn.Module, dict[str, Tensor], str, Any]:
    tokenizer = _bytes_tokenizer()
    roles = {"bos": "[CLS]", "cls": "[CLS]", "eos": "[SEP]", "sep": "[SEP]", "pad": "[PAD]"}
    ids = {f"{role}_token_id": tokenizer[0].token_to_id(token) for role, token in roles.items()}
    return _open_provence(tokenizer, classifier_pooling="mean", **ids)


def _zilliz() -> tuple[dict[str, Any], nn.Module, dict[str, Tensor], str, Any]:
    tokenizer = _xlmr_tokenizer()
    base = _xlmr_settings(tokenizer[0].get_vocab_size())
    base["architectures"] = ["XLMRobertaForSequenceClassification"]
    encoder = _encoder(
        lambda config: XLMRobertaModel(config, add_pooling_layer=False), _known(XLMRobertaConfig, base)
    )
    heads = {
        **_linear("ranking_model.classifier.dense", HIDDEN),
        **_linear("ranking_model.classifier.out_proj", 1),
        **_linear("pruning_head.classifier", 2),
    }
    settings = _open_provence_settings(base, max_length=8192, default_threadshold=0.5)
    return settings, encoder, heads, "ranking_model.roberta.", tokenizer


_MAKERS: dict[str, Callable[[], Any]] = {
    "provence": _provence,
    "xprovence": _xprovence,
    "open-provence-ja": _open_provence_ja,
    "open-provence-gte": _open_provence_gte,
    "zilliz": _zilliz,
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each family in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Miniature]:
    """The miniature of a family. Tests that change files copy the directory."""

    @cache
    def make(family: str) -> Miniature:
        directory = tmp_path_factory.mktemp(family)
        with torch.random.fork_rng():
            torch.manual_seed(13)
            settings, encoder, heads, prefix, (tokenizer, tokenizer_settings) = _MAKERS[family]()
        stored = {f"{prefix}{name}": tensor for name, tensor in encoder.state_dict().items()}
        save_file({**stored, **heads}, directory / "model.safetensors", metadata={"format": "pt"})
        (directory / "config.json").write_text(json.dumps(settings), encoding="utf-8")
        (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer_settings), encoding="utf-8")
        tokenizer.save(str(directory / "tokenizer.json"))
        return Miniature(directory, encoder, heads, tokenizer)

    return make
