"""Which project's layout a checkpoint has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from provence_rag.config import ProvenceConfig
from provence_rag.config_json import read_config_json
from provence_rag.hub import TORCH_WEIGHTS, check_links, checkpoint_directory
from provence_rag.modeling.checkpoints.base import Checkpoint, Source, model_settings
from provence_rag.modeling.checkpoints.naver import (
    is_provence,
    is_xprovence,
    read_provence,
    read_xprovence,
)
from provence_rag.modeling.checkpoints.open_provence import (
    is_open_provence,
    read_open_provence,
    tensors_of,
)
from provence_rag.modeling.checkpoints.weights import StoredTensors

__all__ = ["find_checkpoint", "read_checkpoint"]

_FAMILIES = (
    (is_open_provence, read_open_provence),
    (is_xprovence, read_xprovence),
    (is_provence, read_provence),
)


def find_checkpoint(
    name_or_path: str | Path | None, *, weights: Sequence[str], **settings: Any
) -> Checkpoint:
    """Find a checkpoint as `checkpoint_directory` does, with the same arguments, and read what it is.

    Raises:
        InvalidInputError: `name_or_path` is neither a name nor a path.
        CheckpointError: It cannot be found, is not a kind of checkpoint known here, or is damaged.
        MissingExtraError: It needs torch to be read.
    """
    directory = checkpoint_directory(name_or_path, weights=weights, **settings)
    if not tensors_of(directory).exist:
        check_links(directory)
        values = read_config_json(directory)
        if any(matches(values, ()) for matches, _ in _FAMILIES):
            # Only the names of the tensors tell which heads these families have.
            directory = checkpoint_directory(name_or_path, weights=[TORCH_WEIGHTS], **settings)
    return read_checkpoint(directory)


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read what a checkpoint is and how it is used, but not its weights. Our own layout needs no torch.

    Raises:
        CheckpointError: It is not a kind of checkpoint known here, or is damaged.
        MissingExtraError: It needs torch to be read.
    """
    check_links(directory)
    settings = read_config_json(directory)
    tensors = tensors_of(directory)
    is_ours = "provence" in settings
    names = () if is_ours else _cheap_names(tensors)
    for matches, read in _FAMILIES:
        if matches(settings, names):
            found = read(Source(directory, settings, tensors, names or tuple(tensors.shapes())))
            # Calibration leaves our block in a checkpoint of theirs: the block takes precedence.
            return replace(found, config=ProvenceConfig.from_directory(directory)) if is_ours else found
    return Checkpoint(
        directory=directory,
        family="provence-rag" if is_ours else "transformers",
        config=ProvenceConfig.from_directory(directory),
        model_settings=model_settings(settings),
        tokenizer_directory=directory,
        tensors=StoredTensors.in_directory(directory),
    )


def _cheap_names(tensors: StoredTensors) -> tuple[str, ...]:
    """The names of the tensors if torch is not needed to read them; else nothing: the config decides."""
    if not tensors.are_safetensors or find_spec("safetensors") is None:
        return ()
    return tuple(tensors.shapes())
