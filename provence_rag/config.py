"""What is stored with a checkpoint: the `provence` block of its `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from provence_rag.checks import check_count, check_number, check_share
from provence_rag.errors import CheckpointError, InvalidInputError

__all__ = ["SHORTEST_WINDOW", "DynamicRule", "ProvenceConfig", "read_config_json"]

SHORTEST_WINDOW = 16
"""Smallest `max_length`: fewer tokens leave no room for a passage beside a query."""

T = TypeVar("T")

_LONGEST_STOCK_WINDOW = 512
_BEHIND_PADDING = ("camembert", "mpnet", "roberta")


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

    temperature: Mapping[str, float] = field(default_factory=lambda: {"default": 1.0})
    """What the logit of a sentence's keep probability is divided by, per language as above (temperature
    scaling, Guo et al. 2017, arXiv 1706.04599): so that a probability means the same in every language."""

    languages: tuple[str, ...] = ()
    """Languages the checkpoint was trained on (ISO 639-1); empty if unknown."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidInputError: A value cannot be used.
        """
        if self.mode not in ("joint", "ranking", "pruning"):
            raise InvalidInputError(f"mode must be joint, ranking or pruning, got {self.mode!r}")
        if self.score_activation not in ("sigmoid", "identity"):
            raise InvalidInputError(
                f"score_activation must be sigmoid or identity, got {self.score_activation!r}"
            )
        check_count("max_length", self.max_length, SHORTEST_WINDOW)
        check_share("threshold", self.threshold)
        rules = self.dynamic.values()
        if "default" not in self.dynamic or not all(isinstance(rule, DynamicRule) for rule in rules):
            raise InvalidInputError(f"dynamic must hold a DynamicRule named 'default', got {self.dynamic!r}")
        if "default" not in self.temperature:
            raise InvalidInputError(f"temperature must hold one named 'default', got {self.temperature!r}")
        for language, temperature in self.temperature.items():
            check_number(f"temperature[{language!r}]", temperature)
            if temperature <= 0:
                raise InvalidInputError(f"temperature[{language!r}] must be above 0, got {temperature!r}")
        if not isinstance(self.languages, tuple):
            raise InvalidInputError(f"languages must be a tuple of codes, got {self.languages!r}")

    @property
    def can_rank(self) -> bool:
        """Whether there is a ranking head."""
        return self.mode != "pruning"

    @property
    def can_prune(self) -> bool:
        """Whether there is a pruning head."""
        return self.mode != "ranking"

    def dynamic_rule(self, language: str) -> DynamicRule:
        """The `dynamic` rule for a language; of a region ("zh-TW"), for its language."""
        return _of_language(self.dynamic, language)

    def temperature_of(self, language: str) -> float:
        """The temperature for a language or region."""
        return _of_language(self.temperature, language)

    def with_max_length(self, max_length: int, config_json: Mapping[str, Any]) -> ProvenceConfig:
        """A copy with another window.

        Raises:
            InvalidInputError: The window is too small, or larger than the encoder's positions reach.
        """
        check_count("max_length", max_length, SHORTEST_WINDOW)
        positions = _num_positions(config_json)
        if positions is not None and max_length > positions:
            raise InvalidInputError(
                f"max_length={max_length} is more than the {positions} positions of this checkpoint"
            )
        return replace(self, max_length=max_length)

    def to_dict(self) -> dict[str, Any]:
        """The block as it is written to `config.json`."""
        return {**asdict(self), "languages": list(self.languages)}

    def to_directory(self, directory: Path) -> None:
        """Write the block into the `config.json` that a checkpoint's directory has.

        Raises:
            CheckpointError: There is no `config.json`.
        """
        values = {**read_config_json(directory), "provence": self.to_dict()}
        (directory / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_dict(cls, block: Mapping[str, Any]) -> ProvenceConfig:
        """Read the block of a `config.json`.

        Raises:
            CheckpointError: A key is unknown or a value cannot be used.
        """
        try:
            values = dict(block)
            known = {f.name for f in fields(cls)}
            if unknown := sorted(values.keys() - known):
                raise CheckpointError(f"unknown keys {', '.join(unknown)}: it may need a newer provence-rag")
            if "dynamic" in values:
                rules = dict(values["dynamic"])
                values["dynamic"] = {language: DynamicRule(**rule) for language, rule in rules.items()}
            if isinstance(values.get("languages"), list):  # JSON has no tuples
                values["languages"] = tuple(values["languages"])
            return cls(**values)
        except (TypeError, ValueError) as error:  # no mapping, wrong names, or values out of range
            raise CheckpointError(f"config.json has a provence block that cannot be used: {error}") from error

    @classmethod
    def from_directory(cls, directory: Path) -> ProvenceConfig:
        """Read a checkpoint's configuration.

        Raises:
            CheckpointError: There is no `config.json`, or it is no checkpoint of a kind known here.
        """
        values = read_config_json(directory)
        if (activation := _saved_activation(directory)) is not None:
            values["sentence_transformers"] = {"activation_fn": activation}
        return cls.from_config_json(values, str(directory))

    @classmethod
    def from_config_json(cls, values: Mapping[str, Any], where: str) -> ProvenceConfig:
        """Read the `provence` block of a `config.json`, or infer it for a stock classifier without one.

        A sequence classifier with one label is a ranking checkpoint, a token classifier with the labels
        DROP and KEEP a pruning one.

        Args:
            values: The file's content.
            where: What it is of, for messages.

        Raises:
            CheckpointError: It is no checkpoint of a kind known here.
        """
        if "provence" in values:
            return cls.from_dict(values["provence"])
        architecture = next(iter(values.get("architectures") or []), "")
        labels = values.get("id2label") or {}
        window = min(_num_positions(values) or _LONGEST_STOCK_WINDOW, _LONGEST_STOCK_WINDOW)
        if architecture.endswith("ForSequenceClassification") and len(labels) == 1:
            return cls(mode="ranking", max_length=window, score_activation=_stock_activation(values))
        if architecture.endswith("ForTokenClassification") and labels == {"0": "DROP", "1": "KEEP"}:
            return cls(mode="pruning", max_length=window)
        raise CheckpointError(
            f"{where} is neither a Provence checkpoint nor a reranker with one label: its config.json "
            f"has no provence block, architecture {architecture or 'unknown'} and {len(labels)} labels"
        )


def _of_language(values: Mapping[str, T], language: str) -> T:
    code = language.lower().replace("_", "-").partition("-")[0]
    return values.get(code, values["default"])


def read_config_json(directory: Path) -> dict[str, Any]:
    """The content of a checkpoint's `config.json`.

    Raises:
        CheckpointError: The file is missing or is no JSON object.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{directory} is not a checkpoint: it has no config.json")
    return _read_json(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got {type(values).__name__}")
    return values


def _num_positions(values: Mapping[str, Any]) -> int | None:
    """How many tokens the encoder's position embeddings reach; None if any number will do."""
    positions = values.get("max_position_embeddings")
    if not isinstance(positions, int):
        return None
    if str(values.get("model_type")).endswith(_BEHIND_PADDING):
        positions -= (values.get("pad_token_id") or 0) + 1  # these count positions from the padding's id on
    return positions


def _saved_activation(directory: Path) -> str | None:
    """The activation of a CrossEncoder that sentence-transformers 5.4 or newer has saved."""
    path = directory / "config_sentence_transformers.json"
    values = _read_json(path) if path.is_file() else {}
    return values.get("activation_fn") if values.get("model_type") == "CrossEncoder" else None


def _stock_activation(values: Mapping[str, Any]) -> Literal["sigmoid", "identity"]:
    """The activation that sentence-transformers reads for a CrossEncoder with one label."""
    nested = values.get("sentence_transformers") or {}
    name = nested.get("activation_fn") or values.get("sbert_ce_default_activation_function") or "Sigmoid"
    activation = str(name).rpartition(".")[2].lower()
    if activation not in ("sigmoid", "identity"):
        raise CheckpointError(f"config.json has the activation {name}: only Sigmoid and Identity can be used")
    return "sigmoid" if activation == "sigmoid" else "identity"
