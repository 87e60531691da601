"""Whose checkpoint it is."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from provence_rag.config import ProvenceConfig, read_config_json
from provence_rag.hub import check_links
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

__all__ = ["read_checkpoint"]

_FAMILIES = (
    (is_open_provence, read_open_provence),
    (is_xprovence, read_xprovence),
    (is_provence, read_provence),
)


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read what a checkpoint is and how it is to be used, but not its weights. Needs no torch for our own.

    Raises:
        CheckpointError: It is of no kind known here, or damaged.
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
            # A block of ours in a checkpoint of theirs is what calibration leaves there: it counts.
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
    """The names of the tensors if they can be had without torch; else nothing, and the config decides."""
    if not tensors.are_safetensors or find_spec("safetensors") is None:
        return ()
    return tuple(tensors.shapes())
