"""The cache of scores: what was read once is not read again, and the results are the same."""

from __future__ import annotations

import multiprocessing
import pickle
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provence_rag import InvalidInputError, Provence, PruningOptions
from provence_rag.inference import score_cache as module
from provence_rag.inference.score_cache import ScoreCache, score_store
from provence_rag.testing import fake_provence

QUERY = "Where do penguins live?"
TEXTS = [
    "Penguins live on ice. Cats do not.",
    "It rains.",
    "",
    "ペンギンは氷の上に住む。雨が降る。",
    "Owls fly. " * 90,
]


class Counter:
    """Counts the windows that a model reads."""

    def __init__(self, model: Provence) -> None:
        self.windows = 0
        run = model.backend.run

        def counted(input_ids: Any, *others: Any) -> Any:
            self.windows += len(input_ids)
            return run(input_ids, *others)

        model.backend.run = counted  # type: ignore[method-assign]

    def new(self) -> int:
        """Those since the last call."""
        found, self.windows = self.windows, 0
        return found


def caching(score_cache: int | str | Path, model: str = "a", **settings: Any) -> tuple[Provence, Counter]:
    fake = fake_provence(max_length=64, **settings)
    fake.engine.cache = ScoreCache(score_store(score_cache), model)
    return fake, Counter(fake)


@pytest.fixture(params=["memory", "file"])
def cached(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Provence, Counter]:
    return caching(1000 if request.param == "memory" else tmp_path / "scores.db")


@pytest.mark.parametrize("heads", [{}, {"can_rank": False}, {"can_prune": False}])
def test_results_are_those_without_a_cache(heads: dict[str, bool], tmp_path: Path) -> None:
    expected = fake_provence(max_length=64, **heads).process(QUERY, TEXTS, titles=["Birds", *[None] * 4])
    for place in (1000, tmp_path / "scores.db"):
        model, counter = caching(place, **heads)
        assert model.process(QUERY, TEXTS, titles=["Birds", *[None] * 4]) == expected
        assert counter.new() > len(TEXTS)
        assert model.process(QUERY, TEXTS[::-1], titles=[*[None] * 4, "Birds"])[::-1] == [
            # the position in the list is not cached
            *(type(one)(**{**vars(one), "index": 4 - one.index}) for one in expected)
        ]
        assert counter.new() == 0


def test_other_options_cost_nothing(cached: tuple[Provence, Counter]) -> None:
    model, counter = cached
    model.process(QUERY, TEXTS)
    counter.new()
    for options in (PruningOptions(threshold=0.3), PruningOptions(ratio=0.5), PruningOptions(mode="off")):
        assert model.process(QUERY, TEXTS, options=options, top_k=2) == fake_provence(max_length=64).process(
            QUERY, TEXTS, options=options, top_k=2
        )
    assert counter.new() == 0
    budget = PruningOptions(max_tokens=3)  # which cuts long sentences
    assert model.process(QUERY, TEXTS, options=budget) == fake_provence(max_length=64).process(
        QUERY, TEXTS, options=budget
    )
    assert counter.new() > 0


@pytest.mark.parametrize(
    "other",
    [
        {"query": "Where do owls live?", "documents": TEXTS[:1]},
        {"query": QUERY, "documents": ["Penguins live on snow. Cats do not."]},
        {"query": QUERY, "documents": TEXTS[:1], "titles": ["Birds"]},
        {"query": QUERY, "documents": [["Penguins live", "on ice. Cats do not."]]},
        {"query": QUERY, "documents": TEXTS[:1], "options": PruningOptions(language="ja")},
    ],
)
def test_another_pair_is_read(cached: tuple[Provence, Counter], other: dict[str, Any]) -> None:
    model, counter = cached
    model.process(QUERY, TEXTS[:1])
    counter.new()
    assert model.process(**other) == fake_provence(max_length=64).process(**other)
    assert counter.new() == 1


def test_a_passage_that_comes_twice_in_a_call_is_read_once(cached: tuple[Provence, Counter]) -> None:
    model, counter = cached
    assert len(model.process(QUERY, TEXTS[:1] * 5)) == 5
    assert counter.new() == 1
    assert model.process(QUERY, []) == []


@given(st.lists(st.integers(0, 9), max_size=30))
def test_memory_keeps_what_was_used_last(asked: list[int]) -> None:
    model, counter = caching(3)
    kept: list[int] = []
    for number in asked:
        model.process(QUERY, [f"Text {number}."])
        assert counter.new() == (number not in kept)
        kept = [*(one for one in kept if one != number), number][-3:]


def test_a_file_keeps_models_apart(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    for model, expected in (("a", 1), ("a", 0), ("b", 1)):
        provence, counter = caching(path, model)
        provence.process(QUERY, TEXTS[:1])
        assert counter.new() == expected


def test_no_text_is_written(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    caching(path)[0].process("penguins", ["Penguins are secret."])
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"scores" in written
    assert not re.search(b"penguins|secret", written, re.IGNORECASE)


def _fill(arguments: tuple[str, int]) -> None:
    path, start = arguments
    model, _ = caching(path)
    for number in range(start, start + 40):
        model.process(QUERY, [f"Text {number}."])


def test_processes_share_a_file(tmp_path: Path) -> None:
    path = str(tmp_path / "scores.db")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_fill, [(path, 0), (path, 20)])
    model, counter = caching(path)
    model.process(QUERY, [f"Text {number}." for number in range(60)])
    assert counter.new() == 0
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM scores").fetchone() == (60,)


def test_a_loaded_model(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Provence.from_pretrained(checkpoint, score_cache="scores.db")
    counter = Counter(model)
    found = model.process(QUERY, TEXTS)
    assert found == Provence.from_pretrained(checkpoint).process(QUERY, TEXTS)
    assert counter.new()
    monkeypatch.chdir("/")
    copy = pickle.loads(pickle.dumps(model))  # which finds the same file
    again = Counter(copy)
    assert copy.process(QUERY, TEXTS) == found
    assert again.new() == 0
    shorter = Provence.from_pretrained(checkpoint, score_cache=tmp_path / "scores.db", max_length=48)
    counted = Counter(shorter)
    shorter.process(QUERY, TEXTS)
    assert counted.new()
    assert model.fingerprint == copy.fingerprint != shorter.fingerprint
    assert fake_provence().fingerprint is None


def test_the_fingerprint_is_that_of_the_files(checkpoint: Path) -> None:
    before = Provence.from_pretrained(checkpoint).fingerprint
    (checkpoint / "notes.txt").write_text("not a part of the checkpoint")
    assert Provence.from_pretrained(checkpoint).fingerprint == before
    (checkpoint / "README.md").write_text("# A card")
    assert Provence.from_pretrained(checkpoint).fingerprint == before
    (checkpoint / "tokenizer_config.json").write_text("{}")
    assert Provence.from_pretrained(checkpoint).fingerprint != before


@pytest.mark.parametrize("value", [0, -1, True, 1.5])
def test_what_is_no_cache(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=rf"^score_cache must be an integer >= 1, got {value}$"):
        Provence.from_pretrained(score_cache=value)


@pytest.mark.parametrize("value", ["", " "])
def test_a_blank_path_is_no_cache(value: str) -> None:
    message = rf"^score_cache must be the path of a file, got '{value}'$"
    with pytest.raises(InvalidInputError, match=message):
        Provence.from_pretrained(score_cache=value)


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    for path, what in ((tmp_path, "unable to open"), (tmp_path / "no.db", "not a database")):
        if path.suffix:
            path.write_bytes(b"This is a text. " * 99)
        with pytest.raises(
            InvalidInputError, match=rf"^score_cache='{re.escape(str(path))}' cannot be used: .*{what}"
        ):
            Provence.from_pretrained(score_cache=path)


def test_a_file_that_fails_later_costs_no_more_than_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    path = tmp_path / "scores.db"
    model, counter = caching(path)
    model.process(QUERY, TEXTS)
    counter.new()
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE scores")
    message = rf"^score_cache='{re.escape(str(path))}' cannot be used for now: no such table: scores"
    with pytest.warns(UserWarning, match=message) as caught:
        found = model.process(QUERY, TEXTS)
    assert [warning.filename for warning in caught] == [__file__]
    assert found == fake_provence(max_length=64).process(QUERY, TEXTS)
    model.process(QUERY, TEXTS)  # without another warning
    assert counter.new() > 2 * len(TEXTS)
    score_store(path)  # which makes the table again
    model.process(QUERY, TEXTS)
    counter.new()
    model.process(QUERY, TEXTS)
    assert counter.new() == 0


def test_a_file_that_is_locked_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0)
    path = tmp_path / "scores.db"
    model, counter = caching(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(UserWarning, match="database is locked"):
            model.process(QUERY, TEXTS[:1])
        other.execute("ROLLBACK")
    for _ in range(2):
        counter.new()
        model.process(QUERY, TEXTS[:1])
        assert counter.new() == 1  # not even asked for


FORKED = """
import os, sys
from provence_rag.batches import batch
from provence_rag.inference.score_cache import score_store

path = os.path.realpath(sys.argv[1])
stores = [score_store(path), score_store(10)]
for store in stores:
    store.put({b"a": b"1"})
opened = [int(number) for number in os.listdir("/proc/self/fd")
          if os.path.realpath(f"/proc/self/fd/{number}").startswith(path)]
assert opened
locks = [batch._lock, *(store._lock for store in stores)]
for lock in locks:
    lock.acquire()  # as another thread may have
child = os.fork()
if not child:
    with batch._lock:
        pass
    for store in stores:
        assert store.get([b"a"]) == {b"a": b"1"}
        store.put({b"b": b"2"})
    del store, stores
    for number in opened:
        os.fstat(number)  # which fails for a file that was closed
    os._exit(0)
for lock in locks:
    lock.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert stores[0].get([b"a", b"b"]) == {b"a": b"1", b"b": b"2"}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_forked_process_waits_for_no_lock_and_closes_nothing_of_its_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKED, str(tmp_path / "scores.db")]
    subprocess.run(command, check=True, timeout=120)
