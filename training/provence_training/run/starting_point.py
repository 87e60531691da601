"""The starting point of a run: a checkpoint, or an encoder with fresh heads."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig, set_seed

from provence_rag.config import ProvenceConfig
from provence_rag.config_json import read_config_json
from provence_rag.errors import CheckpointError
from provence_rag.hub import TORCH_WEIGHTS, checkpoint_directory
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.model import ProvenceModel
from provence_training.config import ModelConfig, ShrinkConfig
from provence_training.data.passages import Passage
from provence_training.shrinking.checkpoint import (
    keep_layers,
    load_tokenizer,
    save_tokenizer,
    select_layers,
    shrink_checkpoint,
)
from provence_training.shrinking.line_breaks import add_line_breaks, embed_line_breaks
from provence_training.shrinking.vocabulary import select_pieces

__all__ = ["copy_tokenizer", "keep_layers_of", "make_starting_point"]

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def make_starting_point(config: ModelConfig, passages: Sequence[Passage], target: Path, *, seed: int) -> None:
    """Write the checkpoint that the first stage starts from.

    Args:
        config: The model.
        passages: Texts that decide which vocabulary a smaller encoder keeps.
        target: Directory to write.
        seed: Seed of fresh heads.

    Raises:
        CheckpointError: The model does not exist or cannot be used.
        InvalidInputError: `max_length` or `shrink` does not fit the model.
    """
    if config.encoder is None:
        directory = checkpoint_directory(config.checkpoint, weights=[TORCH_WEIGHTS])
        model = ProvenceModel.from_pretrained(directory)
        stored = model.provence_config
    else:
        directory = checkpoint_directory(config.encoder, weights=[TORCH_WEIGHTS])
        if config.shrink is not None:
            smaller = target.with_name("encoder")
            _shrink(config.shrink, passages, directory, smaller)
            directory = smaller
        stored = ProvenceConfig(mode=config.mode, languages=config.languages)
        set_seed(seed)
        model = ProvenceModel.from_encoder(str(directory), stored, **_dropouts(config, directory))
    max_length = config.max_length or stored.max_length
    model.provence_config = stored.with_max_length(max_length, read_config_json(directory))
    PairTokenizer.from_directory(directory)  # fail early if it cannot be loaded
    if not config.line_breaks:
        model.save_pretrained(target)
        copy_tokenizer(directory, target)
        return
    before = load_tokenizer(directory)
    tokenizer = add_line_breaks(before)
    embed_line_breaks(model.transformer, before, tokenizer)
    model.save_pretrained(target)
    save_tokenizer(tokenizer, directory, target)


def keep_layers_of(source: Path, which: str, target: Path) -> Path:
    """Write a checkpoint with some of the layers of another one, and all of its heads.

    Args:
        source: Directory of a Provence checkpoint.
        which: See `select_layers`.
        target: Directory to write; an existing one is complete and kept.

    Returns:
        `target`.

    Raises:
        InvalidInputError: The layers do not exist.
        CheckpointError: The architecture cannot do without the others.
    """
    if target.exists():
        return target
    model = ProvenceModel.from_pretrained(source)
    keep_layers(model.transformer, select_layers(which, model.transformer.config.num_hidden_layers))
    partial = target.with_name(f"{target.name}.partial")
    model.save_pretrained(partial)
    copy_tokenizer(source, partial)
    _verify(model, partial)
    partial.rename(target)
    return target


@torch.inference_mode()
def _verify(model: ProvenceModel, directory: Path) -> None:
    """Check that what is read back is what was written: some architectures build a layer by its position."""
    refusal = f"{type(model.transformer).__name__} cannot do without the layers left out"
    try:
        read = ProvenceModel.from_pretrained(directory)
    except CheckpointError as error:
        raise CheckpointError(f"{refusal}: {error}") from error
    tokenizer = PairTokenizer.from_directory(directory)
    layout, (text,) = tokenizer.layout, tokenizer.tokenize(["a b c"])
    ids = torch.tensor([[*layout.before, *text.ids, *layout.between, *text.ids, *layout.after]])
    outputs = [m(ids, torch.ones_like(ids)) for m in (model, read)]
    for one, other in zip(*outputs, strict=True):
        if one is not None and not torch.allclose(one, other, atol=1e-4):
            raise CheckpointError(f"{refusal}: the result computes other values")


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy a checkpoint's tokenizer into another directory."""
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy(source / name, target / name)


def _shrink(config: ShrinkConfig, passages: Sequence[Passage], source: Path, target: Path) -> None:
    pieces = layers = None
    if config.layers is not None:
        layers = select_layers(config.layers, AutoConfig.from_pretrained(source).num_hidden_layers)
    if config.vocabulary is not None:
        corpus = [text for p in passages for text in (p.text, p.title, *(q.text for q in p.questions))]
        pieces = select_pieces(load_tokenizer(source), corpus, config.vocabulary)
    shrink_checkpoint(source, target, pieces=pieces, layers=layers)


def _dropouts(config: ModelConfig, directory: Path) -> dict[str, float]:
    chosen = {
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
    }
    found = {name: value for name, value in chosen.items() if value is not None}
    known = AutoConfig.from_pretrained(directory)
    for name in found:
        if not hasattr(known, name):
            raise CheckpointError(
                f"{directory} is a {known.model_type} without {name}: leave out its dropout"
            )
    return found
