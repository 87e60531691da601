"""OpenProvence, and semantic-highlight-bilingual, which was trained with its framework.

Layouts follow github.com/hotchpotch/open_provence at 9635cbc (`encoder.py`, and the file that ships with the
weights), and for the pre-release format the branch `text-pruner` of hotchpotch/sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provence_rag.config_json import architecture_of, num_positions, read_config_json, read_json_object
from provence_rag.errors import CheckpointError
from provence_rag.modeling.checkpoints.base import Checkpoint, Source, checkpoint_of, model_settings, setting
from provence_rag.modeling.checkpoints.weights import StoredTensors

__all__ = ["is_open_provence", "read_open_provence", "tensors_of"]

_MODEL_TYPES = ("open_provence", "openprovence_encoder", "pruning_encoder")
_RANKING, _PRUNING = "ranking_model", "pruning_head"
_THRESHOLDS = ("default_threadshold", "default_threshold")
"""The key in the published files is misspelt; like their code, we also read the correct spelling."""

_THRESHOLD, _WINDOW = 0.1, 512

_ENCODER_PREFIXES = {
    "modernbert": "model.",
    "xlm-roberta": "roberta.",
    "bert": "bert.",
    "deberta-v2": "deberta.",
}

_DOUBLED = ("Bart", "Camembert", "Longformer", "MPNet", "Roberta", "XLMRoberta")
"""Tokenizers that put two separators between a pair."""

_SINGLE = ("Albert", "Bert", "DebertaV2", "DistilBert", "Electra")
"""Tokenizers that put one separator between a pair."""


def is_open_provence(settings: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    """Whether a checkpoint has OpenProvence's layout, by its model type, architecture or tensors."""
    return (
        settings.get("model_type") in _MODEL_TYPES
        or architecture_of(settings).startswith("OpenProvence")
        or any(name.startswith(f"{_PRUNING}.") for name in names)
    )


def tensors_of(directory: Path) -> StoredTensors:
    """The weights: those of the directory, or of the two folders of the pre-release format."""
    folders = (directory / _RANKING, directory / _PRUNING)
    if all(folder.is_dir() for folder in folders):
        return StoredTensors(tuple((folder, f"{folder.name}.") for folder in folders))
    return StoredTensors.in_directory(directory)


def read_open_provence(source: Source) -> Checkpoint:
    """Read OpenProvence: a stock sequence classifier, and a linear pruning head.

    Raises:
        CheckpointError: A setting or tensor is missing or invalid.
    """
    folder = source.directory / _RANKING
    stock = _backbone(source, folder)
    tokenizer_directory = source.directory
    if not (tokenizer_directory / "tokenizer.json").is_file() and folder.is_dir():
        tokenizer_directory = folder
    window = setting(source, "max_length", int, _WINDOW)
    return checkpoint_of(
        source,
        family="open-provence",
        stock=stock,
        names=_names(source.names, str(stock["model_type"])),
        tokenizer_directory=tokenizer_directory,
        rules={
            "max_length": min(window, num_positions(stock) or window),
            "pair_template": _pair_template(tokenizer_directory),
            "tokenization": "sentence",
            "hidden_states": "before_final_norm" if _reads_before_norm(source, stock) else "final",
            "threshold": _threshold(source),
        },
    )


def _backbone(source: Source, folder: Path) -> dict[str, Any]:
    """The settings of the stock classifier: in a block, in a file of their own, or at the top."""
    block = source.settings.get("base_model_config")
    if block is None and (folder / "config.json").is_file():
        block = read_config_json(folder)
    if block is None and source.settings.get("model_type") not in _MODEL_TYPES:
        block = source.settings
    if not isinstance(block, dict) or not isinstance(block.get("model_type"), str):
        raise CheckpointError(
            f"{source.directory}/config.json has no base_model_config with a model_type: "
            "the encoder is not known"
        )
    return model_settings(block)


def _names(names: tuple[str, ...], model_type: str) -> dict[str, str]:
    """Stored name -> stock name. Older files lack the prefix `ranking_model.`, or that of the encoder."""
    prefix = _ENCODER_PREFIXES.get(model_type, "")
    mapped = {}
    for name in names:
        target = name.removeprefix(f"{_RANKING}.")
        if target.startswith(f"{_PRUNING}.pooling_weights."):
            continue  # written with `use_weighted_pooling`, and never used
        if target.startswith(f"{_PRUNING}.classifier."):
            target = target.replace(".classifier.", ".", 1)
        elif target.startswith(("embeddings.", "encoder.", "final_norm.", "layers.")):
            target = prefix + target
        mapped[name] = target
    return mapped


def _threshold(source: Source) -> float:
    for key in _THRESHOLDS:
        value = source.settings.get(key)
        if value is None:
            continue
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"{source.directory}/config.json has {key} {value!r}: not a number"
            ) from error
    return _THRESHOLD


def _reads_before_norm(source: Source, stock: Mapping[str, Any]) -> bool:
    """Whether the head was trained on the input of ModernBERT's last normalisation, or on its output.

    It is trained on `hidden_states[-1]`, which is the input in transformers 4, and the output in transformers
    5 unless `tie_last_hidden_states` is off. The version that counts is the one in the blocks written in
    training; that of the file changes each time it is saved.
    """
    if stock["model_type"] != "modernbert":
        return False
    if stock.get("tie_last_hidden_states") is False:
        return True
    head = source.settings.get("pruning_config")
    for block in (head, stock, source.settings):
        version = block.get("transformers_version") if isinstance(block, dict) else None
        if version:
            return str(version).partition(".")[0] in ("2", "3", "4")
    return True


def _pair_template(directory: Path) -> tuple[str, ...] | None:
    """How their code joins a query and a passage, which depends on the class of the tokenizer.

    It calls `build_inputs_with_special_tokens` of transformers 4. If that adds no special tokens, it puts one
    at the start and one after each text. None, for other classes, is the tokenizer's own template.
    """
    path = directory / "tokenizer_config.json"
    settings = read_json_object(path) if path.is_file() else {}
    kind = str(settings.get("tokenizer_class")).removesuffix("Fast").removesuffix("Tokenizer")
    tokens = {role: _token(settings.get(f"{role}_token")) for role in ("bos", "eos", "cls", "sep")}
    first, last = tokens["cls"] or tokens["bos"], tokens["sep"] or tokens["eos"]
    if kind in _DOUBLED and first and last:
        return (first, "$A", last, last, "$B", last)
    if kind in _SINGLE and first and last:
        return (first, "$A", last, "$B:1", f"{last}:1")
    if kind == "Llama" and tokens["bos"] and tokens["eos"]:
        before = (tokens["bos"],) if settings.get("add_bos_token", True) else ()
        after = (tokens["eos"],) if settings.get("add_eos_token", False) else ()
        if before and after:
            return (*before, "$A", *after, *before, "$B", *after)
    if kind in ("Llama", "PreTrained") and first and last:
        return (first, "$A", last, "$B", last)
    return None


def _token(value: Any) -> str | None:
    """A special token: a string, or an object with the string as its content."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) and content else None
