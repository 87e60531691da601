"""Bodies that are almost right, and bodies that are nothing."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from fastapi.testclient import TestClient

SEED = 18
VALUES: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    2**70,
    0.5,
    -1e400,
    "",
    "x",
    "/etc/passwd",
    "\ud800",
    "\x00",
    [],
    {},
    [[]],
    [None],
    {"text": None},
    {"text": []},
    {"text": [""]},
    ["a", 1],
    [["a"]],
    {"a": {"b": []}},
    "x" * 10_000,
    ["."] * 3000,
]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/prune": {
        "query": "a",
        "documents": ["b", {"text": "c", "id": 1, "metadata": {}, "title": "d"}],
        "threshold": 0.5,
        "mode": "threshold",
        "keep_answers": None,
        "max_tokens": None,
        "min_sentences": 1,
        "top_k": 1,
        "reorder": True,
        "score_threshold": 0.1,
        "language": "en",
        "separator": " ",
        "return_sentences": True,
        "min_documents": 0,
    },
    "/v1/rerank": {
        "query": "a",
        "documents": ["b", {"text": "c"}],
        "top_n": 1,
        "rank_fields": ["text"],
        "prune": {},
    },
    "/v2/rerank": {
        "query": "a",
        "documents": ["b"],
        "top_n": 1,
        "return_documents": True,
        "prune": {"ratio": 0.5},
    },
    "/rerank": {"query": "a", "texts": ["b"], "raw_scores": True, "return_text": True, "prune": True},
}


def mutated(value: Any, chance: random.Random) -> Any:
    """The value with one part of it exchanged, left out, doubled or added."""
    if isinstance(value, (dict, list)) and value and chance.random() < 0.8:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = chance.choice(keys)
        copy = dict(value) if isinstance(value, dict) else list(value)
        action = chance.random()
        if action < 0.15:
            del copy[key]
        elif action < 0.25 and isinstance(copy, dict):
            copy[chance.choice(["query", "prune", "x", "", "text", "model"])] = chance.choice(VALUES)
        elif action < 0.25:
            copy.append(chance.choice(VALUES))  # type: ignore[union-attr]
        else:
            copy[key] = mutated(copy[key], chance)
        return copy
    return chance.choice(VALUES)


def test_a_thousand_malformed_bodies(client: TestClient) -> None:
    chance = random.Random(SEED)
    statuses: dict[int, int] = {}
    for number in range(1000):
        path = chance.choice(list(BODIES))
        body = BODIES[path]
        for _ in range(chance.choice([1, 1, 2, 4])):
            body = mutated(body, chance)
        content = json.dumps(body).encode()
        if number % 10 == 0:  # no JSON any more
            position = chance.randrange(len(content))
            content = content[:position] + chance.randbytes(2) + content[position + chance.randrange(3) :]
        response = client.post(path, content=content, headers={"Content-Type": "application/json"})
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        assert response.status_code in (200, 400, 413, 422), (path, content[:300], response.text)
        assert not re.search("Input should|Value error", response.text), response.text
        response.json()
    assert statuses[422] > 300
    assert statuses[400] > 50
