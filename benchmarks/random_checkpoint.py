"""A checkpoint in OpenProvence's layout with random weights: as fast as a trained one of its size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import ModernBertConfig, ModernBertForSequenceClassification

from provence_rag.hub import BUNDLED

__all__ = ["XSMALL", "write_random_checkpoint"]

XSMALL: dict[str, int] = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_attention_heads": 4,
    "num_hidden_layers": 10,
    "vocab_size": 102400,
}
"""Sizes of open-provence-reranker-xsmall-v1: 36.8 million parameters."""

_WRITTEN_WITH = "4.57.1"
"""The version of transformers that the published checkpoints come from."""


def write_random_checkpoint(directory: Path, **sizes: int) -> None:
    """Write config, weights and the bundled model's tokenizer, the same each time.

    Args:
        directory: Where to; it must exist.
        sizes: Arguments of `ModernBertConfig`, for example `XSMALL`.
    """
    settings = json.loads((BUNDLED / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name that transformers 4 knows it by
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    shutil.copy(BUNDLED / "tokenizer.json", directory)
    vocabulary = json.loads((BUNDLED / "tokenizer.json").read_text(encoding="utf-8"))
    ids = {token["content"]: token["id"] for token in vocabulary["added_tokens"]}
    roles = ("bos", "cls", "eos", "sep", "pad")
    base: dict[str, Any] = {
        "classifier_pooling": "cls",
        "num_labels": 1,
        **{f"{role}_token_id": ids[settings[f"{role}_token"]] for role in roles},
        **sizes,
    }
    torch.manual_seed(0)
    save_file(_tensors(ModernBertConfig(**base)), directory / "model.safetensors")
    base |= {
        "model_type": "modernbert",
        "architectures": ["ModernBertForSequenceClassification"],
        "transformers_version": _WRITTEN_WITH,
    }
    config = {
        "architectures": ["OpenProvenceForSequenceClassification"],
        "base_model_config": base,
        "encoder_architecture": "modernbert",
        "max_length": 512,
        "mode": "reranking_pruning",
        "model_type": "open_provence",
        "num_labels": 1,
        "num_pruning_labels": 2,
        "pruning_config": {"hidden_size": base["hidden_size"], "num_labels": 2, "sentence_pooling": "mean"},
        "transformers_version": _WRITTEN_WITH,
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _tensors(config: ModernBertConfig) -> dict[str, torch.Tensor]:
    """Fresh weights; those of the heads larger, so that scores and probabilities differ."""
    model = ModernBertForSequenceClassification(config)
    tensors = {f"ranking_model.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    heads = {"ranking_model.classifier": 1, "pruning_head.classifier": 2}
    for name, rows in heads.items():
        tensors[f"{name}.weight"] = torch.randn(rows, config.hidden_size) * 0.5
        tensors[f"{name}.bias"] = torch.randn(rows) * 0.5
    return tensors
