"""What is known of a checkpoint after reading it, in whatever layout."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from provence_rag.config import DynamicRule, ProvenceConfig
from provence_rag.config_json import pad_token_id
from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.modeling.checkpoints.weights import StoredTensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "PRUNING_LABELS",
    "Checkpoint",
    "Source",
    "checkpoint_of",
    "label_settings",
    "model_settings",
    "setting",
]

PRUNING_LABELS = ("DROP", "KEEP")
"""The labels of a pruning head, in the order of its outputs."""

_NOT_FOR_THE_MODEL = ("attn_implementation", "auto_map", "experts_implementation", "quantization_config")
"""Keys of a config.json that name code to run, or ways to store weights that are not supported."""

_OLD_NAMES = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}
"""Names in the first releases of BERT, which transformers 5.0 writes again."""

_RANKING_OUTPUTS = ("classifier", "classifier.out_proj")
_PRUNING_OUTPUT = "pruning_head"
_HEADS = ("classifier.", "head.", "pooler.", "pruning_head.", "roberta.pooler.", "bert.pooler.")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint directory, read without its weights."""

    directory: Path

    family: str
    """The project whose layout it has: `provence-rag`, `transformers`, `provence`, `xprovence` or
    `open-provence`."""

    config: ProvenceConfig

    model_settings: Mapping[str, Any]
    """The `config.json` of the stock transformers model that it becomes, with its `model_type`."""

    tokenizer_directory: Path

    tensors: StoredTensors

    names: Mapping[str, str] | None = None
    """Name of a stored tensor -> its name in a stock model, or `pruning_head.*`. Other tensors are not
    needed. None if all have these names already."""

    @property
    def pad_token_id(self) -> int:
        """The padding token.

        Raises:
            CheckpointError: It is not a token id.
        """
        return pad_token_id(self.model_settings, f"{self.directory}/config.json")

    def renamed(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Stored tensors, or tensors of their shapes, under the names of a stock model."""
        tensors = {
            _current(name) if self.names is None else self.names[name]: tensor
            for name, tensor in stored.items()
            # Until 4.31, transformers wrote this buffer, which is computed and not learned.
            if not name.endswith("embeddings.position_ids") and (self.names is None or name in self.names)
        }
        if self.names is not None and self.config.can_rank:
            # The first of several labels is the relevance.
            outputs = (f"{head}.{part}" for head in _RANKING_OUTPUTS for part in ("weight", "bias"))
            tensors |= {name: tensors[name][:1] for name in outputs if name in tensors}
        return tensors


def label_settings(*names: str) -> dict[str, Any]:
    """The settings for labels in transformers' configurations; the names are in the order of the outputs."""
    id2label = dict(enumerate(names))
    return {
        "id2label": id2label,
        "label2id": {name: i for i, name in id2label.items()},
        "num_labels": len(names),
    }


def _current(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


@dataclass(frozen=True)
class Source:
    """The input of a family's reader."""

    directory: Path

    settings: Mapping[str, Any]
    """The content of `config.json`."""

    tensors: StoredTensors

    names: tuple[str, ...]
    """The names of the stored tensors."""


def model_settings(settings: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The part of a `config.json` that describes a stock model, with some values replaced."""
    stock = {
        key: value
        for key, value in settings.items()
        if not key.startswith("_") and key not in _NOT_FOR_THE_MODEL
    }
    return {**stock, **changes}


def setting(source: Source, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
    """A value of `config.json`; the default if it is not there.

    Raises:
        CheckpointError: The value is of another type.
    """
    value = source.settings.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise CheckpointError(f"{source.directory}/config.json has {key} {value!r}, which cannot be used")
    return value


def checkpoint_of(
    source: Source,
    *,
    family: str,
    stock: Mapping[str, Any],
    names: Mapping[str, str],
    rules: Mapping[str, Any],
    tokenizer_directory: Path | None = None,
) -> Checkpoint:
    """Build a checkpoint from what a family's reader found; the heads decide the mode.

    A head counts only if it exists and was trained. For a head that a file lacks, transformers creates random
    weights with biases of exactly zero, and a model that is saved like this stores them.

    Args:
        source: What was read.
        family: Its name.
        stock: Settings of the stock sequence classifier.
        names: Stored name -> stock name, as for a joint model.
        rules: Fields of `ProvenceConfig`.
        tokenizer_directory: The directory of `tokenizer.json`; None is the checkpoint's.

    Raises:
        CheckpointError: There is no trained head, or a value is invalid.
    """
    stored_names = {name: stored for stored, name in names.items()}

    def has(head: str) -> bool:
        if f"{head}.weight" not in stored_names:
            return False
        bias = stored_names.get(f"{head}.bias")
        return bias is None or not source.tensors.is_zero(bias)

    can_rank, can_prune = any(map(has, _RANKING_OUTPUTS)), has(_PRUNING_OUTPUT)
    if not can_rank and not can_prune:
        raise CheckpointError(f"{source.directory} has no trained head: it can neither rank nor prune")
    mode: Literal["joint", "ranking", "pruning"] = "joint" if can_rank else "pruning"
    settings = {**stock, "architectures": stock.get("architectures"), **label_settings("LABEL_0")}
    kept = dict(names)
    if not can_prune:
        mode = "ranking"
        kept = {stored: name for stored, name in names.items() if not name.startswith(f"{_PRUNING_OUTPUT}.")}
    elif not can_rank:
        kept = {stored: name for stored, name in names.items() if not name.startswith(_HEADS)}
        kept |= {stored_names[f"pruning_head.{part}"]: f"classifier.{part}" for part in ("weight", "bias")}
        del settings["architectures"]  # it is no longer a sequence classifier
        settings |= label_settings(*PRUNING_LABELS)
    if not can_rank and any(name.startswith("head.") for name in stored_names):
        raise CheckpointError(
            f"{source.directory} has no trained ranking head, and cannot be loaded for pruning only: the "
            "stock token classifier of its architecture has a different kind of head"
        )
    if mode != "joint":
        lost = "pruning" if mode == "ranking" else "ranking"
        message = f"{source.directory} has no trained {lost} head: it is loaded for {mode} only"
        warnings.warn(message, stacklevel=2)
    try:
        # All families use one threshold for all sentences.
        dynamic = {"default": DynamicRule(floor=rules["threshold"], share=0.0)}
        config = ProvenceConfig(mode=mode, dynamic=dynamic, **rules)
    except InvalidInputError as error:
        raise CheckpointError(f"{source.directory}/config.json cannot be used: {error}") from error
    return Checkpoint(
        directory=source.directory,
        family=family,
        config=config,
        model_settings=settings,
        tokenizer_directory=tokenizer_directory or source.directory,
        tensors=source.tensors,
        names=kept,
    )
