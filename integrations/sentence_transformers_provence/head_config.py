"""The settings of a pruning head, as a dictionary says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from provence_rag import InvalidInputError

__all__ = ["HeadSettings", "head_settings"]

_FIXED: dict[str, Any] = {"num_labels": 2, "sentence_pooling": "mean", "use_weighted_pooling": False}
"""What every head has."""

_KNOWN = ("dropout", "classifier_dropout", "initializer_range", "hidden_size", *_FIXED)


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """What can be chosen of a pruning head: a linear layer from hidden states to drop and keep logits."""

    dropout: float | None = None
    """Probability of dropout before the head in training; None is the transformer's own."""

    initializer_range: float | None = None
    """Standard deviation of a new head's weights; None is the transformer's own."""

    hidden_size: int | None = None
    """Size of the hidden states, if given."""

    def check_hidden_size(self, hidden_size: int | None) -> None:
        """Compare with the transformer's.

        Raises:
            InvalidInputError: They differ.
        """
        if self.hidden_size is not None and self.hidden_size != hidden_size:
            raise InvalidInputError(
                f"pruning_head_config['hidden_size'] must be {hidden_size}, as the model has, "
                f"got {self.hidden_size!r}: leave it out"
            )


def head_settings(values: Mapping[str, Any] | None) -> HeadSettings:
    """Check `pruning_head_config`.

    Raises:
        InvalidInputError: It is not a dictionary, has an unknown key, or a value that no head has.
    """
    if values is None:
        return HeadSettings()
    if not isinstance(values, Mapping):
        raise InvalidInputError(f"pruning_head_config must be a dictionary, got {values!r}")
    for key, value in values.items():
        if key not in _KNOWN:
            raise InvalidInputError(f"pruning_head_config has the unknown key {key!r}: {', '.join(_KNOWN)}")
        if key in _FIXED and value != _FIXED[key]:
            raise InvalidInputError(f"pruning_head_config[{key!r}] must be {_FIXED[key]!r}, got {value!r}")
    if "dropout" in values and "classifier_dropout" in values:
        raise InvalidInputError("pruning_head_config has dropout and classifier_dropout: give one of them")
    name = "classifier_dropout" if "classifier_dropout" in values else "dropout"
    dropout, initializer_range = values.get(name), values.get("initializer_range")
    if dropout is not None and not (_is_number(dropout) and 0 <= dropout < 1):
        raise InvalidInputError(f"pruning_head_config[{name!r}] must be in [0, 1), got {dropout!r}")
    if initializer_range is not None and not (_is_number(initializer_range) and initializer_range > 0):
        raise InvalidInputError(
            f"pruning_head_config['initializer_range'] must be above 0, got {initializer_range!r}"
        )
    return HeadSettings(
        dropout=dropout, initializer_range=initializer_range, hidden_size=values.get("hidden_size")
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
