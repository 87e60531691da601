"""Training data from files and data sets."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from provence_rag import InvalidInputError
from provence_training.data import load_passages, read_json_lines, write_json_lines

TEXT = "Cats sleep. Dogs bark loudly. Birds sing."
SPANS: dict[str, Any] = {
    "id": "p1",
    "lang": "en",
    "title": "Animals",
    "text": TEXT,
    "questions": [
        {"id": "q1", "question": "What do dogs do?", "answers": [{"start": 17, "end": 28}]},
        {"id": "q2", "question": "Is this about animals?", "answers": None},
    ],
}
GROUP = {"query": "Who sings?", "texts": ["Birds sing.", "Cows moo."], "labels": [1, 0]}


def write(path: Path, *lines: Any) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["zoo.jsonl", "zoo.jsonl.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    passages = load_passages(write(tmp_path / name, SPANS, "", "  ", {**SPANS, "id": None}))
    assert [(p.source, p.id, p.text, len(p.questions)) for p in passages] == [
        ("zoo", "p1", TEXT, 2),
        ("zoo", "zoo-1", TEXT, 2),
    ]
    assert [question.id for question in passages[0].questions] == ["q1", "q2"]


def test_every_other_form_of_the_same_data(tmp_path: Path) -> None:
    records = [SPANS, {**SPANS, "text": "Cows moo when they are hungry."}]
    expected = load_passages(write(tmp_path / "zoo.jsonl", *records))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "zoo.parquet")
    assert load_passages(tmp_path / "zoo.parquet") == expected
    data = datasets.Dataset.from_list(records)
    assert load_passages(data, name="zoo") == expected
    assert load_passages((record for record in records), name="zoo") == expected
    data.save_to_disk(tmp_path / "zoo")
    assert load_passages(str(tmp_path / "zoo")) == expected
    datasets.DatasetDict({"test": data}).save_to_disk(tmp_path / "splits")
    assert load_passages(tmp_path / "splits", name="zoo", split="test") == expected
    with pytest.raises(InvalidInputError, match=r"splits: has no split 'train'; it has test$"):
        load_passages(tmp_path / "splits")


def test_a_data_set_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def load_dataset(*arguments: Any, **settings: Any) -> datasets.Dataset:
        calls.append((arguments, settings))
        if arguments[0] == "owner/missing":
            raise ConnectionError("offline")
        return datasets.Dataset.from_list([GROUP])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    passages = load_passages("owner/pairs.v1", subset="ja", split="validation")
    assert [(p.source, p.text) for p in passages] == [("pairs", "Birds sing."), ("pairs", "Cows moo.")]
    assert calls == [(("owner/pairs.v1", "ja"), {"split": "validation"})]
    with pytest.raises(InvalidInputError) as raised:
        load_passages("owner/missing")
    assert str(raised.value) == (
        "owner/missing: is not a local file, and could not be downloaded from the Hugging Face hub: offline"
    )


def test_shapes_may_be_mixed(tmp_path: Path) -> None:
    sentences = {"query": "Who barks?", "sentences": ["Dogs bark.", "Cats sleep."], "labels": [1, 0]}
    passages = load_passages(write(tmp_path / "a.jsonl", SPANS, sentences, GROUP))
    assert [p.text for p in passages] == [TEXT, "Dogs bark. Cats sleep.", "Birds sing.", "Cows moo."]
    assert len({p.id for p in passages}) == 4


def test_a_line_separator_within_a_text_is_no_line_end(tmp_path: Path) -> None:
    line = json.dumps({**SPANS, "text": TEXT.replace(" ", "\u2028", 1)}, ensure_ascii=False)
    (passage,) = load_passages(write(tmp_path / "a.jsonl", line))
    assert "\u2028" in passage.text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON: Expecting property name"),
        ({**SPANS, "questions": 3}, "questions: must be a list, got int 3"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: Any, reason: str) -> None:
    path = write(tmp_path / "a.jsonl", SPANS, "", line)
    with pytest.raises(InvalidInputError) as raised:
        load_passages(path)
    assert str(raised.value).startswith(f"{path}:3: {reason}")


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    records = [GROUP, {**GROUP, "labels": [1]}]
    for data, place in ((records, "data[1]"), (datasets.Dataset.from_list(records), "data[1]")):
        with pytest.raises(InvalidInputError) as raised:
            load_passages(data)
        assert str(raised.value) == f"{place}: labels: must have an entry for each of the 2 texts, got 1"
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    with pytest.raises(InvalidInputError, match="parquet, row 2: labels: must have an entry"):
        load_passages(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "must be a file of JSON Lines (.jsonl, .jsonl.gz) or Parquet (.parquet)"),
        ("a.parquet", b"PAR?", "not Parquet: "),
        ("a.jsonl", None, "does not exist"),
        ("", None, "is a directory that datasets' save_to_disk has not written"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError) as raised:
        load_passages(tmp_path / name)
    assert str(raised.value).startswith(f"{tmp_path / name}: {reason}")


# Writing


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    records = [{"text": "a\u2028b\nc 日本"}, {"text": "\ud800"}, {"n": [1, None]}]
    write_json_lines(tmp_path / name, iter(records))
    assert [record for _, record in read_json_lines(str(tmp_path / name))] == records
    (tmp_path / "other").mkdir()
    write_json_lines(tmp_path / "other" / name, records)
    written = (tmp_path / name).read_bytes()
    assert (tmp_path / "other" / name).read_bytes() == written
    assert written.startswith(
        b"\x1f\x8b" if name.endswith(".gz") else '{"text": "a\u2028b\\nc 日本"}\n'.encode()
    )


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> Any:
        yield {"new": 1}
        raise InvalidInputError("no more")

    (tmp_path / "out.jsonl").write_bytes(b"old")
    with pytest.raises(InvalidInputError, match=r"^no more$"):
        write_json_lines(tmp_path / "out.jsonl", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_bytes() == b"old"


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as raised:
        write_json_lines(tmp_path / "missing" / "out.jsonl", [])
    assert str(raised.value) == f"{tmp_path / 'missing' / 'out.jsonl'}: No such file or directory"
