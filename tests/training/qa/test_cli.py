"""`provence evaluate-qa`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from provence_rag import InvalidInputError, Provence
from provence_rag.testing import fake_provence
from provence_training.cli.evaluate_qa import evaluate_qa
from provence_training.qa import load_questions

DATA = Path(__file__).parents[3] / "examples" / "evaluation.jsonl"


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, reader: Callable[..., Any], tmp_path: Path
) -> Callable[..., tuple[Any, list[dict[str, Any]]]]:
    """Runs the command with the scripted reader; gives the result and the chat models made."""
    made: list[dict[str, Any]] = []
    answers = {question.text: question.answers[0] for question in load_questions(DATA, k=1)}

    def init_chat_model(name: str, **settings: Any) -> Any:
        made.append({"name": name, **settings})
        return reader().model_copy(update={"answers": answers, "prompts": []})

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init_chat_model)
    monkeypatch.setattr(Provence, "from_pretrained", lambda *_, **__: fake_provence())
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(evaluate_qa)

    def invoke(*arguments: str) -> tuple[Any, list[dict[str, Any]]]:
        return CliRunner().invoke(app, [str(DATA), "--llm", "scripted:reader", *arguments]), made

    return invoke


def test_defaults(run: Callable[..., Any], tmp_path: Path) -> None:
    result, made = run("--limit", "6")
    assert result.exit_code == 0, result.output
    assert made == [{"name": "scripted:reader", "temperature": 0, "max_tokens": 48}]
    assert result.stdout.startswith("# Answers of scripted:reader\n")
    assert "6 questions, en, ja." in result.stdout
    assert "| all | 1.000 |" in result.stdout
    assert (tmp_path / "qa-replies.jsonl").exists()


def test_options(run: Callable[..., Any], tmp_path: Path) -> None:
    arguments = [
        "-k",
        "4",
        "-k",
        "2",
        "-s",
        "all",
        "-s",
        "prune:keep_answers=0.9",
        "-s",
        "none",
        "--limit",
        "6",
    ]
    arguments += ["--cache", "own.jsonl", "--price-in", "1", "--price-out", "2", "--reference", "none"]
    arguments += ["--llm-args", '{"max_tokens": 9, "temperature": null}', "--judge", "scripted:judge"]
    arguments += ["--judge-args", '{"temperature": null}']
    result, made = run(*arguments, "--json", "--output", "out", "--concurrency", "3")
    assert result.exit_code == 0, result.output
    assert made == [
        {"name": "scripted:reader", "max_tokens": 9},
        {"name": "scripted:judge", "max_tokens": 1000},
    ]
    report = json.loads(result.stdout)
    assert [(arm["k"], arm["strategy"]) for arm in report["sets"][0]["arms"]] == [
        (k, name) for k in (2, 4) for name in ("all", "prune:keep_answers=0.9", "none")
    ]
    assert {c["reference"] for c in report["sets"][0]["comparisons"]} == {"none"}
    assert report["sets"][0]["arms"][0]["cost_of_1000"] > 0
    assert report == json.loads((tmp_path / "out" / "qa.json").read_text())
    again, _ = run(*arguments, "--json", "--cached-only")
    assert [arm["match"] for arm in json.loads(again.stdout)["sets"][0]["arms"]] == [
        arm["match"] for arm in report["sets"][0]["arms"]
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--price-in", "1"], "--price-in and --price-out belong together"),
        (["--llm-args", "{'a': 1}"], "--llm-args must be a JSON object, got"),
        (["--llm-args", "[1]"], "--llm-args must be a JSON object, got"),
        (["--strategy", "best"], "strategy 'best' is unknown"),
        (["--judge-args", "{}x", "--judge", "scripted:judge"], "--judge-args must be a JSON object, got"),
        (["--judge-args", '{"max_tokens": 9}'], "--judge-url and --judge-args belong to --judge"),
        (["--judge-url", "http://localhost"], "--judge-url and --judge-args belong to --judge"),
        (["--query-prefix", "query: "], "--query-prefix and --passage-prefix belong to the strategy emb"),
        (["--llm-args", '{"api_key": "sesame"}'], "parameters has 'api_key', which would be stored"),
        (["--llm-url", "http://localhost", "--llm-args", '{"model": "x"}'], "llm 'scripted:reader' could"),
        (["--limit", "0"], "limit must be an integer >= 1, got 0"),
        ([str(DATA)], "files must have different names up to the first dot, got 'evaluation' twice"),
    ],
)
def test_errors(run: Callable[..., Any], arguments: list[str], message: str) -> None:
    result, _ = run(*arguments)
    assert isinstance(result.exception, InvalidInputError)
    assert message in str(result.exception)


def test_prefixes_reach_the_embedding_filter(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sentence_transformers

    prompts: list[str] = []

    class Encoder:
        def encode_query(self, texts: list[str], *, prompt: str, **_: Any) -> Any:
            prompts.append(prompt)
            return np.ones((len(texts), 2))

        encode_document = encode_query

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", lambda *_, **__: Encoder())
    arguments = ["-s", "all", "-s", "embedding-filter:e5:0.5", "--limit", "1"]
    result, _ = run(*arguments, "--query-prefix", "query: ", "--passage-prefix", "passage: ")
    assert result.exit_code == 0, result.output
    assert prompts == ["query: ", "passage: "]
    assert "| embedding-filter:e5:0.5 query_prefix='query: ' passage_prefix='passage: ' |" in result.stdout
