"""Scores of pairs that were read before: what the model is asked once, it need not be asked again."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

import numpy as np

from provence_rag.errors import InvalidInputError
from provence_rag.inference.arrays import FloatArray
from provence_rag.inference.notices import callers_level
from provence_rag.inference.planning import Plan
from provence_rag.validation import check_count

if TYPE_CHECKING:
    import sqlite3

__all__ = ["ComputedScores", "ScoreCache", "check_score_cache", "score_store"]

_Result = TypeVar("_Result")

_SLICE = 500
"""Keys that SQLite is asked for at once."""

_PATIENCE_TO_OPEN, _PATIENCE = 60, 10
"""Seconds to wait for other processes that write to a file: to open it, and later for each use."""

_PAUSE = 60.0
"""Seconds without the cache after a failure, which may be one that takes time to show."""


class ComputedScores(NamedTuple):
    """What the model computes for a pair with S sentences."""

    logit: float
    """Ranking logit; -inf if there is nothing to read, and without a ranking head."""

    sentences: FloatArray
    """Keep probabilities, shape (S,); without a pruning head, shape (0,)."""


class _Store(Protocol):
    """Where scores are kept. Threads may share one."""

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that it knows."""
        ...

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values."""
        ...


def check_score_cache(score_cache: Any) -> None:
    """Check `score_cache` of `Provence.from_pretrained`, and open nothing.

    Raises:
        InvalidInputError: It is neither a number nor the path of a file.
    """
    if not isinstance(score_cache, (str, Path)):
        check_count("score_cache", score_cache, 1)
    elif not str(score_cache).strip():
        raise InvalidInputError(f"score_cache must be the path of a file, got {score_cache!r}")


def score_store(score_cache: int | str | Path) -> _Store:
    """The store that `score_cache` of `Provence.from_pretrained` names.

    Raises:
        InvalidInputError: It is neither a number nor a file that can be used.
    """
    check_score_cache(score_cache)
    if isinstance(score_cache, (str, Path)):
        return _SqliteStore(Path(score_cache))
    return _MemoryStore(score_cache)


class ScoreCache:
    """Scores by all that they are computed from: token ids, windows and units, not the texts themselves.

    Args:
        store: Where they are kept.
        model: What tells the model from others in the same store.
    """

    def __init__(self, store: _Store, model: str = "") -> None:
        self._store = store
        self._model = model.encode()

    def scores(
        self, plans: Sequence[Plan], compute: Callable[[list[Plan]], Iterable[ComputedScores]]
    ) -> list[ComputedScores]:
        """The scores of each pair, of which `compute` gives those that are not known, each once."""
        keys = [self._key(plan) for plan in plans]
        known = self._store.get(list(dict.fromkeys(keys)))
        missing = {key: plan for key, plan in zip(keys, plans, strict=True) if key not in known}
        if missing:
            found = compute([_renumbered(plan, number) for number, plan in enumerate(missing.values())])
            new = {key: _packed(one) for key, one in zip(missing, found, strict=True)}
            self._store.put(new)
            known |= new
        return [_unpacked(known[key]) for key in keys]

    def _key(self, plan: Plan) -> bytes:
        document, head = plan.document, plan.head
        arrays = (
            head.ids,
            document.tokens.ids,
            [(window.start, window.end) for window in plan.windows],
            plan.unit_bounds,
            plan.unit_sentences,
            document.unread,
            [head.passage_start, len(document.spans), document.is_unread],
        )
        found = hashlib.blake2b(self._model, digest_size=16)
        found.update(document.language.encode())  # which may have a temperature of its own
        for array in arrays:
            numbers = np.asarray(array, dtype=np.int64)
            found.update(numbers.size.to_bytes(8, "little"))
            found.update(numbers.tobytes())
        return found.digest()


class _MemoryStore:
    """Keeps the values that were used last."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = Lock()
        _stores.add(self)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        with self._lock:
            known = {key: self._values[key] for key in keys if key in self._values}
            for key in known:
                self._values.move_to_end(key)
        return known

    def put(self, values: Mapping[bytes, bytes]) -> None:
        with self._lock:
            self._values.update(values)
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)

    def start_after_fork(self) -> None:
        self._lock = Lock()


class _SqliteStore:
    """An SQLite file, which several processes may share.

    It has to be usable when it is opened. Later failures, such as a full disk, are warned of once, and the
    model reads what the file would have known.
    """

    def __init__(self, path: Path) -> None:
        import sqlite3

        self._path = path
        self._lock = Lock()
        self._opened: sqlite3.Connection | None = None
        self._paused_until = 0.0
        self._has_warned = False
        try:
            self._connection()
        except sqlite3.Error as error:
            raise InvalidInputError(f"score_cache={str(path)!r} cannot be used: {error}") from error
        _stores.add(self)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        def read(connection: sqlite3.Connection) -> dict[bytes, bytes]:
            known: dict[bytes, bytes] = {}
            for start in range(0, len(keys), _SLICE):
                part = keys[start : start + _SLICE]
                places = ",".join("?" * len(part))
                known |= dict(
                    connection.execute(f"SELECT key, value FROM scores WHERE key IN ({places})", part)
                )
            return known

        return self._run(read, {})

    def put(self, values: Mapping[bytes, bytes]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            with connection:  # a transaction: all of them or none
                connection.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?)", values.items())

        self._run(write, None)

    def start_after_fork(self) -> None:
        self._lock = Lock()
        if self._opened is not None:
            _inherited.append(self._opened)
            self._opened = None

    def _run(self, action: Callable[[sqlite3.Connection], _Result], otherwise: _Result) -> _Result:
        import sqlite3

        with self._lock:
            if time.monotonic() < self._paused_until:
                return otherwise
            try:
                return action(self._connection())
            except sqlite3.Error as error:
                self._paused_until = time.monotonic() + _PAUSE
                is_first, self._has_warned = not self._has_warned, True
                problem = error
        if is_first:
            message = f"score_cache={str(self._path)!r} cannot be used for now: {problem}"
            warnings.warn(f"{message}. Passages are read without it", stacklevel=callers_level())
        return otherwise

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            import sqlite3

            opened = sqlite3.connect(self._path, timeout=_PATIENCE_TO_OPEN, check_same_thread=False)
            opened.execute("PRAGMA journal_mode=WAL")  # readers do not wait for a writer
            opened.execute(
                "PRAGMA synchronous=NORMAL"
            )  # what the last moment of a crash loses is computed again
            opened.execute(
                "CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"
            )
            opened.execute(f"PRAGMA busy_timeout={1000 * _PATIENCE}")
            self._opened = opened
        return self._opened


_stores: WeakSet[_MemoryStore | _SqliteStore] = WeakSet()
"""Those of this process."""

_inherited: list[Any] = []
"""Connections of the process that this one was forked from: they are not even to be closed here."""


def _start_after_fork() -> None:
    # Another thread, which this process does not have, may have held a lock.
    for store in list(_stores):
        store.start_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_after_fork)


def _renumbered(plan: Plan, number: int) -> Plan:
    """The plan as that of another pair."""
    return replace(plan, windows=[window._replace(document=number) for window in plan.windows])


def _packed(scores: ComputedScores) -> bytes:
    return np.array([scores.logit, *scores.sentences], dtype="<f8").tobytes()


def _unpacked(value: bytes) -> ComputedScores:
    numbers = np.frombuffer(value, dtype="<f8").astype(np.float64)
    return ComputedScores(float(numbers[0]), numbers[1:])
