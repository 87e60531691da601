"""Make a small encoder from a big one: fewer vocabulary pieces, fewer layers."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel

from provence_rag.errors import InvalidInputError

__all__ = ["select_pieces", "shrink_encoder"]


def select_pieces(tokenizer: Tokenizer, corpus: Iterable[str], size: int) -> list[int]:
    """Choose which pieces of a Unigram vocabulary to keep.

    Special tokens stay, then every single character that stands for text (so that a rare word falls apart
    instead of becoming unknown), then the pieces that the corpus uses most.

    Args:
        tokenizer: A Unigram tokenizer.
        corpus: Texts in the languages to keep.
        size: Number of pieces to keep.

    Returns:
        Piece ids, ascending.

    Raises:
        InvalidInputError: The special tokens and characters seen alone exceed `size`.
    """
    model = json.loads(tokenizer.to_str())["model"]
    if model["type"] != "Unigram":
        raise InvalidInputError(f"tokenizer must be a Unigram one, got {model['type']}")
    vocab = [piece for piece, _ in model["vocab"]]
    counts: Counter[int] = Counter()
    characters: Counter[str] = Counter()
    for text in corpus:
        counts.update(tokenizer.encode(text, add_special_tokens=False).ids)
        characters.update(unicodedata.normalize("NFKC", text))
    special = {token["id"] for token in json.loads(tokenizer.to_str())["added_tokens"]} | {model["unk_id"]}
    alphabet = {i for i, piece in enumerate(vocab) if len(piece) == 1 and (characters[piece] or piece == "▁")}
    # The stored order is by unigram score, so it decides among pieces the corpus does not know.
    rest = sorted(set(range(len(vocab))) - special - alphabet, key=lambda i: (-counts[i], i))
    room = size - len(special | alphabet)
    if room < 0:
        raise InvalidInputError(
            f"size={size} is smaller than the {size - room} special tokens and characters"
        )
    return sorted(special | alphabet | set(rest[:room]))


def _shrink_tokenizer(tokenizer: Tokenizer, pieces: Sequence[int]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    new_id = {old: new for new, old in enumerate(pieces)}
    model = content["model"]
    model["vocab"] = [model["vocab"][old] for old in pieces]
    model["unk_id"] = new_id[model["unk_id"]]
    for token in content["added_tokens"]:
        token["id"] = new_id[token["id"]]
    template = content["post_processor"] or {}
    if "special_tokens" not in template:
        raise InvalidInputError(
            f"tokenizer must have a TemplateProcessing post-processor, got {template.get('type')}"
        )
    for token in template["special_tokens"].values():
        token["ids"] = [new_id[i] for i in token["ids"]]
    content["truncation"] = content["padding"] = None
    content["normalizer"] = _reading_white_space(content["normalizer"])
    return content


def _reading_white_space(normalizer: dict[str, Any] | None) -> dict[str, Any]:
    """Every white space becomes a space: the vocabulary has no pieces for line breaks and tabs."""
    spaces = {"type": "Replace", "pattern": {"Regex": r"\s"}, "content": " "}
    steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
    return {"type": "Sequence", "normalizers": [spaces, *(step for step in steps if step != spaces)]}


def shrink_encoder(
    source: str | Path, target: str | Path, *, pieces: Sequence[int], layers: Sequence[int]
) -> None:
    """Write a smaller stock checkpoint.

    Args:
        source: Directory of a BERT-like encoder with a Unigram `tokenizer.json`.
        target: Directory to write.
        pieces: Vocabulary pieces to keep, from `select_pieces`.
        layers: Layers to keep, in order, counted from 0.

    Raises:
        InvalidInputError: The tokenizer's post-processor is none that can be renumbered.
    """
    source, target = Path(source), Path(target)
    tokenizer = _shrink_tokenizer(Tokenizer.from_file(str(source / "tokenizer.json")), pieces)
    model = AutoModel.from_pretrained(source, dtype=torch.float32, add_pooling_layer=False)
    config, new_id = model.config, {old: new for new, old in enumerate(pieces)}
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        if getattr(config, name) is not None:
            setattr(config, name, new_id[getattr(config, name)])
    weights = model.get_input_embeddings().weight.data[torch.tensor(pieces)]
    model.set_input_embeddings(
        nn.Embedding(len(pieces), weights.shape[1], config.pad_token_id, _weight=weights)
    )
    model.encoder.layer = nn.ModuleList(model.encoder.layer[i] for i in layers)
    config.vocab_size = len(pieces)
    config.num_hidden_layers = len(layers)
    target.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(target)
    (target / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    settings = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings.pop("added_tokens_decoder", None)  # by the old ids; tokenizer.json says the same
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
