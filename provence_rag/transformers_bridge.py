"""Pruning with a transformer that other code has loaded, and goes on to train, move and save."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provence_rag.config import ProvenceConfig
from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.hub import TORCH_WEIGHTS, checkpoint_directory
from provence_rag.inference.backend import Backend

__all__ = ["attach_pruning_head", "backend_of", "config_json_of"]


def attach_pruning_head(
    transformer: Any,
    name_or_path: str | Path | None = None,
    *,
    initializer_range: float | None = None,
    revision: str | None = None,
    cache_folder: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> None:
    """Give a transformer the pruning head of its checkpoint, which transformers does not load, or a new one.

    The head becomes the submodule `pruning_head`, so it is moved, cast and saved with the transformer.
    `Provence.from_transformer` prunes with it.

    Args:
        transformer: A sequence classifier of transformers, loaded from a joint checkpoint or, for a new head,
            from any other.
        name_or_path: The checkpoint that has the head; None makes a new head, which is to be trained.
        initializer_range: Standard deviation of a new head's weights; None is that of the transformer's own.
        revision: Branch, tag or commit on the hub.
        cache_folder: Where downloads are kept.
        local_files_only: Do not download.
        token: Access token for the hub.

    Raises:
        CheckpointError: The checkpoint cannot be found, or has no pruning head that fits.
    """
    from provence_rag.modeling.model import new_pruning_head, read_pruning_head

    if name_or_path is None:
        transformer.pruning_head = new_pruning_head(transformer, initializer_range)
        return

    directory = checkpoint_directory(
        name_or_path,
        revision=revision,
        cache_folder=cache_folder,
        local_files_only=local_files_only,
        token=token,
        weights=[TORCH_WEIGHTS],
    )
    transformer.pruning_head = read_pruning_head(directory, transformer)


def config_json_of(transformer: Any) -> dict[str, Any]:
    """What transformers would write to `config.json`.

    Raises:
        InvalidInputError: It is not a transformer.
    """
    to_json = getattr(getattr(transformer, "config", None), "to_json_string", None)
    if to_json is None:
        raise InvalidInputError(
            f"transformer must be a model of transformers, got {type(transformer).__name__}"
        )
    values: dict[str, Any] = json.loads(to_json(use_diff=False))
    return values


def backend_of(transformer: Any, config: ProvenceConfig) -> Backend:
    """Run a transformer on its device, with the weights that it has at the time of each call.

    Raises:
        InvalidInputError: The transformer is not a torch module, or has the wrong number of labels.
        CheckpointError: The configuration has a pruning head, but the transformer has no `pruning_head`.
    """
    from provence_rag.backends.torch import TorchBackend
    from provence_rag.modeling.model import ProvenceModel

    head = getattr(transformer, "pruning_head", None)
    if config.mode == "joint" and head is None:
        raise CheckpointError("the transformer has no pruning head: see provence_rag.attach_pruning_head")
    return TorchBackend(ProvenceModel(transformer, config, head))
