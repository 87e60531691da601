"""A cache on disk of arrays, by the content that they were computed from."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from provence_training.arrays import Array

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ContentCache", "content_key", "fingerprint"]


_SLICE = 512
"""Arrays computed before they are stored, and so the most that a killed run loses."""


def content_key(*parts: Any) -> bytes:
    """A hash of JSON values, 32 bytes."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).digest()


def fingerprint(model: nn.Module) -> str:
    """A hash of a model's weights, which tells apart two models of one name."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


class ContentCache:
    """An SQLite file of arrays.

    Args:
        path: The file; it is created if missing.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with closing(self._connection()) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS arrays (key BLOB PRIMARY KEY, value BLOB)")

    def get(
        self,
        keys: Sequence[bytes],
        compute: Callable[[list[int]], Iterable[Array]],
        *,
        description: str | None = None,
    ) -> list[Array]:
        """The array of each key.

        Args:
            keys: From `content_key`; duplicates are allowed.
            compute: Takes indices into `keys` and returns their arrays; called only for what is not stored.
            description: Label of a progress bar, shown on a terminal.
        """
        found = self._stored(keys)
        places = {key: place for place, key in enumerate(keys) if key not in found}
        missing = list(places.values())
        if missing:
            with tqdm(total=len(missing), desc=description, disable=None if description else True) as bar:
                for start in range(0, len(missing), _SLICE):
                    part = missing[start : start + _SLICE]
                    computed = {keys[i]: array for i, array in zip(part, compute(part), strict=True)}
                    self._store(computed)
                    found |= computed
                    bar.update(len(part))
        return [found[key] for key in keys]

    def _connection(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=60)

    def _stored(self, keys: Sequence[bytes]) -> dict[bytes, Array]:
        found: dict[bytes, Array] = {}
        unique = list(dict.fromkeys(keys))
        with closing(self._connection()) as connection:
            for start in range(0, len(unique), _SLICE):
                part = unique[start : start + _SLICE]
                places = ",".join("?" * len(part))
                rows = connection.execute(f"SELECT key, value FROM arrays WHERE key IN ({places})", part)
                found |= {key: np.load(io.BytesIO(value), allow_pickle=False) for key, value in rows}
        return found

    def _store(self, arrays: dict[bytes, Array]) -> None:
        rows = []
        for key, array in arrays.items():
            file = io.BytesIO()
            np.save(file, array, allow_pickle=False)
            rows.append((key, file.getvalue()))
        with closing(self._connection()) as connection, connection:  # a transaction: all of them or none
            connection.executemany("INSERT OR REPLACE INTO arrays VALUES (?, ?)", rows)
