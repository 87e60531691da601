"""`provence prune-table`, with the bundled model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from provence_rag import InvalidInputError, Provence, PruningOptions
from provence_rag.batches import files
from provence_rag.cli import app

QUESTION = "Who patented the paper coffee filter?"
PASSAGES = ["Melitta Bentz patented it in 1908. It rains today.", "Owls fly at night."]


def test_a_table_from_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet

    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    documents = [[{"text": text, "title": "Coffee"} for text in PASSAGES]]
    pyarrow.parquet.write_table(pa.table({"question": [QUESTION], "passages": documents}), source)
    arguments = ["prune-table", str(source), str(target), "-q", "question", "--documents", "passages"]
    more = [
        "--threshold",
        "0.3",
        "--sentence-scores",
        "--prefix",
        "p_",
        "--score-cache",
        str(tmp_path / "scores.db"),
    ]
    done = CliRunner().invoke(app, [*arguments, *more])
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith(f"wrote {target}: 1 row in ")
    assert done.stderr.endswith(" rows/s)\n")
    assert done.stdout == ""
    (row,) = pyarrow.parquet.read_table(target).to_pylist()
    options = PruningOptions(threshold=0.3)
    own = Provence.from_pretrained().process(QUESTION, PASSAGES, titles=["Coffee"] * 2, options=options)
    assert row["p_pruned_text"] == [passage.text for passage in own]
    assert row["p_relevance_score"] == pytest.approx([passage.score for passage in own], abs=1e-6)
    assert len(row["p_sentence_scores"][0]) == 2
    assert (tmp_path / "scores.db").is_file()


def test_json_lines_and_errors(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    rows: list[dict[str, Any]] = [{"question": QUESTION, "text": text} for text in PASSAGES]
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    arguments = ["prune-table", str(source), str(tmp_path / "out.jsonl"), "-q", "question", "--documents"]
    done = CliRunner().invoke(app, [*arguments, "texts"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "in.jsonl:1: there is no key 'texts', only 'question', 'text'" in done.stderr
    done = CliRunner().invoke(app, [*arguments, "text"])
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["pruned_text"] for line in lines] == ["Melitta Bentz patented it in 1908.", ""]


def test_a_run_that_is_continued_counts_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows: list[dict[str, Any]] = [{"question": QUESTION, "text": text} for text in PASSAGES]
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    arguments = ["prune-table", str(source), str(target), "-q", "question", "--documents", "text"]
    arguments += ["--rows-per-group", "1"]
    add, added = files._Parts.add, []

    def add_one(*given: Any) -> None:
        if added:
            raise InvalidInputError("interrupted")
        added.append(given)
        add(*given)

    with monkeypatch.context() as patch:
        patch.setattr(files._Parts, "add", add_one)
        assert CliRunner().invoke(app, arguments).stderr == "provence: interrupted\n"
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith(f"wrote {target}: 1 row in ")
    assert done.stderr.endswith(" rows/s); 2 in all\n")


def test_a_blank_score_cache_is_refused_at_once() -> None:
    arguments = ["prune-table", "no.jsonl", "out.jsonl", "-q", "question", "--documents", "text"]
    done = CliRunner().invoke(app, [*arguments, "--score-cache", ""])
    assert done.exit_code == 2
    assert done.stderr == "provence: score_cache must be the path of a file, got ''\n"
