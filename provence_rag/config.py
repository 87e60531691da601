"""What is stored with a checkpoint: the `provence` block of its `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.options import check_count, check_share

__all__ = ["DynamicRule", "ProvenceConfig"]


@dataclass(frozen=True, kw_only=True)
class DynamicRule:
    """The `dynamic` selection: keep a sentence that reaches the floor and its share of the best one.

    A sentence is kept if its keep probability is at least `max(floor, share * best)`, where `best` is the
    highest keep probability of its passage. The floor empties passages that do not answer; the share
    follows the model's confidence where they do.
    """

    floor: float = 0.1
    """Smallest keep probability of a kept sentence, in [0, 1]."""

    share: float = 0.5
    """Share of the passage's best keep probability that a kept sentence reaches, in [0, 1]."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_share("floor", self.floor)
        check_share("share", self.share)


@dataclass(frozen=True, kw_only=True)
class ProvenceConfig:
    """How a checkpoint is to be used. Immutable; stored in its `config.json` under `provence`."""

    mode: Literal["joint", "ranking", "pruning"] = "joint"
    """Which heads there are: both, ranking only (a CrossEncoder), or pruning only (a token classifier)."""

    max_length: int = 512
    """Tokens of one window: query, passage and special tokens together."""

    score_activation: Literal["sigmoid", "identity"] = "sigmoid"
    """Turns the ranking logit into the relevance score."""

    threshold: float = 0.5
    """Keep probability used by the `threshold` mode when the caller gives none, in [0, 1]."""

    dynamic: Mapping[str, DynamicRule] = field(default_factory=lambda: {"default": DynamicRule()})
    """The `dynamic` rule per language (ISO 639-1), with `default` for all others."""

    languages: tuple[str, ...] = ()
    """Languages the checkpoint was trained on (ISO 639-1); empty if unknown."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            CheckpointError: A value cannot be used.
        """
        if self.mode not in ("joint", "ranking", "pruning"):
            raise CheckpointError(f"provence.mode must be joint, ranking or pruning, got {self.mode!r}")
        if self.score_activation not in ("sigmoid", "identity"):
            raise CheckpointError(
                f"provence.score_activation must be sigmoid or identity, got {self.score_activation!r}"
            )
        if not isinstance(self.max_length, int) or self.max_length < 16:
            raise CheckpointError(f"provence.max_length must be an integer >= 16, got {self.max_length!r}")
        if "default" not in self.dynamic:
            raise CheckpointError("provence.dynamic needs a rule named 'default'")
        check_share("threshold", self.threshold)

    @property
    def can_rank(self) -> bool:
        """Whether there is a ranking head."""
        return self.mode != "pruning"

    @property
    def can_prune(self) -> bool:
        """Whether there is a pruning head."""
        return self.mode != "ranking"

    def dynamic_rule(self, language: str) -> DynamicRule:
        """The `dynamic` rule for a language."""
        return self.dynamic.get(language, self.dynamic["default"])

    def with_max_length(self, max_length: int, config_json: Mapping[str, Any]) -> ProvenceConfig:
        """A copy with another window.

        Raises:
            InvalidInputError: The window is too small, or larger than the encoder's positions reach.
        """
        check_count("max_length", max_length, 16)
        positions = config_json.get("max_position_embeddings", max_length)
        if max_length > positions:
            raise InvalidInputError(
                f"max_length={max_length} is more than the {positions} positions of this checkpoint"
            )
        return replace(self, max_length=max_length)

    def to_dict(self) -> dict[str, Any]:
        """The block as it is written to `config.json`."""
        return {**asdict(self), "languages": list(self.languages)}

    @classmethod
    def from_dict(cls, block: Mapping[str, Any]) -> ProvenceConfig:
        """Read the block of a `config.json`.

        Raises:
            CheckpointError: A key is unknown or a value cannot be used.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(block) - known):
            raise CheckpointError(
                f"config.json has unknown keys in its provence block: {', '.join(unknown)}; "
                "the checkpoint may need a newer provence-rag"
            )
        values = dict(block)
        if "dynamic" in values:
            values["dynamic"] = {name: DynamicRule(**rule) for name, rule in values["dynamic"].items()}
        if "languages" in values:
            values["languages"] = tuple(values["languages"])
        return cls(**values)

    @classmethod
    def from_directory(cls, directory: Path) -> ProvenceConfig:
        """Read a checkpoint's configuration, or infer it for a stock classifier without a `provence` block.

        A sequence classifier with one label is a ranking checkpoint, a token classifier with the labels
        DROP and KEEP a pruning one.

        Raises:
            CheckpointError: There is no `config.json`, or it is no checkpoint of a kind known here.
        """
        values = read_config_json(directory)
        if "provence" in values:
            return cls.from_dict(values["provence"])
        architecture = next(iter(values.get("architectures") or []), "")
        labels = values.get("id2label") or {}
        window = min(int(values.get("max_position_embeddings", 512)), 512)
        if architecture.endswith("ForSequenceClassification") and len(labels) == 1:
            return cls(mode="ranking", max_length=window, score_activation=_stock_activation(values))
        if architecture.endswith("ForTokenClassification") and labels == {"0": "DROP", "1": "KEEP"}:
            return cls(mode="pruning", max_length=window)
        raise CheckpointError(
            f"{directory} is neither a Provence checkpoint nor a reranker with one label: its config.json has "
            f"no provence block, architecture {architecture or 'unknown'} and {len(labels)} labels"
        )


def read_config_json(directory: Path) -> dict[str, Any]:
    """The content of a checkpoint's `config.json`.

    Raises:
        CheckpointError: The file is missing or is no JSON object.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{directory} is not a checkpoint: it has no config.json")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got {type(values).__name__}")
    return values


def _stock_activation(values: Mapping[str, Any]) -> Literal["sigmoid", "identity"]:
    """The activation that sentence-transformers reads for a CrossEncoder with one label."""
    nested = values.get("sentence_transformers") or {}
    name = nested.get("activation_fn") or values.get("sbert_ce_default_activation_function") or "Sigmoid"
    return "identity" if name.endswith("Identity") else "sigmoid"
