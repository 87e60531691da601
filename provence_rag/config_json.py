"""A checkpoint's `config.json`, as transformers and sentence-transformers write it.

The names of their keys are known only here and in `provence_rag.modeling`; those of other projects, only in
`provence_rag.modeling.checkpoints`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from provence_rag.errors import CheckpointError

__all__ = [
    "architecture_of",
    "num_positions",
    "pad_token_id",
    "read_config_json",
    "read_json_object",
    "read_model_json",
    "stock_settings",
]

_LONGEST_STOCK_WINDOW = 512

_OFFSET_POSITIONS = ("camembert", "mpnet", "roberta")
"""Ends of the model types whose positions start after the id of the padding token."""


def read_config_json(directory: Path) -> dict[str, Any]:
    """The content of a checkpoint's `config.json`.

    Raises:
        CheckpointError: The file is missing or does not hold a JSON object.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{directory} is not a checkpoint: it has no config.json")
    return read_json_object(path)


def read_model_json(directory: Path) -> dict[str, Any]:
    """`read_config_json`, with the activation that sentence-transformers 5.4 or newer stores beside it.

    Raises:
        CheckpointError: A file is missing or does not hold a JSON object.
    """
    values = read_config_json(directory)
    path = directory / "config_sentence_transformers.json"
    saved = read_json_object(path) if path.is_file() else {}
    if saved.get("model_type") == "CrossEncoder" and saved.get("activation_fn") is not None:
        values["sentence_transformers"] = {"activation_fn": saved["activation_fn"]}
    return values


def read_json_object(path: Path) -> dict[str, Any]:
    """The content of a JSON file.

    Raises:
        CheckpointError: The file does not hold a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # the latter for thousands of nested brackets
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got {type(values).__name__}")
    return values


def architecture_of(values: Mapping[str, Any]) -> str:
    """The class that a `config.json` names; empty if it names none."""
    architectures = values.get("architectures")
    return str(architectures[0]) if isinstance(architectures, list) and architectures else ""


def num_positions(values: Mapping[str, Any]) -> int | None:
    """The longest window, in tokens, that the encoder's position embeddings allow; None if any will do."""
    positions = values.get("max_position_embeddings")
    if not isinstance(positions, int) or values.get("position_biased_input") is False:
        return None  # DeBERTa-v3 has only relative positions
    if not str(values.get("model_type")).endswith(_OFFSET_POSITIONS):
        return positions
    pad = values.get("pad_token_id")
    return positions - (pad if isinstance(pad, int) else 0) - 1


def pad_token_id(values: Mapping[str, Any], where: str) -> int:
    """The padding token; 0 if the file names none.

    Raises:
        CheckpointError: It is not a token id.
    """
    pad = values.get("pad_token_id")
    if pad is None:
        return 0
    if isinstance(pad, bool) or not isinstance(pad, int) or pad < 0:
        raise CheckpointError(f"{where} has pad_token_id {pad!r}: not a token id")
    return pad


def stock_settings(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What follows for `ProvenceConfig` from the `config.json` of a stock classifier.

    Args:
        values: The content of the file.
        where: Where it comes from, for messages.

    Returns:
        `mode`, `max_length` and, of a reranker, `score_activation`.

    Raises:
        CheckpointError: It is neither a reranker with one label nor a classifier of tokens to drop and keep.
    """
    architecture = architecture_of(values)
    labels = values.get("id2label")
    labels = labels if isinstance(labels, dict) else {}
    window = min(num_positions(values) or _LONGEST_STOCK_WINDOW, _LONGEST_STOCK_WINDOW)
    if architecture.endswith("ForSequenceClassification") and len(labels) == 1:
        return {"mode": "ranking", "max_length": window, "score_activation": _stock_activation(values)}
    if architecture.endswith("ForTokenClassification") and labels == {"0": "DROP", "1": "KEEP"}:
        return {"mode": "pruning", "max_length": window}
    raise CheckpointError(
        f"{where} is neither a Provence checkpoint nor a reranker with one label: its config.json has no "
        f"provence block, architecture {architecture or 'unknown'} and {len(labels)} labels"
    )


def _stock_activation(values: Mapping[str, Any]) -> Literal["sigmoid", "identity"]:
    """The activation that sentence-transformers reads for a CrossEncoder with one label."""
    nested = values.get("sentence_transformers")
    nested = nested if isinstance(nested, dict) else {}
    name = nested.get("activation_fn") or values.get("sbert_ce_default_activation_function") or "Sigmoid"
    activation = str(name).rpartition(".")[2].lower()
    if activation not in ("sigmoid", "identity"):
        raise CheckpointError(f"config.json has the activation {name}: only Sigmoid and Identity can be used")
    return "sigmoid" if activation == "sigmoid" else "identity"
