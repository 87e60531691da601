"""What is stored with a checkpoint: the `provence` block of its `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.validation import check_count, check_number, check_share

__all__ = [
    "SHORTEST_WINDOW",
    "DynamicRule",
    "ProvenceConfig",
    "Rules",
    "architecture_of",
    "num_positions",
    "read_config_json",
    "read_json_object",
]

SHORTEST_WINDOW = 16
"""Smallest `max_length`: fewer tokens leave no room for a passage beside a query."""

T = TypeVar("T")

_LONGEST_STOCK_WINDOW = 512
_BEHIND_PADDING = ("camembert", "mpnet", "roberta")

_CHOICES = {
    "mode": ("joint", "ranking", "pruning"),
    "tokenization": ("document", "sentence", "spaced"),
    "hidden_states": ("final", "before_final_norm"),
    "scoring": ("mean", "fraction"),
    "score_activation": ("sigmoid", "identity"),
}


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

    def least_kept(self, best: float) -> float:
        """Smallest keep probability of a kept sentence, where `best` is the highest of the passage."""
        return max(self.floor, self.share * best)


Rules: TypeAlias = Mapping[str, DynamicRule]
"""A rule per language (ISO 639-1), with `default` for all others."""


@dataclass(frozen=True, kw_only=True)
class ProvenceConfig:
    """How a checkpoint is to be used. Immutable; stored in its `config.json` under `provence`."""

    mode: Literal["joint", "ranking", "pruning"] = "joint"
    """Which heads there are: both, ranking only (a CrossEncoder), or pruning only (a token classifier)."""

    max_length: int = 512
    """Tokens of one window: query, passage and special tokens together."""

    pair_template: tuple[str, ...] | None = None
    """How a query (`$A`) and a passage (`$B`) are joined, as the tokenizers library writes it:
    `("<s>", "$A", "</s>", "$B", "</s>")`; None is the tokenizer's own way."""

    normalize_query: bool = False
    """Whether the query is read in lower case, without ASCII punctuation, and with single spaces."""

    tokenization: Literal["document", "sentence", "spaced"] = "document"
    """What is tokenized in one go: a whole document; each sentence with the white space behind it; or each
    sentence with one space in front, from the second on."""

    splitter_language: str = "auto"
    """Language whose sentence rules a document gets if the caller leaves it at `auto` (ISO 639-1), or
    `auto` to detect it."""

    hidden_states: Literal["final", "before_final_norm"] = "final"
    """What the pruning head reads: the encoder's output, or what its last normalisation gets."""

    scoring: Literal["mean", "fraction"] = "mean"
    """How a sentence's keep probability follows from its tokens': their mean; or the highest threshold T at
    which more than a share T of them are above T (the rule of Provence's code)."""

    score_activation: Literal["sigmoid", "identity"] = "sigmoid"
    """Turns the ranking logit into the relevance score."""

    threshold: float = 0.5
    """Keep probability used by the `threshold` mode when the caller gives none, in [0, 1]."""

    promises: Mapping[float, Rules] = field(default_factory=dict)
    """Rules of the `dynamic` mode by what they promise: the share of answers, in [0, 1], that survived on the
    data that they were calibrated on. A higher promise has no higher `floor` or `share`: it keeps no less of
    any passage. Empty where the checkpoint was not calibrated."""

    dynamic: Rules | float = field(default_factory=lambda: {"default": DynamicRule()})
    """Rules of the `dynamic` mode where the caller asks for no promise, or the key of `promises` for them."""

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
        for name, values in _CHOICES.items():
            if getattr(self, name) not in values:
                known = f"{', '.join(values[:-1])} or {values[-1]}"
                raise InvalidInputError(f"{name} must be {known}, got {getattr(self, name)!r}")
        if self.pair_template is not None:
            _check_template(self.pair_template)
        if not isinstance(self.normalize_query, bool):
            raise InvalidInputError(f"normalize_query must be True or False, got {self.normalize_query!r}")
        if not isinstance(self.splitter_language, str) or not self.splitter_language:
            raise InvalidInputError(
                f"splitter_language must be 'auto' or an ISO 639-1 code, got {self.splitter_language!r}"
            )
        check_count("max_length", self.max_length, SHORTEST_WINDOW)
        check_share("threshold", self.threshold)
        _check_promises(self.promises)
        if isinstance(self.dynamic, Mapping):
            _check_rules("dynamic", self.dynamic)
        elif self.dynamic not in list(self.promises):
            raise InvalidInputError(
                f"dynamic must hold rules or be a key of promises ({', '.join(map(str, self.promises))}), "
                f"got {self.dynamic!r}"
            )
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

    def rules(self, keep_answers: float | None = None) -> Rules:
        """The rules of the `dynamic` mode.

        Args:
            keep_answers: Share of answers that is to survive, as in `PruningOptions`: the lowest promise that
                is no lower is taken. None is the checkpoint's default.

        Raises:
            InvalidInputError: The checkpoint does not promise as much.
        """
        if keep_answers is None:
            return self.dynamic if isinstance(self.dynamic, Mapping) else self.promises[self.dynamic]
        # In single precision 0.97 is a little more than 0.97.
        enough = [promise for promise in self.promises if promise >= keep_answers - 1e-6]
        if not enough:
            known = ", ".join(map(str, sorted(self.promises)))
            why = (
                f"is more than this checkpoint promises ({known})"
                if known
                else "needs a checkpoint with promises, and this one has none"
            )
            raise InvalidInputError(
                f"keep_answers={keep_answers} {why}: give threshold=... instead, or calibrate it with "
                f"`provence calibrate --keep {keep_answers}`"
            )
        return self.promises[min(enough)]

    def dynamic_rule(self, language: str, keep_answers: float | None = None) -> DynamicRule:
        """The rule for a language out of `rules`; of a region ("zh-TW"), for its language."""
        return _of_language(self.rules(keep_answers), language)

    def temperature_of(self, language: str) -> float:
        """The temperature for a language or region."""
        return _of_language(self.temperature, language)

    def with_max_length(self, max_length: int, config_json: Mapping[str, Any]) -> ProvenceConfig:
        """A copy with another window.

        Raises:
            InvalidInputError: The window is too small, or larger than the encoder's positions reach.
        """
        check_count("max_length", max_length, SHORTEST_WINDOW)
        positions = num_positions(config_json)
        if positions is not None and max_length > positions:
            raise InvalidInputError(
                f"max_length={max_length} is more than the {positions} positions of this checkpoint"
            )
        return replace(self, max_length=max_length)

    def to_dict(self) -> dict[str, Any]:
        """The block as it is written to `config.json`."""
        block = {**asdict(self), "languages": list(self.languages)}
        block["promises"] = {str(promise): rules for promise, rules in block["promises"].items()}
        if self.pair_template is not None:
            block["pair_template"] = list(self.pair_template)
        return block

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
            if "promises" in values:
                promises = dict(values["promises"]).items()
                values["promises"] = {float(promise): _read_rules(rules) for promise, rules in promises}
            if isinstance(values.get("dynamic"), Mapping):
                values["dynamic"] = _read_rules(values["dynamic"])
            for name in ("languages", "pair_template"):
                if isinstance(values.get(name), list):  # JSON has no tuples
                    values[name] = tuple(values[name])
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
        architecture = architecture_of(values)
        labels = values.get("id2label")
        labels = labels if isinstance(labels, dict) else {}
        window = min(num_positions(values) or _LONGEST_STOCK_WINDOW, _LONGEST_STOCK_WINDOW)
        if architecture.endswith("ForSequenceClassification") and len(labels) == 1:
            return cls(mode="ranking", max_length=window, score_activation=_stock_activation(values))
        if architecture.endswith("ForTokenClassification") and labels == {"0": "DROP", "1": "KEEP"}:
            return cls(mode="pruning", max_length=window)
        raise CheckpointError(
            f"{where} is neither a Provence checkpoint nor a reranker with one label: its config.json "
            f"has no provence block, architecture {architecture or 'unknown'} and {len(labels)} labels"
        )


def architecture_of(values: Mapping[str, Any]) -> str:
    """The class that a `config.json` names; empty if it names none."""
    architectures = values.get("architectures")
    return str(architectures[0]) if isinstance(architectures, list) and architectures else ""


def _read_rules(values: Any) -> Rules:
    return {language: DynamicRule(**rule) for language, rule in dict(values).items()}


def _check_rules(name: str, rules: Any) -> None:
    if "default" not in rules or not all(isinstance(rule, DynamicRule) for rule in rules.values()):
        raise InvalidInputError(f"{name} must hold a DynamicRule named 'default', got {rules!r}")


def _check_promises(promises: Mapping[float, Rules]) -> None:
    for promise, rules in promises.items():
        check_share("a key of promises", promise)
        _check_rules(f"promises[{promise}]", rules)
    for (low, loose), (high, careful) in pairwise(sorted(promises.items())):
        if loose.keys() != careful.keys():
            raise InvalidInputError(
                f"promises must have rules for the same languages, got {', '.join(loose)} for {low} and "
                f"{', '.join(careful)} for {high}"
            )
        for language, rule in careful.items():
            if rule.floor > loose[language].floor or rule.share > loose[language].share:
                raise InvalidInputError(
                    f"promises[{high}] must keep no less than promises[{low}], got {rule} against "
                    f"{loose[language]} for {language!r}"
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
    return read_json_object(path)


def read_json_object(path: Path) -> dict[str, Any]:
    """The content of a JSON file.

    Raises:
        CheckpointError: The file is no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # the latter for brackets without end
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got {type(values).__name__}")
    return values


def num_positions(values: Mapping[str, Any]) -> int | None:
    """How many tokens the encoder's position embeddings reach; None if any number will do."""
    positions = values.get("max_position_embeddings")
    if not isinstance(positions, int) or values.get("position_biased_input") is False:
        return None  # the latter has relative positions only, as DeBERTa-v3
    if str(values.get("model_type")).endswith(_BEHIND_PADDING):
        pad = values.get("pad_token_id")
        positions -= (
            pad if isinstance(pad, int) else 0
        ) + 1  # these count positions from the padding's id on
    return positions


def _saved_activation(directory: Path) -> str | None:
    """The activation of a CrossEncoder that sentence-transformers 5.4 or newer has saved."""
    path = directory / "config_sentence_transformers.json"
    values = read_json_object(path) if path.is_file() else {}
    return values.get("activation_fn") if values.get("model_type") == "CrossEncoder" else None


def _check_template(template: Any) -> None:
    pieces = [p.partition(":")[0] for p in template] if _are_strings(template) else []
    if [piece for piece in pieces if piece in ("$A", "$B")] != ["$A", "$B"]:
        raise InvalidInputError(
            f"pair_template must be a tuple of strings with $A before $B, got {template!r}"
        )


def _are_strings(values: Any) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, str) for value in values)


def _stock_activation(values: Mapping[str, Any]) -> Literal["sigmoid", "identity"]:
    """The activation that sentence-transformers reads for a CrossEncoder with one label."""
    nested = values.get("sentence_transformers")
    nested = nested if isinstance(nested, dict) else {}
    name = nested.get("activation_fn") or values.get("sbert_ce_default_activation_function") or "Sigmoid"
    activation = str(name).rpartition(".")[2].lower()
    if activation not in ("sigmoid", "identity"):
        raise CheckpointError(f"config.json has the activation {name}: only Sigmoid and Identity can be used")
    return "sigmoid" if activation == "sigmoid" else "identity"
