"""A configuration of a short run, and data that a small model learns from."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ANIMALS, WEATHER = ["cat", "dog"], ["rain", "tea"]


def _write_data(path: Path, count: int, seed: int = 0) -> str:
    """Passages of three sentences; the one with the animal answers."""
    rng = random.Random(seed)
    records = []
    for i in range(count):
        animal = rng.choice(ANIMALS)
        sentences = [f"the {animal} sat on mat {'abc'[i % 3]}.", *(f"{w} is cold." for w in WEATHER)]
        rng.shuffle(sentences)
        labels = [int(animal in sentence) for sentence in sentences]
        records.append({"query": f"where sat the {animal} {i}", "sentences": sentences, "labels": labels})
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return str(path)


@pytest.fixture
def write_data() -> Callable[..., str]:
    return _write_data


@pytest.fixture
def make_config(joint: Path, tmp_path: Path) -> Callable[..., Path]:
    def make(**changes: Any) -> Path:
        values = {
            "output": str(tmp_path / "run"),
            "data": {"train": [_write_data(tmp_path / "animals.jsonl", 24)]},
            "model": {"checkpoint": str(joint)},
            "stages": [
                {
                    "epochs": 1,
                    "batch_tokens": 256,
                    "learning_rate": 3e-3,
                    "save_steps": 2,
                    "precision": "float32",
                }
            ],
            "logging_steps": 1,
            "device": "cpu",
            **changes,
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    return make
