"""Checks the sizes in a config against the stored tensors, before a model is built."""

from __future__ import annotations

from collections.abc import Mapping

from provence_rag.errors import CheckpointError
from provence_rag.modeling.checkpoints.base import Checkpoint

__all__ = ["check_sizes", "check_vocabulary"]

_DIMENSIONS = (
    "embedding_size",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "num_labels",
    "pooler_hidden_size",
    "type_vocab_size",
    "vocab_size",
)
_MOST_POSITIONS = 1 << 20
"""Some architectures create a buffer of this size that is not stored."""


def check_sizes(checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a config that describes no possible model, or one that would fill the memory.

    Raises:
        CheckpointError: A size is negative, not an integer, or more than the stored tensors allow.
    """
    largest = max((size for shape in shapes.values() for size in shape), default=0)
    limits = dict.fromkeys(_DIMENSIONS, largest)
    limits |= {"num_hidden_layers": len(shapes), "max_position_embeddings": max(largest, _MOST_POSITIONS)}
    for name, limit in limits.items():
        value = checkpoint.model_settings.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
            raise CheckpointError(
                f"{checkpoint.directory}/config.json has {name} {value!r}, but its weights allow an integer "
                f"from 0 to {limit}"
            )


def check_vocabulary(checkpoint: Checkpoint, num_ids: int) -> None:
    """Refuse a tokenizer that has ids without an embedding.

    Raises:
        CheckpointError: There are fewer embeddings than ids.
    """
    size = checkpoint.model_settings.get("vocab_size")
    if isinstance(size, int) and num_ids > size:
        raise CheckpointError(
            f"{checkpoint.tokenizer_directory}/tokenizer.json has {num_ids} token ids, but the model's "
            f"vocab_size is {size!r}: it belongs to another checkpoint"
        )
