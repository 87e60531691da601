"""`provence augment`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from provence_rag import InvalidInputError
from provence_training.augmentation import FORMS, augment
from provence_training.cli.augment import augment as command
from provence_training.data import load_passages, write_json_lines


def run(*arguments: str | Path) -> Any:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def data(records: dict[str, list[dict[str, Any]]], tmp_path: Path) -> list[Path]:
    """A file for each language."""
    paths = [tmp_path / f"{language}.jsonl" for language in records]
    for path, rows in zip(paths, records.values(), strict=True):
        write_json_lines(path, rows)
    return paths


def test_what_it_writes(data: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "pages.jsonl.gz"
    done = run(*data, "--output", output, "--count", "40", "--forms", "faq, records", "--seed", "3")
    assert done.exit_code == 0, done.output
    passages = [passage for path in data for passage in load_passages(path)]
    pages = list(augment(passages, count=40, forms=["faq", "records"], seed=3))
    assert [p.text for p in load_passages(output)] == [p.text for p in pages]
    questions = [q for page in pages for q in page.questions]
    assert done.stderr == (
        f"wrote {output}: 40 pages ({sum(p.form == 'faq' for p in pages)} faq, "
        f"{sum(p.form == 'records' for p in pages)} records); {len(questions)} questions, "
        f"{sum(q.reworded for q in questions)} of them worded differently from the page\n"
    )


def test_one_language(data: list[Path], tmp_path: Path) -> None:
    done = run(*data, "-o", tmp_path / "pages.jsonl", "--count", "9", "--language", "ja", "--paraphrase", "0")
    assert done.exit_code == 0, done.output
    assert {p.language for p in load_passages(tmp_path / "pages.jsonl")} == {"ja"}
    assert done.stderr.endswith(
        " 0 of them worded differently from the page\npassages in other languages were left out: 5 in en\n"
    )


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_words_of_the_nearest_questions(encoder: Path, tmp_path: Path) -> None:
    rows = [
        {
            "lang": "en",
            "text": "It is sunny.",
            "questions": [{"question": q, "answers": [{"start": 6, "end": 11}]}],
        }
        for q in ("tea?", "rain?")
    ]
    write_json_lines(tmp_path / "data.jsonl", rows)
    settings = ["--forms", "faq", "--paraphrase", "1", "--similarity", "-1", "1", "--device", "cpu"]
    output = tmp_path / "pages.jsonl"
    done = run(tmp_path / "data.jsonl", "-o", output, "--count", "20", *settings, "--bi-encoder", encoder)
    assert done.exit_code == 0, done.output
    assert "; 20 questions, 20 of them worded differently from the page" in done.stderr
    for page in load_passages(output):
        (question,) = page.questions
        assert {"tea?": "rain", "rain?": "tea"}[question.text] in page.text.lower()


def test_help_lists_the_forms() -> None:
    shown = " ".join(run("--help").stdout.split())
    for form in FORMS.values():
        assert f"{form.name} ({form.description}" in shown
    assert "glued (no space between sentences, en only)" in shown


def test_the_command_line_starts_without_numpy_and_torch() -> None:
    code = "import sys, provence_training.cli.augment; print({'numpy', 'torch', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_what_it_refuses(data: list[Path], tmp_path: Path) -> None:
    done = run(*data, "--output", tmp_path / "pages.json")
    assert isinstance(done.exception, InvalidInputError)
    assert str(done.exception) == (
        "--output must end with .jsonl or .jsonl.gz or .ndjson or .ndjson.gz, got 'pages.json'"
    )
    done = run(*data, "--output", tmp_path / "missing" / "pages.jsonl")
    assert isinstance(done.exception, InvalidInputError)
    assert str(done.exception) == f"{tmp_path / 'missing' / 'pages.jsonl'}: No such file or directory"


def test_an_old_file_stays_when_there_is_an_error(tmp_path: Path) -> None:
    output = tmp_path / "pages.jsonl"
    output.write_text("old", encoding="utf-8")
    question = {"question": "Who?", "answers": [{"start": 0, "end": 1}]}
    write_json_lines(tmp_path / "long.jsonl", [{"lang": "en", "text": "x" * 3000, "questions": [question]}])
    done = run(tmp_path / "long.jsonl", "--output", output, "--forms", "html")
    assert isinstance(done.exception, InvalidInputError)
    assert output.read_text(encoding="utf-8") == "old"
