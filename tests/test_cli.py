from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import provence_rag
from provence_rag import InvalidInputError, PrunedPassage, PruningOptions, Sentence
from provence_rag.cli import app, main

DOCUMENT = "Tokyo is big. Paris is nice.\nTokyo is old."
SHOWN = "Tokyo is big. [-Paris is nice.-]\nTokyo is old.\n"


class FakeProvence:
    """Keeps the sentences that hold the query, and remembers how it was called."""

    calls: list[dict[str, Any]]

    @classmethod
    def from_pretrained(cls, name_or_path: str | None = None, **settings: Any) -> FakeProvence:
        cls.calls = [{"name_or_path": name_or_path, **settings}]
        return cls()

    def process(
        self,
        query: str,
        documents: list[str],
        *,
        titles: list[str | None],
        options: PruningOptions,
        reorder: bool,
        top_k: int | None,
        **settings: Any,
    ) -> list[PrunedPassage]:
        self.calls.append(
            {"titles": titles, "options": options, "reorder": reorder, "top_k": top_k} | settings
        )
        if query == "wrong":
            raise InvalidInputError("query must not be\n  'wrong'")
        passages = [
            _fake_passage(index, query, document, title, keep_all=options.mode == "off")
            for index, (document, title) in enumerate(zip(documents, titles, strict=True))
        ]
        if reorder or top_k:
            passages.sort(key=lambda passage: -(passage.score or 0.0))
        return passages[:top_k]


def _fake_passage(
    index: int, query: str, document: str, title: str | None, *, keep_all: bool
) -> PrunedPassage:
    sentences = tuple(
        Sentence(
            text=match[0],
            start=match.start(),
            end=match.end(),
            score=float(query in match[0]),
            kept=keep_all or query in match[0],
            token_start=number,
            token_end=number + 1,
        )
        for number, match in enumerate(re.finditer(r"\S[^.]*\.?", document))
    )
    return PrunedPassage(
        index=index,
        document=document,
        text=" ".join(sentence.text for sentence in sentences if sentence.kept),
        title=title,
        score=sum(query in sentence.text for sentence in sentences) / (len(sentences) or 1),
        logit=0.0,
        sentences=sentences,
    )


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(vars(provence_rag), "Provence", FakeProvence)
    monkeypatch.chdir(tmp_path)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    Path("a.txt").write_text(DOCUMENT, encoding="utf-8")
    Path("b.txt").write_text("Tokyo.", encoding="utf-8")


def run(*arguments: str, stdin: str | bytes | None = None, query: str = "Tokyo") -> Result:
    command, *others = arguments
    return CliRunner().invoke(app, [command, "-q", query, *others], input=stdin)


def succeed(*arguments: str, stdin: str | bytes | None = None) -> str:
    result = run(*arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def fail(*arguments: str, stdin: str | bytes | None = None, query: str = "Tokyo") -> str:
    result = run(*arguments, stdin=stdin, query=query)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


# prune


def test_prune_shows_dropped_sentences_in_place() -> None:
    header = "#0 | score 0.667 | 2/3 sentences | 3 -> 2 tokens\n"
    assert succeed("prune", "a.txt") == f"Tokyo\n\n{header}{SHOWN}"


def test_prune_colours_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[1mTokyo is big.\x1b[0m \x1b[2;9mParis is nice.\x1b[0m\n" in succeed("prune", "a.txt")


def test_prune_does_not_break_lines_in_a_file() -> None:
    Path("long.txt").write_text("Tokyo is big and big. " * 20, encoding="utf-8")
    succeed("prune", "long.txt", "-o", "out.txt")
    assert "Tokyo is big and big. " * 19 in Path("out.txt").read_text(encoding="utf-8")


def test_prune_plain() -> None:
    Path("c.txt").write_text("Nothing.", encoding="utf-8")
    assert succeed("prune", "a.txt", "c.txt", "b.txt", "--plain") == (
        "Tokyo is big. Tokyo is old.\n\nTokyo.\n"
    )


def test_prune_json() -> None:
    passages = json.loads(succeed("prune", "a.txt", "b.txt", "--json"))
    assert passages == [
        _fake_passage(0, "Tokyo", DOCUMENT, None, keep_all=False).to_dict(),
        _fake_passage(1, "Tokyo", "Tokyo.", None, keep_all=False).to_dict(),
    ]


def test_prune_html() -> None:
    html = succeed("prune", "a.txt", "--html")
    assert html.startswith("<!doctype html>")
    assert '<del title="0.000">Paris is nice.</del>' in html


def test_prune_writes_utf8_into_output_with_the_documents_line_ends() -> None:
    Path("c.txt").write_bytes("Tokyo:\r\n東京. No.".encode())
    assert succeed("prune", "c.txt", "--plain", "--output", "out.txt") == ""
    assert Path("out.txt").read_bytes() == "Tokyo:\r\n東京.\n".encode()


def test_prune_formats_exclude_each_other() -> None:
    assert fail("prune", "a.txt", "--json", "--plain") == "provence: --json and --plain cannot be combined\n"


def test_prune_passes_every_option_on() -> None:
    succeed(
        *("prune", "a.txt", "--mode", "budget", "--max-tokens", "9", "--min-sentences", "1"),
        *(
            "--context-before",
            "2",
            "--context-after",
            "3",
            "--keep-title",
            "--keep-headings",
            "--no-keep-together",
        ),
        *("--language", "ja", "--top-k", "4", "--score-threshold", "0.5", "--reorder"),
        *("--model", "some/model", "--backend", "onnx", "--device", "cpu", "--batch-size", "8"),
        *("--threads", "2"),
    )
    assert FakeProvence.calls == [
        {"name_or_path": "some/model", "backend": "onnx", "device": "cpu", "threads": 2},
        {
            "titles": [None],
            "options": PruningOptions(
                mode="budget",
                max_tokens=9,
                min_sentences=1,
                context_before=2,
                context_after=3,
                keep_title=True,
                keep_headings=True,
                keep_together=False,
                language="ja",
            ),
            "top_k": 4,
            "score_threshold": 0.5,
            "reorder": True,
            "batch_size": 8,
            "show_progress": False,
        },
    ]


@pytest.mark.parametrize("name", ["keep_answers", "threshold", "ratio"])
def test_prune_infers_the_mode_from_its_value(name: str) -> None:
    succeed("prune", "a.txt", f"--{name.replace('_', '-')}", "0.3")
    assert FakeProvence.calls[1]["options"] == PruningOptions(**{name: 0.3})


def test_prune_without_options_leaves_everything_to_the_library() -> None:
    succeed("prune", "a.txt")
    assert FakeProvence.calls == [
        {"name_or_path": None, "backend": "auto", "device": None, "threads": None},
        {
            "titles": [None],
            "options": PruningOptions(),
            "top_k": None,
            "score_threshold": None,
            "reorder": False,
            "batch_size": None,
            "show_progress": False,
        },
    ]


@pytest.mark.parametrize(
    ("repeats", "is_terminal", "expected"), [(9, True, False), (9_999, True, True), (9_999, False, False)]
)
def test_progress_is_shown_for_long_input_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, repeats: int, is_terminal: bool, expected: bool
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return is_terminal

    Path("long.txt").write_text("Tokyo is big. " * repeats, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["provence", "prune", "-q", "Tokyo", "long.txt", "--plain"])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(sys, "stderr", Terminal(io.BytesIO()))
    with pytest.raises(SystemExit, match="0"):
        main()
    assert FakeProvence.calls[1]["show_progress"] is expected


@pytest.mark.filterwarnings("always")
def test_a_warning_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def process(self: FakeProvence, *_: Any, **__: Any) -> list[PrunedPassage]:
        warnings.warn("scores say\n  little", provence_rag.LanguageWarning, stacklevel=1)
        return []

    monkeypatch.setattr(FakeProvence, "process", process)
    monkeypatch.setattr(sys, "argv", ["provence", "prune", "-q", "Tokyo", "a.txt", "--plain"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().err == "provence: warning: scores say little\n"


# rank


def test_rank_lists_the_best_document_first() -> None:
    assert succeed("rank", "a.txt", "b.txt") == (
        "1.0000  b.txt  Tokyo.\n0.6667  a.txt  Tokyo is big. Paris is nice. Tokyo is old.\n"
    )
    assert FakeProvence.calls[1]["options"] == PruningOptions(mode="off")


def test_rank_shows_a_title_or_the_first_characters_on_one_line() -> None:
    lines = [{"text": "Tokyo", "title": "A\ntitle"}, "Tokyo\x1b " + "Tokyo " * 50]
    Path("c.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    first, second = succeed("rank", "c.jsonl").splitlines()
    assert first == "1.0000  c.jsonl:1  A title"
    assert second.startswith("1.0000  c.jsonl:2  Tokyo\ufffd Tokyo Tokyo")
    assert len(second) <= 100


def test_rank_json() -> None:
    Path("c.jsonl").write_text('{"text": "Tokyo", "title": "T"}', encoding="utf-8")
    assert json.loads(succeed("rank", "a.txt", "c.jsonl", "--json", "--top-k", "1")) == [
        {"corpus_id": 1, "score": 1.0, "title": "T", "text": "Tokyo"}
    ]


# Errors


@pytest.mark.parametrize("command", ["prune", "rank"])
def test_missing_file(command: str) -> None:
    assert fail(command, "missing.txt") == "provence: missing.txt: No such file or directory\n"


def test_output_that_cannot_be_written() -> None:
    message = "provence: missing/out.txt: No such file or directory\n"
    assert fail("prune", "a.txt", "-o", str(Path("missing/out.txt"))).replace("\\", "/") == message


def test_error_of_the_library_is_one_line() -> None:
    assert fail("prune", "a.txt", query="wrong") == "provence: query must not be 'wrong'\n"


def test_wrong_option_is_explained_by_the_library() -> None:
    message = "provence: mode must be one of dynamic, threshold, ratio, budget, off, got 'best'\n"
    assert fail("prune", "a.txt", "--mode", "best") == message


def test_no_documents_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "argv", ["provence", "prune", "-q", "Tokyo"])
    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == (
        "provence: no documents: give a FILE, or pipe text into standard input\n"
    )


# The process


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"provence-rag {provence_rag.__version__}\n")


def python(code: str, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, **settings)


def test_help_does_not_load_an_inference_engine() -> None:
    code = """
import sys
from provence_rag.cli import main
sys.argv = ["provence", "prune", "--help"]
try:
    main()
finally:
    assert not {"numpy", "onnxruntime", "tokenizers", "torch", "transformers"} & set(sys.modules)
"""
    result = python(code)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"--max-tokens" in result.stdout


WITH_FAKE = f"""
import importlib.util, sys
import provence_rag
spec = importlib.util.spec_from_file_location("test_cli", {__file__!r})
module = importlib.util.module_from_spec(spec)
sys.modules["test_cli"] = module
spec.loader.exec_module(module)
provence_rag.Provence = module.FakeProvence
from provence_rag.cli import main
sys.argv = ["provence", *sys.argv[1:]]
main()
"""


def provence(*arguments: str, **settings: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WITH_FAKE, *arguments], stderr=subprocess.PIPE, **settings)


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """The end to write to of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("format_", ["--plain", "--no-reorder"])
def test_closed_pipe_is_quiet(monkeypatch: pytest.MonkeyPatch, closed_pipe: int, format_: str) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # would hide what happens when Python ends
    with provence("prune", "-q", "Tokyo", "a.txt", format_, stdout=closed_pipe) as process:
        assert process.communicate() == (None, b"")
        assert process.returncode == 1


def test_output_is_utf8_whatever_the_system_says() -> None:
    Path("c.txt").write_bytes("Tokyo 東京 \n".encode())
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    with provence("prune", "-q", "Tokyo", "c.txt", stdout=subprocess.PIPE, env=environment) as process:
        stdout, stderr = process.communicate()
    assert stderr == b""
    assert "Tokyo 東京" in stdout.decode()
