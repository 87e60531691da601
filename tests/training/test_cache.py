"""Arrays on disk by the content that they were computed from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from provence_training.cache import ContentCache, content_key, fingerprint

TEXTS = [f"text {i}" for i in range(1200)]
KEYS = [content_key("model", text) for text in TEXTS]


def compute(places: list[int]) -> list[np.ndarray[Any, Any]]:
    return [np.full(i % 3, i, dtype=np.float16 if i % 2 else np.float32) for i in places]


def refuse(places: list[int]) -> list[Any]:
    raise AssertionError(f"{len(places)} are computed again")


def test_what_was_computed_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "made" / "cache.sqlite"
    computed = ContentCache(path).get([*KEYS, KEYS[0]], compute)
    for found in (computed, ContentCache(path).get([*KEYS, KEYS[0]], refuse)):
        for one, expected in zip(found, compute([*range(1200), 0]), strict=True):
            np.testing.assert_array_equal(one, expected, strict=True)
    assert ContentCache(path).get([], refuse) == []


def test_only_what_is_missing_is_computed_and_only_once(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache.sqlite")
    cache.get(KEYS[:5], compute)
    asked: list[int] = []

    def note(places: list[int]) -> list[np.ndarray[Any, Any]]:
        asked.extend(places)
        return compute(places)

    found = cache.get([KEYS[3], KEYS[7], KEYS[1], KEYS[7]], note)
    assert len(asked) == 1
    assert asked[0] in (1, 3)
    assert [len(x) for x in found] == [0, len(found[1]), 1, len(found[1])]


def test_a_run_that_dies_keeps_what_it_had(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache.sqlite")
    done: list[int] = []

    def die(places: list[int]) -> list[np.ndarray[Any, Any]]:
        if done:
            raise KeyboardInterrupt
        done.extend(places)
        return compute(places)

    with pytest.raises(KeyboardInterrupt):
        cache.get(KEYS, die)
    assert 0 < len(done) < len(KEYS)
    ContentCache(tmp_path / "cache.sqlite").get([KEYS[i] for i in done], refuse)


def test_keys_are_of_content() -> None:
    assert content_key("a", "b") == content_key("a", "b")
    keys = {
        content_key(*parts) for parts in [("ab", ""), ("a", "b"), ("b", "a"), ("a", "b", None), ("\ud800",)]
    }
    assert len(keys) == 5
    assert {len(key) for key in keys} == {32}


def test_a_fingerprint_is_of_weights(make_model: Callable[..., Any]) -> None:
    assert fingerprint(make_model()) == fingerprint(make_model())
    assert fingerprint(make_model()) != fingerprint(make_model(seed=1))
    assert fingerprint(make_model().to(torch.bfloat16)) != fingerprint(make_model())
