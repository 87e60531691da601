"""A pytest plugin for sentence-transformers' own tests; see test_upstream.py."""

from __future__ import annotations

import os
from typing import Any

import datasets
import sentence_transformers
import sentence_transformers.cross_encoder

from sentence_transformers_provence import PruningCrossEncoder

# Plugins are imported before the tests, which import these names.
if os.environ["CROSS_ENCODER"] == "PruningCrossEncoder":
    for module in (sentence_transformers, sentence_transformers.cross_encoder):
        module.CrossEncoder = PruningCrossEncoder


def load_dataset(name: str, *_: Any, **__: Any) -> datasets.DatasetDict:
    """A stand-in for the one data set that is used; it has its columns."""
    assert name == "sentence-transformers/stsb"
    rows = [(f"Sentence number {i}.", f"Another sentence, {i * i}.", i % 11 / 10) for i in range(40)]
    columns = dict(zip(("sentence1", "sentence2", "score"), map(list, zip(*rows, strict=True)), strict=True))
    split = datasets.Dataset.from_dict(columns)
    return datasets.DatasetDict(dict.fromkeys(("train", "validation", "test"), split))


datasets.load_dataset = load_dataset
