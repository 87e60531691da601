"""What the tests of the adapter share: a query with documents, and how a checkpoint is changed and loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provence_rag import Provence
from sentence_transformers_provence import PruningCrossEncoder

QUERY = "Who sat on the mat?"
DOCUMENTS = [
    "The old cat sat on the mat. Rain is cold. A red house.",
    "Tea is hot. The dog sat on a red mat. What is tea?",
    "",
    "A hot tea and a cold tea. " * 30,
]
PAIRS = [(QUERY, document) for document in DOCUMENTS]
QUERIES = [QUERY] * len(DOCUMENTS)


def edit_config(directory: Path, **values: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def block_of(directory: Path) -> dict[str, Any]:
    block: dict[str, Any] = json.loads((directory / "config.json").read_text())["provence"]
    return block


def load(directory: Path, **settings: Any) -> PruningCrossEncoder:
    return PruningCrossEncoder(str(directory), device="cpu", **settings)


def reference(directory: Path, **settings: Any) -> Provence:
    return Provence.from_pretrained(directory, backend="torch", device="cpu", **settings)
