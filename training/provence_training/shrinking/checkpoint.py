"""Small checkpoints from big ones: fewer vocabulary pieces, fewer layers."""

from __future__ import annotations

import inspect
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from provence_rag.config_json import read_config_json
from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.modeling.model import ProvenceModel
from provence_training.shrinking.vocabulary import cut_tokenizer

__all__ = [
    "keep_layers",
    "keep_pieces",
    "load_encoder",
    "load_tokenizer",
    "save_tokenizer",
    "select_layers",
    "shrink_checkpoint",
]


def select_layers(which: str, num_layers: int) -> list[int]:
    """Choose which layers to keep.

    Args:
        which: `first:N`, `last:N`, `alternate:N` (evenly spread, with the first and the last one), or numbers
            in order, counted from 0: `0,2,4`.
        num_layers: Number of layers.

    Raises:
        InvalidInputError: The layers do not exist.
    """
    how, _, number = which.partition(":")
    try:
        if how in ("first", "last", "alternate"):
            count = int(number)
            if not 1 <= count <= num_layers:
                raise ValueError
            if how == "alternate":
                return [round(x) for x in np.linspace(0, num_layers - 1, count).tolist()]
            return list(range(count) if how == "first" else range(num_layers - count, num_layers))
        layers = [int(layer) for layer in which.split(",")]
    except ValueError:
        layers = []
    if not layers or layers != sorted(set(layers)) or not 0 <= layers[0] <= layers[-1] < num_layers:
        raise InvalidInputError(
            f"layers must be first:N, last:N, alternate:N, or ascending numbers below {num_layers}; "
            f"got {which!r}"
        )
    return layers


def shrink_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    pieces: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
) -> None:
    """Write a smaller copy of an encoder, for AutoModel and AutoTokenizer, or of a Provence checkpoint.

    A Provence checkpoint keeps its heads, its settings and the type of its weights, but not its exports. It
    also keeps all layers, since its heads were trained on them.

    Args:
        source: Directory of an encoder or a Provence checkpoint, with a `tokenizer.json`. A pooler or head
            on top of an encoder is left out.
        target: Directory to write.
        pieces: Vocabulary pieces to keep, from `select_pieces`; None keeps all.
        layers: Layers to keep, in order, counted from 0; None keeps all.

    Raises:
        InvalidInputError: The pieces or layers cannot be kept, or a Provence checkpoint is to lose layers.
        CheckpointError: The source has no `tokenizer.json`, or an architecture whose layers cannot be cut.
    """
    source, target = Path(source), Path(target)
    has_heads = "provence" in read_config_json(source)
    if has_heads and layers is not None:
        raise InvalidInputError(
            f"source={str(source)!r} has heads, which were trained on all of its layers: give an encoder "
            "instead, and train it"
        )
    tokenizer = load_tokenizer(source)
    model = ProvenceModel.from_pretrained(source) if has_heads else load_encoder(source)
    if layers is not None:
        keep_layers(model, layers)
    if pieces is not None:
        tokenizer = cut_tokenizer(tokenizer, pieces)
        keep_pieces(model.transformer if has_heads else model, pieces)
    with tempfile.TemporaryDirectory() as directory:
        if has_heads:
            model.save_pretrained(directory, dtype=AutoConfig.from_pretrained(source).dtype)
        else:
            model.save_pretrained(directory)
        new = save_tokenizer(tokenizer, source, Path(directory))
        if not has_heads:
            _verify(model, new, directory)
        target.mkdir(parents=True, exist_ok=True)
        for path in Path(directory).iterdir():
            shutil.copyfile(path, target / path.name)


def save_tokenizer(tokenizer: Tokenizer, source: Path, target: Path) -> Any:
    """Write a changed tokenizer so that AutoTokenizer reads it unchanged.

    Args:
        tokenizer: The changed tokenizer.
        source: Directory with the original, whose special tokens and limits it keeps.
        target: Directory to write.

    Returns:
        The tokenizer as a class of transformers.
    """
    old = AutoTokenizer.from_pretrained(source)
    new = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_input_names=old.model_input_names,
        model_max_length=old.model_max_length,
        **old.special_tokens_map,
    )
    new.save_pretrained(target)
    tokenizer.save(str(target / "tokenizer.json"))  # verbatim, without what the class has added
    return new


def load_tokenizer(directory: Path) -> Tokenizer:
    """The `tokenizer.json` of a checkpoint.

    Raises:
        CheckpointError: The file is missing.
    """
    if not (directory / "tokenizer.json").is_file():
        raise CheckpointError(f"{directory} has no tokenizer.json")
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def load_encoder(directory: str | Path, dtype: torch.dtype = torch.float32) -> Any:
    """The bare encoder of a checkpoint, without a pooler, which may be missing. Nothing is unpickled.

    Raises:
        CheckpointError: The model does not exist, or its weights are not safetensors.
    """
    try:
        config = AutoConfig.from_pretrained(directory)
        parameters = inspect.signature(MODEL_MAPPING[type(config)]).parameters  # type: ignore[arg-type]
        settings = {"add_pooling_layer": False} if "add_pooling_layer" in parameters else {}
        return AutoModel.from_pretrained(directory, dtype=dtype, use_safetensors=True, **settings).eval()
    except (KeyError, OSError, ValueError) as error:
        raise CheckpointError(f"{directory} cannot be loaded as an encoder: {error}") from error


def keep_layers(model: Any, layers: Sequence[int]) -> None:
    """Remove all other layers of a transformer, in place.

    Raises:
        InvalidInputError: It does not have these layers.
        CheckpointError: It has no single list of layers.
    """
    config = model.config
    total = config.num_hidden_layers
    if not layers or not all(0 <= layer < total for layer in layers):
        raise InvalidInputError(f"layers must be numbers from 0 to {total - 1}, got {list(layers)}")
    parent, name, stack = _stack(model)
    setattr(parent, name, nn.ModuleList(stack[layer] for layer in layers))
    config.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = [config.layer_types[layer] for layer in layers]


def _stack(model: Any) -> tuple[nn.Module, str, nn.ModuleList]:
    """The module with the list of layers, the list's name in it, and the list."""
    total = model.config.num_hidden_layers
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == total
    ]
    if len(found) != 1:
        raise CheckpointError(f"{type(model).__name__} has no single list of its {total} layers")
    return found[0]


def keep_pieces(model: Any, pieces: Sequence[int]) -> None:
    """Keep only the embeddings of some vocabulary pieces of an encoder, in their order.

    Raises:
        InvalidInputError: The padding token is not among them.
    """
    config, new_ids = model.config, {old: new for new, old in enumerate(pieces)}
    if config.pad_token_id is not None and config.pad_token_id not in new_ids:
        raise InvalidInputError(f"pieces must contain the padding token, {config.pad_token_id}")
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, new_ids.get(value))
    old = model.get_input_embeddings()
    padding = None if old.padding_idx is None else new_ids[old.padding_idx]
    new = nn.Embedding(len(pieces), old.embedding_dim, padding)
    new.weight.data = old.weight.data[torch.tensor(pieces)]
    model.set_input_embeddings(new)
    config.vocab_size = len(pieces)


@torch.inference_mode()
def _verify(model: nn.Module, tokenizer: Any, directory: str) -> None:
    """Check that what is read back is what was written: some architectures build a layer by its position."""
    batch = tokenizer("a b c", "d", return_tensors="pt")
    written, read = (m(**batch).last_hidden_state for m in (model, load_encoder(directory)))
    if not torch.allclose(written, read, atol=1e-4):
        raise CheckpointError(
            f"{type(model).__name__} cannot do without the layers left out: the result computes other values"
        )
