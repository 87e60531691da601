"""What `provence` reads as documents: files, JSON and standard input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from provence_rag import Provence
from provence_rag.cli import app
from provence_rag.testing import fake_provence


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Provence, "from_pretrained", lambda *_, **__: fake_provence())
    monkeypatch.chdir(tmp_path)
    Path("b.txt").write_text("Tokyo.", encoding="utf-8")


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    command, *others = arguments
    return CliRunner().invoke(app, [command, "-q", "Tokyo", *others], input=stdin)


def succeed(*arguments: str, stdin: str | bytes | None = None) -> str:
    result = run(*arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def fail(*arguments: str) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def documents_of(*arguments: str, stdin: str | bytes | None = None) -> list[tuple[str, str | None]]:
    passages = json.loads(succeed("prune", "--json", *arguments, stdin=stdin))
    return [(passage["document"], passage["title"]) for passage in passages]


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input_is_one_document(arguments: list[str]) -> None:
    assert documents_of(*arguments, stdin="東京.\r\nTokyo.\n".encode()) == [("東京.\r\nTokyo.\n", None)]


def test_standard_input_among_files() -> None:
    assert documents_of("b.txt", "-", stdin="Here.") == [("Tokyo.", None), ("Here.", None)]


def test_byte_order_mark_is_no_part_of_a_document() -> None:
    Path("b.txt").write_bytes(b"\xef\xbb\xbfTokyo.")
    assert documents_of("b.txt") == [("Tokyo.", None)]


def test_json_lines() -> None:
    lines = [
        '"A string\u2028 with a line separator"',
        "",
        '{"text": "Text", "title": "Title", "more": 1}',
        '{"page_content": "Page", "title": null}\r',
    ]
    Path("c.JSONL").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    assert documents_of("c.JSONL") == [
        ("A string\u2028 with a line separator", None),
        ("Text", "Title"),
        ("Page", None),
    ]


def test_a_json_array_is_several_documents() -> None:
    entries = ["Text", {"text": "Text", "title": "Title", "more": [1]}, {"page_content": "Page\nof lines"}]
    Path("c.JSON").write_text(json.dumps(entries, indent=2), encoding="utf-8")
    Path("empty.json").write_text("[]", encoding="utf-8")
    assert documents_of("c.JSON", "empty.json", "b.txt") == [
        ("Text", None),
        ("Text", "Title"),
        ("Page\nof lines", None),
        ("Tokyo.", None),
    ]
    assert succeed("rank", "c.JSON", "--top-k", "1").split()[1] == "c.JSON[0]"


NO_DOCUMENT = "expected a string, or an object with text or page_content as a string, got"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["T",\n 7', ": not JSON: Expecting ',' delimiter at line 2, column 3"),
        ("", ": not JSON: Expecting value at column 1"),
        ("[" * 100_000, ": the JSON is nested too deeply"),
        (f"[{'7' * 5000}]", ": a number cannot be read: Exceeds the limit (4300 digits)"),
    ],
)
def test_a_json_file_that_does_not_parse_is_refused(text: str, message: str) -> None:
    Path("c.json").write_text(text, encoding="utf-8")
    assert fail("prune", "c.json").startswith(f"provence: c.json{message}")


def test_json_on_standard_input_is_a_text_like_any_other() -> None:
    assert documents_of(stdin='["Tokyo."]') == [('["Tokyo."]', None)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": ', "not JSON: Expecting value at column 10"),
        (b"7", f"{NO_DOCUMENT} a number"),
        (b"null", f"{NO_DOCUMENT} null"),
        (b'{"title": "T"}', f"{NO_DOCUMENT} an object"),
        (b'{"text": null}', f"{NO_DOCUMENT} an object"),
        (b'{"text": "T", "title": 7}', "title must be a string, got 7"),
        (b'"\xff"', "not UTF-8: invalid start byte"),
    ],
)
def test_bad_line_is_named(line: bytes, message: str) -> None:
    Path("c.jsonl").write_bytes(b'"good"\n\n' + line + b"\n")
    assert fail("prune", "c.jsonl") == f"provence: c.jsonl:3: {message}\n"


@pytest.mark.parametrize(
    "command", ["prune", "prune --json", "prune --html", "prune --plain", "rank", "rank --json"]
)
def test_lone_surrogates_do_not_stop_a_writer(command: str) -> None:
    Path("c.jsonl").write_text('{"text": "Tokyo \\ud800", "title": "Tokyo \\udfff"}', encoding="utf-8")
    assert "Tokyo" in succeed(*command.split(), "c.jsonl")


@pytest.mark.parametrize(
    "text", ['[{"city": "Tokyo"}, {"city": "Kyoto"}]', '{"text": "T"}', '"T"', '["T", [1]]']
)
def test_other_json_is_one_document(text: str) -> None:
    Path("c.json").write_text(text, encoding="utf-8")
    assert [passage["document"] for passage in json.loads(succeed("prune", "c.json", "--json"))] == [text]
