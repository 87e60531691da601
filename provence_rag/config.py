"""What is stored with a checkpoint: the `provence` block of its `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from provence_rag.config_json import num_positions, read_config_json, read_model_json, stock_settings
from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.languages import language_code
from provence_rag.validation import check_count, check_number, check_share

__all__ = [
    "SHORTEST_WINDOW",
    "DynamicRule",
    "ProvenceConfig",
    "Rules",
]

SHORTEST_WINDOW = 16
"""Smallest `max_length`: with fewer tokens, a query leaves no room for a passage."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DynamicRule:
    """The `dynamic` selection: a floor, and a share of the best score of the passage.

    A sentence is kept if its keep probability is at least `max(floor, share * best)`, where `best` is the
    highest keep probability of its passage. The floor empties passages that do not answer; in those that do,
    the share follows the model's confidence.
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
    """How a checkpoint is used. Immutable; stored in its `config.json` under `provence`."""

    mode: Literal["joint", "ranking", "pruning"] = "joint"
    """Its heads: both, ranking only (a CrossEncoder), or pruning only (a token classifier)."""

    max_length: int = 512
    """Tokens in a window: query, passage and special tokens together."""

    pair_template: tuple[str, ...] | None = None
    """How a query (`$A`) and a passage (`$B`) are joined, as the tokenizers library writes it:
    `("<s>", "$A", "</s>", "$B", "</s>")`; None is the tokenizer's own template."""

    normalize_query: bool = False
    """Whether the query is lowercased, stripped of ASCII punctuation, and read with single spaces."""

    tokenization: Literal["document", "sentence", "spaced"] = "document"
    """The unit of tokenization: a whole document; each sentence with the white space after it; or each
    sentence, from the second on with one space before it."""

    splitter_language: str = "auto"
    """Language whose sentence rules apply (ISO 639-1) if the caller does not choose one; `auto` detects it
    for each document."""

    hidden_states: Literal["final", "before_final_norm"] = "final"
    """What the pruning head reads: the encoder's output, or the input of its last normalisation."""

    scoring: Literal["mean", "fraction"] = "mean"
    """How the keep probability of a sentence is computed from those of its tokens: as their mean, or as the
    highest threshold T that more than a share T of them exceed (the rule of Provence's code)."""

    score_activation: Literal["sigmoid", "identity"] = "sigmoid"
    """The function that turns the ranking logit into the relevance score."""

    threshold: float = 0.5
    """Threshold of the `threshold` mode if the caller gives none, in [0, 1]."""

    promises: Mapping[float, Rules] = field(default_factory=dict)
    """Rules of the `dynamic` mode by their promise: the share of answers, in [0, 1], that survived on the
    data used for calibration. A higher promise never has a higher `floor` or `share`, so it keeps at least as
    much of every passage. Empty if the checkpoint is not calibrated."""

    dynamic: Rules | float = field(default_factory=lambda: {"default": DynamicRule()})
    """Rules of the `dynamic` mode if the caller asks for no promise, or their key in `promises`."""

    temperature: Mapping[str, float] = field(default_factory=lambda: {"default": 1.0})
    """Divisor of the logit of a sentence's keep probability, per language, with `default` for all others
    (temperature scaling, Guo et al. 2017, arXiv 1706.04599): it makes probabilities of different languages
    comparable."""

    languages: tuple[str, ...] = ()
    """Languages that the checkpoint was trained on (ISO 639-1); empty if unknown."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidInputError: A value cannot be used.
        """
        for name, values in _choices().items():
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
            raise InvalidInputError(f"temperature must have a value for 'default', got {self.temperature!r}")
        for language, temperature in self.temperature.items():
            check_number(f"temperature[{language!r}]", temperature)
            if temperature <= 0:
                raise InvalidInputError(f"temperature[{language!r}] must be above 0, got {temperature!r}")
        if not isinstance(self.languages, tuple):
            raise InvalidInputError(f"languages must be a tuple of codes, got {self.languages!r}")

    def __hash__(self) -> int:
        # The generated one would hash the mappings, which have no hash of their own.
        return hash(_hashable(asdict(self)))

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
            keep_answers: Share of the answers that should survive, as in `PruningOptions`: the lowest promise
                of at least this share is used. None is the checkpoint's default.

        Raises:
            InvalidInputError: The checkpoint makes no promise that high.
        """
        if keep_answers is None:
            return self.dynamic if isinstance(self.dynamic, Mapping) else self.promises[self.dynamic]
        # As a float32, 0.97 is slightly more than 0.97.
        enough = [promise for promise in self.promises if promise >= keep_answers - 1e-6]
        if not enough:
            known = ", ".join(map(str, sorted(self.promises)))
            why = (
                f"is more than this checkpoint promises ({known})"
                if known
                else "needs a checkpoint with promises, which this one lacks"
            )
            raise InvalidInputError(
                f"keep_answers={keep_answers} {why}: give threshold=... instead, or calibrate it with "
                f"`provence calibrate --keep {keep_answers}`"
            )
        return self.promises[min(enough)]

    def dynamic_rule(self, language: str, keep_answers: float | None = None) -> DynamicRule:
        """The one of `rules` for a language; for a region ("zh-TW"), that of its language."""
        return _of_language(self.rules(keep_answers), language)

    def temperature_of(self, language: str) -> float:
        """The temperature for a language, or for the language of a region."""
        return _of_language(self.temperature, language)

    def with_max_length(self, max_length: int, config_json: Mapping[str, Any]) -> ProvenceConfig:
        """A copy with another window.

        Raises:
            InvalidInputError: The window is too small, or has more tokens than the encoder has positions.
        """
        check_count("max_length", max_length, SHORTEST_WINDOW)
        positions = num_positions(config_json)
        if positions is not None and max_length > positions:
            raise InvalidInputError(
                f"max_length={max_length} is more than the {positions} positions of this checkpoint's encoder"
            )
        return replace(self, max_length=max_length)

    def to_dict(self) -> dict[str, Any]:
        """The block, as it is written to `config.json`."""
        block = {**asdict(self), "languages": list(self.languages)}
        block["promises"] = {str(promise): rules for promise, rules in block["promises"].items()}
        if self.pair_template is not None:
            block["pair_template"] = list(self.pair_template)
        return block

    def to_directory(self, directory: Path) -> None:
        """Write the block into the `config.json` of a checkpoint's directory.

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
                raise CheckpointError(
                    f"unknown keys {', '.join(unknown)}; it may need a newer version of provence-rag"
                )
            if "promises" in values:
                promises = dict(values["promises"]).items()
                values["promises"] = {float(promise): _read_rules(rules) for promise, rules in promises}
            if isinstance(values.get("dynamic"), Mapping):
                values["dynamic"] = _read_rules(values["dynamic"])
            for name in ("languages", "pair_template"):
                if isinstance(values.get(name), list):  # JSON has no tuples
                    values[name] = tuple(values[name])
            return cls(**values)
        except (TypeError, ValueError) as error:  # not a mapping, unknown names, or values out of range
            raise CheckpointError(f"the provence block of config.json cannot be used: {error}") from error

    @classmethod
    def from_directory(cls, directory: Path) -> ProvenceConfig:
        """Read a checkpoint's configuration.

        Raises:
            CheckpointError: There is no `config.json`, or it describes no checkpoint that is known here.
        """
        return cls.from_config_json(read_model_json(directory), str(directory))

    @classmethod
    def from_config_json(cls, values: Mapping[str, Any], where: str) -> ProvenceConfig:
        """Read the `provence` block of a `config.json`; without one, infer it for a stock classifier.

        A sequence classifier with one label is a ranking checkpoint, a token classifier with the labels
        DROP and KEEP is a pruning one.

        Args:
            values: The content of the file.
            where: Where it comes from, for messages.

        Raises:
            CheckpointError: It describes no checkpoint that is known here.
        """
        if "provence" in values:
            return cls.from_dict(values["provence"])
        return cls(**stock_settings(values, where))


@cache
def _choices() -> dict[str, tuple[str, ...]]:
    """The values of each field that has a few."""
    kinds = get_type_hints(ProvenceConfig)
    return {name: get_args(kind) for name, kind in kinds.items() if get_origin(kind) is Literal}


def _read_rules(values: Any) -> Rules:
    return {language: DynamicRule(**rule) for language, rule in dict(values).items()}


def _check_rules(name: str, rules: Any) -> None:
    if "default" not in rules or not all(isinstance(rule, DynamicRule) for rule in rules.values()):
        raise InvalidInputError(f"{name} must have DynamicRules, one of them for 'default', got {rules!r}")


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


def _hashable(value: Any) -> Any:
    """The value with sets of pairs for its mappings; equal values stay equal."""
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(own)) for key, own in value.items())
    return value


def _of_language(values: Mapping[str, T], language: str) -> T:
    return values.get(language_code(language), values["default"])


def _check_template(template: Any) -> None:
    pieces = [p.partition(":")[0] for p in template] if _are_strings(template) else []
    if [piece for piece in pieces if piece in ("$A", "$B")] != ["$A", "$B"]:
        raise InvalidInputError(
            f"pair_template must be a tuple of strings with $A before $B, got {template!r}"
        )


def _are_strings(values: Any) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, str) for value in values)
