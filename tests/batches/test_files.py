"""`prune_table`: whole files as streams, and runs that are interrupted and continue."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provence_rag import InvalidInputError, Provence, PruningOptions, RemoteError
from provence_rag.batches import ProvenceBatch, files, prune_table
from provence_rag.remote.http import Answer, JsonClient
from provence_rag.testing import fake_provence

Columns = dict[str, list[Any]]


def long(number: int) -> Columns:
    """Rows that are all different."""
    return {
        "question": [f"Where is owl{i % 7}?" for i in range(number)],
        "passage": [f"Owl{i % 5} is in tree{i}. It rains." for i in range(number)],
        "id": list(range(number)),
    }


def write(path: Path, columns: Columns, **settings: Any) -> Path:
    if path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet

        pyarrow.parquet.write_table(pa.table(columns), path, **settings)
        return path
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path: Path) -> Columns:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        found: Columns = pyarrow.parquet.read_table(path).to_pydict()
        return found
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        rows = [json.loads(line) for line in lines]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


@pytest.fixture(params=["parquet", "jsonl", "jsonl.gz"])
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_all_columns_and_the_new_ones(
    tmp_path: Path, suffix: str, batch: ProvenceBatch, columns: Columns, lists: Columns
) -> None:
    for name, given in {"strings": columns, "lists": lists, "many": long(1200)}.items():
        source, target = write(tmp_path / f"{name}.{suffix}", given), tmp_path / f"{name}-out.{suffix}"
        before = source.read_bytes()
        assert prune_table(source, target, batch) == len(given["question"])
        assert read(target) == batch(given)
        assert source.read_bytes() == before
        assert {path.name for path in tmp_path.iterdir()} >= {source.name, target.name}
    assert not list(tmp_path.glob("*.partial"))


def test_structs_and_other_types_stay_as_they_are(tmp_path: Path, batch: ProvenceBatch) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    document = pa.struct([("text", pa.large_string()), ("title", pa.string()), ("id", pa.int32())])
    table = pa.table(
        {
            "question": pa.array(["penguins"] * 4).dictionary_encode(),
            "passage": pa.array(
                [[{"text": "Penguins swim. It rains.", "title": None, "id": 5}], [], None, []],
                pa.list_(document),
            ),
            "when": pa.array([1, 2, 3, None], pa.timestamp("us", tz="UTC")),
        }
    ).replace_schema_metadata({"made by": "us"})
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pyarrow.parquet.write_table(table, source, row_group_size=3)
    prune_table(source, target, batch)
    found = pyarrow.parquet.read_table(target)
    assert found.select(table.column_names).equals(table)
    assert found.schema.metadata[b"made by"] == b"us"
    assert found["pruned_text"].to_pylist() == [["Penguins swim."], [], None, []]


def test_no_rows(tmp_path: Path, suffix: str, batch: ProvenceBatch) -> None:
    pa = pytest.importorskip("pyarrow")
    empty: Columns = {"question": pa.array([], pa.string()), "passage": pa.array([], pa.string())}
    source = write(tmp_path / f"in.{suffix}", empty)
    assert prune_table(source, tmp_path / f"out.{suffix}", batch) == 0
    assert not any(read(tmp_path / f"out.{suffix}").values())


class Ended(BaseException):
    """As Ctrl-C is."""


def end_after(groups: int, monkeypatch: pytest.MonkeyPatch, *arguments: Any, **settings: Any) -> None:
    """Start a run that is interrupted after a number of groups."""
    add, calls = files._Parts.add, 0

    def add_or_end(*given: Any) -> None:
        nonlocal calls
        if calls == groups:
            raise Ended
        calls += 1
        add(*given)

    with monkeypatch.context() as patch:
        patch.setattr(files._Parts, "add", add_or_end)
        with pytest.raises(Ended):
            prune_table(*arguments, **settings)


@pytest.mark.parametrize("groups", [0, 1, 2, 3])
def test_a_run_that_was_ended_goes_on(
    tmp_path: Path, suffix: str, batch: ProvenceBatch, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(
        tmp_path / f"in.{suffix}", long(1200), **({"row_group_size": 500} if suffix == "parquet" else {})
    )
    prune_table(source, tmp_path / f"whole.{suffix}", batch, rows_per_group=300)
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    assert read(tmp_path / f"whole.{suffix}")["id"] == list(range(1200))

    target = tmp_path / f"out.{suffix}"
    end_after(groups, monkeypatch, source, target, batch, rows_per_group=300)
    assert not target.exists()
    assert prune_table(source, target, batch, rows_per_group=300) == 1200 - 300 * groups
    assert target.read_bytes() == whole
    assert not list(tmp_path.glob("*.partial"))


ANOTHER_RUN = """
import sys
from provence_rag.batches import ProvenceBatch, prune_table
from provence_rag.testing import fake_provence

batch = ProvenceBatch("question", "passage", model=fake_provence())
batch.provence.fingerprint = "fake"
prune_table(sys.argv[1], sys.argv[2], batch, rows_per_group=200)
"""


def run_with_group(source: Path, target: Path, number: int) -> subprocess.Popen[bytes]:
    """A run in a process of its own that has written the group with a number."""
    run = subprocess.Popen([sys.executable, "-c", ANOTHER_RUN, str(source), str(target)])
    group = target.with_name(f"{target.name}.partial") / f"{number:08}.jsonl"
    until = time.monotonic() + 300
    while not group.exists() and time.monotonic() < until and run.poll() is None:
        time.sleep(0.01)
    return run


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_run_that_was_killed_goes_on(tmp_path: Path, batch: ProvenceBatch) -> None:
    source, target = write(tmp_path / "in.jsonl", long(6000)), tmp_path / "out.jsonl"
    partial = tmp_path / "out.jsonl.partial"
    run = run_with_group(source, target, 2)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = len(list(partial.glob("*.jsonl")))
    assert done >= 3
    assert prune_table(source, target, batch, rows_per_group=200) == 6000 - 200 * done
    assert read(target) == batch(long(6000))


def test_a_second_run_on_the_same_target_is_refused(tmp_path: Path, batch: ProvenceBatch) -> None:
    source, target = write(tmp_path / "in.jsonl", long(6000)), tmp_path / "out.jsonl"
    partial = tmp_path / "out.jsonl.partial"
    run = run_with_group(source, target, 0)
    message = f"{partial}: another run is writing to this folder: wait for it, or choose another name"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        prune_table(source, target, batch, rows_per_group=200)
    assert run.wait(300) == 0
    assert read(target) == batch(long(6000))
    assert not partial.exists()


def test_a_group_has_about_as_many_passages_whatever_a_row_has(
    tmp_path: Path, batch: ProvenceBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    monkeypatch.setattr(files, "_CALLS_PER_GROUP", 2)
    monkeypatch.setattr(files, "PASSAGES_PER_CALL", 20)
    for size, rows in ((1, 40), (5, 8), (50, 2)):
        given = {"question": ["owl"] * 45, "passage": [["Owls fly."] * size] * 45}
        target = tmp_path / f"{size}.parquet"
        prune_table(write(tmp_path / f"in{size}.parquet", given), target, batch)
        metadata = pyarrow.parquet.ParquetFile(target).metadata
        assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups - 1)] == [rows] * (
            44 // rows
        )


def test_a_group_has_as_many_rows_as_asked_for(tmp_path: Path, batch: ProvenceBatch) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    given = {"question": ["owl"] * 450, "passage": [["Owls fly."] * 5] * 450}
    source, target = write(tmp_path / "in.parquet", given), tmp_path / "out.parquet"
    prune_table(source, target, batch, rows_per_group=200)  # 102 have as many passages as are read in a call
    metadata = pyarrow.parquet.ParquetFile(target).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [200, 200, 50]


# --- a model on a server -----------------------------------------------------------------------------------


def test_a_model_on_a_server(tmp_path: Path, batch: ProvenceBatch, serve: Callable[..., str]) -> None:
    url = serve(fake_provence(), max_documents=50)
    source, target = write(tmp_path / "in.jsonl", long(300)), tmp_path / "out.jsonl"
    remote = ProvenceBatch("question", "passage", model=url)
    assert prune_table(source, target, remote, rows_per_group=100) == 300
    assert read(target) == batch(long(300))
    assert pickle.loads(pickle.dumps(remote))(long(3)) == batch(long(3))


def test_a_run_goes_on_with_the_same_model_wherever_it_is(
    tmp_path: Path, serve: Callable[..., str], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Provence.from_pretrained(checkpoint)
    remote = Provence.from_pretrained(serve(str(checkpoint)))
    assert remote.fingerprint == local.fingerprint is not None
    assert Provence.from_pretrained(serve(fake_provence())).fingerprint is None
    source, target = write(tmp_path / "in.jsonl", long(6)), tmp_path / "out.jsonl"
    here, there, another = (
        ProvenceBatch("question", "passage", model=model) for model in (local, remote, fake_provence())
    )

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files._Parts, "finish", fail)
        with pytest.raises(KeyboardInterrupt):
            prune_table(source, target, there, rows_per_group=2)
    with pytest.raises(
        InvalidInputError, match=r"belongs to another run, which differs in model: remove the folder first$"
    ):
        prune_table(source, target, another, rows_per_group=2)
    assert prune_table(source, target, here, rows_per_group=2) == 0  # all rows were done
    assert read(target) == here(long(6))


def test_a_server_that_goes_away_is_no_fault_of_the_files(
    tmp_path: Path, batch: ProvenceBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write(tmp_path / "in.jsonl", long(6)), tmp_path / "out.jsonl"
    process, calls = Provence.process_batch, []

    def process_once(*arguments: Any, **settings: Any) -> Any:
        if calls:
            raise RemoteError("http://host:8000 cannot be reached")
        calls.append(arguments)
        return process(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Provence, "process_batch", process_once)
        with pytest.raises(RemoteError, match=r"^http://host:8000 cannot be reached$"):
            prune_table(source, target, batch, rows_per_group=2)
    assert prune_table(source, target, batch, rows_per_group=2) == 4
    assert read(target) == batch(long(6))


def test_a_server_that_changes_its_model_ends_the_run(
    tmp_path: Path, serve: Callable[..., str], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(str(checkpoint))
    remote = ProvenceBatch("question", "passage", model=url)
    source, target = write(tmp_path / "in.jsonl", long(6)), tmp_path / "out.jsonl"
    end_after(1, monkeypatch, source, target, remote, rows_per_group=2)
    info = JsonClient(url, key=None, timeout=60, retries=0).get("/info")
    other = info.body.replace(str(remote.provence.fingerprint).encode(), b"0" * 64)
    with monkeypatch.context() as patch:
        patch.setattr(JsonClient, "get", lambda *_: Answer(200, {}, other))
        with pytest.raises(RemoteError, match=f"^{url} has another model than when the run began: start the"):
            prune_table(source, target, remote, rows_per_group=2)
    assert prune_table(source, target, remote, rows_per_group=2) == 4  # none of them done
    assert read(target) == remote(long(6))


# --- what is refused ---------------------------------------------------------------------------------------


def refused(message: str, source: Path, target: Path, batch: ProvenceBatch) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        prune_table(source, target, batch)


def test_another_run_is_not_gone_on_with(
    tmp_path: Path, batch: ProvenceBatch, columns: Columns, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write(tmp_path / "in.jsonl", columns), tmp_path / "out.jsonl"
    partial = tmp_path / "out.jsonl.partial"
    bad = write(tmp_path / "bad.jsonl", {"question": ["q"], "passage": [3]})
    with pytest.raises(InvalidInputError):
        prune_table(bad, target, batch)
    assert not partial.exists()

    def end(*_: Any) -> None:
        raise Ended

    with monkeypatch.context() as patch:
        patch.setattr(files._Parts, "add", end)
        with pytest.raises(Ended):
            prune_table(source, target, batch)
    options = PruningOptions(threshold=0.3)
    other = ProvenceBatch("question", "passage", model=batch.provence, options=options)
    refused(
        f"{partial}: belongs to another run, which differs in options.mode, options.threshold: "
        "remove the folder first",
        source,
        target,
        other,
    )
    write(source, long(5))
    refused(
        f"{partial}: belongs to another run, which differs in input: remove the folder first",
        source,
        target,
        batch,
    )


def test_a_run_with_another_chunker_or_batch_size_is_not_gone_on_with(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write(tmp_path / "in.jsonl", long(6)), tmp_path / "out.jsonl"

    def batch(**settings: Any) -> ProvenceBatch:
        return ProvenceBatch("question", "passage", model=checkpoint, threads=1, **settings)

    end_after(1, monkeypatch, source, target, batch(), rows_per_group=2)
    for settings, name in (({"chunker": str.splitlines}, "chunker"), ({"batch_size": 3}, "batch_size")):
        with pytest.raises(InvalidInputError, match=f"another run, which differs in {name}: remove"):
            prune_table(source, target, batch(**settings), rows_per_group=2)
    assert prune_table(source, target, batch(), rows_per_group=2) == 4


@pytest.mark.parametrize("name", ["model", "chunker"])
def test_a_run_whose_model_cannot_be_compared_is_not_gone_on_with(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source, target = write(tmp_path / "in.jsonl", long(6)), tmp_path / "out.jsonl"
    model = fake_provence()
    if name == "chunker":
        model = Provence.from_pretrained(checkpoint, chunker=str.splitlines)
    batch = ProvenceBatch("question", "passage", model=model)
    end_after(0, monkeypatch, source, target, batch, rows_per_group=2)
    end_after(1, monkeypatch, source, target, batch, rows_per_group=2)  # there was nothing to compare with
    message = f"another run, and whether its {name} is the same is not known: remove the folder first$"
    with pytest.raises(InvalidInputError, match=message):
        prune_table(source, target, batch, rows_per_group=2)


def test_messages_name_file_row_and_column(tmp_path: Path, suffix: str, batch: ProvenceBatch) -> None:
    given = long(700)
    given["question"][650] = " "
    source, target = write(tmp_path / f"in.{suffix}", given), tmp_path / f"out.{suffix}"
    place = f"{source}, row 651" if suffix == "parquet" else f"{source}:651"
    message = f"{place}: column 'question' is blank (' '): a query needs words"
    refused(
        f"{message} (skip_bad_rows=True or --skip-bad-rows writes null for such a row)", source, target, batch
    )


def test_a_run_goes_on_without_its_bad_rows(tmp_path: Path, suffix: str, batch: ProvenceBatch) -> None:
    given = long(700)
    given["question"][650] = None
    source, target = write(tmp_path / f"in.{suffix}", given), tmp_path / f"out.{suffix}"
    with pytest.raises(InvalidInputError, match="must be a string, got null"):
        prune_table(source, target, batch, rows_per_group=100)
    lenient = ProvenceBatch("question", "passage", model=batch.provence, skip_bad_rows=True)
    with pytest.warns(UserWarning, match="651: column 'question' must|row 651: column 'question' must"):
        assert prune_table(source, target, lenient, rows_per_group=100) == 100
    found = read(target)
    assert [number for number, text in enumerate(found["pruned_text"]) if text is None] == [650]
    assert {name: found[name] for name in given} == given


def test_a_record_without_a_key_is_a_bad_row(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('\n{"q": "a", "d": "A. B."}\n{"d": "A."}\n{"q": "a"}\n{"q": "a", "d": 3}\n{"q": "a"}\n')
    batch = ProvenceBatch("q", "d", model=fake_provence(), skip_bad_rows=True)
    with pytest.warns(UserWarning, match="^not pruned: ") as warned:
        prune_table(source, target, batch)
    assert [str(one.message) for one in warned] == [
        f"not pruned: {source}:3: there is no key 'q'",
        f"not pruned: {source}:4: there is no key 'd' (also {source}:6)",
        f"not pruned: {source}:5: column 'd': expected a string, or an object with text or page_content as a "
        "string, got a number",
    ]
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["pruned_text"] is None for row in rows] == [False, True, True, True, True]
    source.write_text('{"q": "a", "d": "A."}\n{"q": "a", "d": "A.", "pruned_text": "mine"}\n')
    with pytest.raises(InvalidInputError, match=r"in.jsonl:2: there is a key 'pruned_text' already"):
        prune_table(source, tmp_path / "taken.jsonl", batch)
    source.write_text('{"q": "a", "d": "A."}\n{"q"\n')
    with pytest.raises(InvalidInputError, match=r"in.jsonl:2: not JSON"):
        prune_table(source, tmp_path / "broken.jsonl", batch)
    wrong = ProvenceBatch("question", "d", model=fake_provence(), skip_bad_rows=True)
    with pytest.raises(InvalidInputError, match=r"there is no key 'question', only 'q', 'd'$"):
        prune_table(source, tmp_path / "wrong.jsonl", wrong)


def test_the_first_bad_row_is_named_whatever_is_wrong_with_it(tmp_path: Path, batch: ProvenceBatch) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(
        '{"question": "q", "passage": "A."}\n{"question": 3, "passage": "A."}\n{"passage": "A."}\n'
    )
    hint = "(skip_bad_rows=True or --skip-bad-rows writes null for such a row)"
    message = f"column 'question' must be a string, got int 3 {hint}"
    refused(f"{source}:2: {message}", source, tmp_path / "out.jsonl", batch)


@pytest.mark.parametrize("skip_bad_rows", [False, True])
def test_a_column_that_holds_no_text_is_no_bad_row(
    tmp_path: Path, batch: ProvenceBatch, columns: Columns, skip_bad_rows: bool
) -> None:
    source = write(tmp_path / "in.parquet", {**columns, "id": list(range(len(columns["question"])))})
    target = tmp_path / "out.parquet"
    wrong = ProvenceBatch("question", "id", model=batch.provence, skip_bad_rows=skip_bad_rows)
    expected = "must have strings, structs or lists of these, has int64"
    refused(f"{source}: the column of documents, 'id', {expected}", source, target, wrong)
    wrong = ProvenceBatch("id", "passage", model=batch.provence, skip_bad_rows=skip_bad_rows)
    refused(f"{source}: the column of questions, 'id', must have strings, has int64", source, target, wrong)
    assert not target.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "expected an object, got list [1]"),
        ("{", "not JSON: Expecting property name enclosed in double quotes at line 2, column 1"),
        ('{"question": "q", "passage": "p", "n": 1e999}', "a number cannot be read: 1e999 is too large"),
        (
            '{"question": "q", "passage": "p", "n": [NaN]}',
            "a number cannot be read: NaN is not JSON: write null",
        ),
        (
            '{"question": "q"}',
            "there is no key 'passage' (skip_bad_rows=True or --skip-bad-rows writes null for such a row)",
        ),
        (
            '{"question": "q", "passage": "p", "pruned_text": 1}',
            "there is a key 'pruned_text' already: choose another prefix for the new keys",
        ),
    ],
)
def test_lines_that_are_no_rows(tmp_path: Path, batch: ProvenceBatch, line: str, message: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(f'\n{{"question": "q", "passage": "p"}}\n{line}\n', encoding="utf-8")
    refused(f"{source}:3: {message}", source, tmp_path / "out.jsonl", batch)


def test_files_that_are_no_tables(tmp_path: Path, batch: ProvenceBatch, columns: Columns) -> None:
    source, target = write(tmp_path / "in.jsonl", columns), tmp_path / "out.jsonl"
    missing = tmp_path / "missing.jsonl"
    refused(f"{missing}: file not found", missing, target, batch)
    csv = tmp_path / "out.csv"
    refused(
        f"{csv}: the name of a table must end with one of .parquet, .jsonl, .jsonl.gz, .ndjson, .ndjson.gz",
        source,
        csv,
        batch,
    )
    gz = tmp_path / "out.jsonl.gz"
    refused(f"{gz}: must be in the format of {source}", source, gz, batch)
    refused(f"{source}: already exists: remove it, or choose another name", source, source, batch)
    nowhere = tmp_path / "no" / "out.jsonl"
    refused(f"{nowhere.parent}: folder not found", source, nowhere, batch)
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(b"{}" * 1000)[:-9])
    with pytest.raises(InvalidInputError, match="not compressed by gzip, or damaged"):
        prune_table(cut, gz, batch)
    damaged = bytearray(gzip.compress(b"{}" * 1000))
    damaged[10] |= 0b110  # a kind of block that does not exist
    cut.write_bytes(damaged)
    with pytest.raises(InvalidInputError, match=r"not compressed by gzip, or damaged: .*invalid block type"):
        prune_table(cut, gz, batch)


def test_what_is_no_parquet(tmp_path: Path, batch: ProvenceBatch, columns: Columns) -> None:
    pytest.importorskip("pyarrow")
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    source.write_bytes(b"PAR1 and no more")
    with pytest.raises(InvalidInputError, match=r"in\.parquet: not Parquet: "):
        prune_table(source, target, batch)
    write(source, {"question": ["q"], "text": ["a"]})
    refused(f"{source}: there is no column 'passage', only 'question', 'text'", source, target, batch)
    import pyarrow as pa
    import pyarrow.parquet

    twice = pa.table([["q"], ["a"], ["b"]], names=["question", "passage", "passage"])
    pyarrow.parquet.write_table(twice, source)
    refused(f"{source}: there are 2 columns 'passage': rename all but one of them", source, target, batch)


def test_a_damaged_row_group_is_named(tmp_path: Path, batch: ProvenceBatch) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    source = write(tmp_path / "in.parquet", long(1200), row_group_size=600, use_dictionary=False)
    column = pyarrow.parquet.ParquetFile(source).metadata.row_group(1).column(1)
    data = bytearray(source.read_bytes())
    start = column.data_page_offset + 60
    data[start : start + 200] = bytes(range(200))
    source.write_bytes(data)
    with pytest.raises(InvalidInputError, match=r"in\.parquet, row group 1: is damaged: "):
        prune_table(source, tmp_path / "out.parquet", batch)


def test_progress_is_shown_in_rows(
    tmp_path: Path, batch: ProvenceBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def progress(chunks: Any, total: int, *, unit: str, done: int) -> Any:
        seen.extend([total, unit, done])
        for chunk in chunks:
            yield chunk
            seen.append(len(chunk))

    monkeypatch.setattr("provence_rag.rendering.progress_bar", progress)
    prune_table(write(tmp_path / "in.jsonl", long(700)), tmp_path / "out.jsonl", batch, show_progress=True)
    assert seen == [700, "rows", 0, 512, 188]
