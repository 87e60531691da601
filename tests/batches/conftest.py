"""Questions with passages, in the shapes that a cell may have."""

from __future__ import annotations

from typing import Any

import pytest

from provence_rag.batches import ProvenceBatch
from provence_rag.testing import fake_provence


@pytest.fixture(scope="session")
def columns() -> dict[str, list[Any]]:
    """Three rows with a passage, and a column that nobody reads."""
    return {
        "question": ["Where do penguins live?", "What do owls eat?", "Who likes tea?"],
        "passage": ["Penguins live on ice. Cats do not.", "It rains.", "Tea is hot. Owls fly."],
        "id": [1, 2, 3],
    }


@pytest.fixture(scope="session")
def lists() -> dict[str, list[Any]]:
    """Rows with several passages, none and null."""
    passages = [["Penguins live on ice. Cats do not.", "It rains."], [], None]
    return {"question": ["Where do penguins live?"] * 3, "passage": passages}


@pytest.fixture(scope="session")
def batch() -> ProvenceBatch:
    """With a model that judges by shared words, and that a run can recognise."""
    model = fake_provence()
    model.fingerprint = "fake"
    return ProvenceBatch("question", "passage", model=model)
