from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, asdict
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from provence_rag import InvalidInputError, PruningOptions
from provence_rag.options import OPTIONS


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ({}, "dynamic"),
        ({"keep_answers": 0.97}, "dynamic"),
        ({"threshold": 0.3}, "threshold"),
        ({"ratio": 0.5}, "ratio"),
        ({"max_tokens": 100}, "budget"),
        ({"max_tokens": 100, "threshold": 0.3}, "budget"),
        ({"max_tokens": 100, "keep_answers": 0.9}, "budget"),
        ({"mode": "threshold"}, "threshold"),
        ({"mode": "off"}, "off"),
    ],
)
def test_the_mode_is_that_of_the_value_given(values: dict[str, Any], mode: str) -> None:
    assert PruningOptions(**values).mode == mode


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"mode": "best"},
            "mode must be one of dynamic, threshold, ratio, budget, off, got 'best'",
        ),
        ({"mode": ["off"]}, "mode must be one of dynamic, threshold, ratio, budget, off, got ['off']"),
        (
            {"threshold": 0.5, "ratio": 0.5},
            "threshold and ratio belong to different modes: give one of them, or set mode",
        ),
        (
            {"mode": "dynamic", "threshold": 0.5},
            "threshold=0.5 has no effect in mode 'dynamic': use mode='threshold'",
        ),
        (
            {"keep_answers": 0.9, "ratio": 0.5},
            "keep_answers and ratio belong to different modes: give one of them, or set mode",
        ),
        (
            {"mode": "threshold", "keep_answers": 0.9},
            "keep_answers=0.9 has no effect in mode 'threshold': use mode='dynamic'",
        ),
        ({"keep_answers": 97}, "keep_answers must be a number between 0 and 1, got 97"),
        ({"keep_answers": True}, "keep_answers must be a number between 0 and 1, got True"),
        ({"mode": "off", "max_tokens": 9}, "max_tokens=9 has no effect in mode 'off': use mode='budget'"),
        (
            {"ratio": 0.5, "max_tokens": 9},
            "ratio and max_tokens belong to different modes: give one of them, or set mode",
        ),
        (
            {"keep_answers": 0.9, "threshold": 0.5, "max_tokens": 9},
            "keep_answers and threshold exclude each other: give one of them",
        ),
        (
            {"mode": "threshold", "max_tokens": 9},
            "max_tokens=9 has no effect in mode 'threshold': use mode='budget'",
        ),
        ({"mode": "budget", "threshold": 0.5}, "mode 'budget' needs max_tokens"),
        ({"mode": "ratio"}, "mode 'ratio' needs ratio"),
        ({"mode": "budget"}, "mode 'budget' needs max_tokens"),
        ({"threshold": 1.01}, "threshold must be a number between 0 and 1, got 1.01"),
        ({"threshold": -0.1}, "threshold must be a number between 0 and 1, got -0.1"),
        ({"threshold": float("nan")}, "threshold must be a number between 0 and 1, got nan"),
        ({"threshold": True}, "threshold must be a number between 0 and 1, got True"),
        ({"threshold": "0.5"}, "threshold must be a number between 0 and 1, got '0.5'"),
        ({"ratio": float("inf")}, "ratio must be a number between 0 and 1, got inf"),
        ({"max_tokens": 0}, "max_tokens must be an integer >= 1, got 0"),
        ({"max_tokens": 10.0}, "max_tokens must be an integer >= 1, got 10.0"),
        ({"min_sentences": -1}, "min_sentences must be an integer >= 0, got -1"),
        ({"min_sentences": None}, "min_sentences must be an integer >= 0, got None"),
        ({"context_before": True}, "context_before must be an integer >= 0, got True"),
        ({"context_after": "1"}, "context_after must be an integer >= 0, got '1'"),
        ({"keep_title": 1}, "keep_title must be True or False, got 1"),
        ({"keep_headings": None}, "keep_headings must be True or False, got None"),
        ({"keep_together": 1}, "keep_together must be True or False, got 1"),
        ({"language": ""}, "language must be 'auto' or an ISO 639-1 code, got ''"),
        ({"language": None}, "language must be 'auto' or an ISO 639-1 code, got None"),
    ],
)
def test_bad_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        PruningOptions(**values)


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, np.float32(0.25), np.float64(0.25), Fraction(1, 4)])
def test_any_kind_of_number_is_a_share(value: Any) -> None:
    assert PruningOptions(threshold=value).threshold == value


def test_numpy_integers_are_counts() -> None:
    assert PruningOptions(max_tokens=np.int64(5), min_sentences=np.int32(1)).max_tokens == 5


def test_options_are_immutable_and_comparable() -> None:
    options = PruningOptions(ratio=0.5)
    with pytest.raises(FrozenInstanceError):
        options.ratio = 0.6  # type: ignore[misc]
    assert options == PruningOptions(mode="ratio", ratio=0.5)
    assert len({options, PruningOptions(ratio=0.5)}) == 1


def test_every_option_is_described() -> None:
    assert list(OPTIONS) == list(asdict(PruningOptions()))
    assert OPTIONS["ratio"].help == "Share of a document's characters to remove (0 to 1)."
    assert OPTIONS["max_tokens"].help.endswith(" (at least 1).")
    assert OPTIONS["min_sentences"].help == "Minimum number of sentences that each document keeps."
    assert not [name for name, option in OPTIONS.items() if option.description.endswith(".")]


@pytest.mark.parametrize("name", OPTIONS)
def test_the_described_range_is_the_one_that_is_checked(name: str) -> None:
    option, default = OPTIONS[name], getattr(PruningOptions, name)
    is_number = default is None or type(default) is int
    assert (option.minimum is not None) == (is_number and name != "mode")
    if option.minimum is not None:
        assert getattr(PruningOptions(**{name: option.minimum}), name) == option.minimum
        with pytest.raises(InvalidInputError, match=f"^{name} must be"):
            PruningOptions(**{name: option.minimum - 1})
    if option.maximum is not None:
        with pytest.raises(InvalidInputError, match=f"^{name} must be"):
            PruningOptions(**{name: option.maximum + 1})


def test_values_round_trip() -> None:
    assert PruningOptions(**asdict(PruningOptions(max_tokens=3))) == PruningOptions(max_tokens=3)
