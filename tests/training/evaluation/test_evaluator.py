"""The whole evaluation on the sample files, with the model of words in common."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from provence_rag import InvalidInputError, Provence, PruningOptions
from provence_rag.testing import fake_provence
from provence_training.cli.evaluate import evaluate
from provence_training.evaluation import (
    EvaluationReport,
    JudgedSentences,
    ProvenceEvaluator,
    PruningFigures,
    Scored,
    SystemReport,
    Topic,
    load_topics,
    score_with,
)
from provence_training.evaluation.systems import EmbeddingFilter

EXAMPLES = Path(__file__).parents[3] / "examples"
ANSWERS, RANKED = EXAMPLES / "evaluation.jsonl", EXAMPLES / "reranking.jsonl"


class StubFilter(EmbeddingFilter):
    """Prefers short documents and short sentences, and counts its calls."""

    def __init__(self) -> None:
        self.name, self.calls = "stub", 0

    def __call__(self, topics: Sequence[Topic], *, show_progress: bool = False) -> list[Scored]:
        self.calls += 1
        scored = score_with(fake_provence(), topics)
        return [
            Scored(
                relevance=np.array([-len(text) for text in topic.documents], dtype=np.float64),
                sentences=one.sentences if topic.answers else (),
                keep=tuple(np.array([1 / (s.end - s.start) for s in own]) for own in one.sentences)
                if topic.answers
                else None,
            )
            for topic, one in zip(topics, scored, strict=True)
        ]


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return ProvenceEvaluator([ANSWERS, RANKED], embedding_filter=StubFilter())(fake_provence())


def test_a_set_for_each_file_and_each_language(report: EvaluationReport) -> None:
    assert [(one.name, one.languages, one.num_questions, one.num_documents) for one in report.sets] == [
        ("evaluation", ["en", "ja"], 24, 144),
        ("reranking", ["en", "ja"], 4, 20),
        ("all en", ["en"], 12, 72),
        ("all ja", ["ja"], 12, 72),
    ]
    assert [[s.name for s in one.systems] for one in report.sets] == [
        ["provence", first, "embedding filter"] for first in ("BM25", "given order", "BM25", "BM25")
    ]


def test_a_file_of_one_language_has_no_second_set(tmp_path: Path) -> None:
    lines = ANSWERS.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, part in enumerate((lines[:3], lines[3:6])):
        (tmp_path / f"{number}.jsonl").write_text("".join(part), encoding="utf-8")
    files = [tmp_path / "0.jsonl", tmp_path / "1.jsonl"]
    assert [s.name for s in ProvenceEvaluator(files[:1])(fake_provence()).sets] == ["0"]
    assert [s.name for s in ProvenceEvaluator(files)(fake_provence()).sets] == ["0", "1", "all en"]


def test_the_figures_are_those_of_the_parts(report: EvaluationReport) -> None:
    topics = load_topics(ANSWERS).topics
    model = fake_provence()
    rows = JudgedSentences(topics, score_with(model, topics))
    own = report.sets[0].systems[0]
    assert list(own.pruning) == ["dynamic", "threshold 0.2", "best 1", "best 2", "best 3"]
    assert list(own.promises) == ["0.9", "0.97", "0.99"]
    for figures, options in _settings(own):
        assert figures == rows.figures(_kept(model, topics, options))
    assert own.promises["0.97"] == own.pruning["dynamic"] != own.promises["0.9"]
    assert own.curves["threshold"] == rows.curve(rows.scores)
    languages = [one.systems[0].pruning["dynamic"].answer_kept for one in report.sets[2:]]
    assert own.pruning["dynamic"].answer_kept == pytest.approx(np.mean(languages))


def _settings(own: SystemReport) -> list[tuple[PruningFigures, dict[str, Any]]]:
    """The figures that a model has for settings of its own, and the options of each."""
    return [
        (own.pruning["dynamic"], {}),
        (own.pruning["threshold 0.2"], {"mode": "threshold"}),
        *((figures, {"keep_answers": float(promise)}) for promise, figures in own.promises.items()),
    ]


def _kept(model: Provence, topics: Sequence[Topic], options: dict[str, Any]) -> np.ndarray[Any, Any]:
    """What `process` keeps of all passages."""
    passages = [
        model.process(t.query, t.documents, options=PruningOptions(**options, language=t.language))
        for t in topics
    ]
    return np.array([s.kept for row in passages for passage in row for s in passage.sentences])


def test_settings_keep_together_what_belongs_together(tmp_path: Path) -> None:
    page = "## Do otters sleep?\n\nOn their backs. In kelp.\n\n## Do penguins fly?\n\nThey swim."
    rows = '[{"animal": "otter", "food": "fish"}, {"animal": "crow", "food": "seeds"}]'
    answers = [(page, "Do otters sleep?", "On their backs"), (rows, "What food for the crow?", "seeds")]
    file = tmp_path / "pages.jsonl"
    lines = []
    for number, (text, question, answer) in enumerate(answers):
        start = text.index(answer)
        marked = {"id": "1", "question": question, "answers": [{"start": start, "end": start + len(answer)}]}
        lines.append(json.dumps({"id": str(number), "lang": "en", "text": text, "questions": [marked]}))
    file.write_text("\n".join(lines), encoding="utf-8")
    model, topics = fake_provence(), load_topics(file).topics
    judged = JudgedSentences(topics, score_with(model, topics))
    own = ProvenceEvaluator([file])(model).sets[0].systems[0]
    for figures, options in _settings(own):
        assert figures == judged.figures(_kept(model, topics, options))
    by_score_alone = judged.figures(judged.scores >= 0.2)  # the answer has no word of the question
    assert own.pruning["threshold 0.2"].answer_kept > by_score_alone.answer_kept


def test_the_curve_of_shares_keeps_nothing_below_the_floor(report: EvaluationReport) -> None:
    topics = load_topics(ANSWERS).topics
    rows = JudgedSentences(topics, score_with(fake_provence(), topics))
    for point in report.sets[0].systems[0].curves["share of the best"]:
        kept = (rows.scores / rows.best() >= point.at) & ((rows.scores >= 0.15) | (point.at < 0))
        assert point.figures == rows.figures(kept)


def test_ranking_only_and_pruning_only() -> None:
    evaluator = ProvenceEvaluator([ANSWERS], limit=4)
    own = evaluator(fake_provence(can_prune=False)).sets[0].systems[0]
    assert own.ranking is not None
    assert (own.pruning, own.promises, own.curves) == ({}, {}, {})
    other = evaluator(fake_provence(can_rank=False)).sets[0].systems[0]
    assert other.ranking is None
    assert "dynamic" in other.pruning


def test_baselines_run_once_for_any_number_of_models() -> None:
    baseline = StubFilter()
    evaluator = ProvenceEvaluator([ANSWERS], limit=3, embedding_filter=baseline)
    first, second = evaluator(fake_provence()), evaluator(fake_provence())
    assert first == second
    assert baseline.calls == 1


def test_passages_without_marked_evidence_are_ranked(tmp_path: Path) -> None:
    records = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]
    for record in records:
        for question in record["questions"]:
            question["answers"] = None
    path = tmp_path / "unmarked.jsonl"
    path.write_text("".join(f"{json.dumps(r)}\n" for r in records), encoding="utf-8")
    systems = ProvenceEvaluator([path])(fake_provence()).sets[0].systems
    assert [s.pruning for s in systems] == [{}, {}]
    assert all(s.ranking is not None for s in systems)


# The report


def test_json_has_plain_types_and_rounded_figures(report: EvaluationReport) -> None:
    values = report.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["settings"] == {
        "distractors": 9,
        "limit": None,
        "k": 10,
        "relevant_grade": 1,
        "embedding_filter": "stub",
    }
    own = values["sets"][0]["systems"][0]
    expected = report.sets[0].systems[0]
    assert expected.ranking is not None
    assert own["ranking"]["mrr"] == round(expected.ranking.mrr, 4)
    assert own["pruning"]["dynamic"]["removed"] == round(expected.pruning["dynamic"].removed, 4)
    assert own["promises"]["0.9"]["removed"] == round(expected.promises["0.9"].removed, 4)
    assert own["curves"]["threshold"][0]["figures"].keys() == own["pruning"]["dynamic"].keys()


def test_markdown_has_the_figures_of_every_system(report: EvaluationReport) -> None:
    text = report.to_markdown()
    for one in report.sets:
        assert f"\n## {one.name}\n" in text
        for system in one.systems:
            assert system.ranking is not None
            shown = f"| {system.name} | {system.ranking.map:.3f} | {system.ranking.mrr:.3f} |"
            assert shown in text
            for setting, figures in system.pruning.items():
                row = f"| {system.name}, {setting} | {figures.answer_kept:.3f} | {figures.all_kept:.3f} |"
                assert row in text
        promised = one.systems[0].promises
        for promise, figures in promised.items():
            row = [figures.answer_kept, figures.removed, figures.removed_off_topic]
            assert f"| provence, {promise} | {' | '.join(f'{x:.3f}' for x in row)} |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| ranking")}
    assert widths == {6}


def test_how_often_the_best_sentence_answers(report: EvaluationReport) -> None:
    topics = load_topics(ANSWERS).topics
    answers = []
    for topic, one in zip(topics, score_with(fake_provence(), topics), strict=True):
        assert one.keep is not None
        best = one.sentences[0][int(one.keep[0].argmax())]
        answers.append(any(a.start < best.end and best.start < a.end for a in topic.answers or ()))
    section = report.to_markdown().partition("## evaluation\n")[2].partition("\n## ")[0]
    assert 0 < np.mean(answers) < 1
    assert f"\nBest sentence answers: provence {np.mean(answers):.3f}, embedding filter 0." in section


def test_curves_are_read_off_between_their_points(report: EvaluationReport) -> None:
    points = [p.figures for p in report.sets[0].systems[0].curves["threshold"]]
    row = next(line for line in report.to_markdown().splitlines() if line.startswith("| 50% |"))
    kept, off_topic = map(float, row.split("|")[2].split("/"))
    below = max((f for f in points if f.removed <= 0.5), key=lambda f: f.removed)
    above = min((f for f in points if f.removed >= 0.5), key=lambda f: f.removed)
    assert above.answer_kept - 5e-4 <= kept <= below.answer_kept + 5e-4
    assert below.removed_off_topic is not None
    assert above.removed_off_topic is not None
    assert below.removed_off_topic - 5e-4 <= off_topic <= above.removed_off_topic + 5e-4


def test_saving(report: EvaluationReport, tmp_path: Path) -> None:
    report.save(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == [
        "all-en.svg",
        "all-ja.svg",
        "evaluation.json",
        "evaluation.md",
        "evaluation.svg",
    ]
    assert json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) == report.to_dict()
    text = (folder / "evaluation.md").read_text(encoding="utf-8")
    assert text.count("![") == 3
    assert "(all-ja.svg)" in text
    assert "provence, dynamic" in (folder / "all-en.svg").read_text(encoding="utf-8").replace("<!-- ", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"files": []}, "files must name at least one file"),
        (
            {"files": [ANSWERS, ANSWERS]},
            "files must have different names up to the first dot, got 'evaluation' twice",
        ),
        ({"limit": 0}, "limit must be an integer >= 1, got 0"),
        ({"distractors": -1}, "distractors must be an integer >= 0, got -1"),
        ({"k": 0}, "k must be an integer >= 1, got 0"),
        ({"relevant_grade": 0}, "relevant_grade must be an integer >= 1, got 0"),
    ],
)
def test_what_cannot_be_evaluated(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        ProvenceEvaluator(**{"files": [ANSWERS], **arguments})
    assert str(raised.value) == message


# The command


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """What the command loads, in place of a checkpoint."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def load(name: str | None = None, **settings: Any) -> Provence:
        calls.append((name, settings))
        return fake_provence()

    monkeypatch.setattr(Provence, "from_pretrained", load)
    return calls


def run(*arguments: str | Path) -> Any:
    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_command_prints_the_report(loaded: list[Any], tmp_path: Path) -> None:
    done = run(ANSWERS, RANKED, "--limit", "5", "--distractors", "2", "--output", tmp_path)
    expected = ProvenceEvaluator([ANSWERS, RANKED], limit=5, distractors=2)(fake_provence())
    assert done.exit_code == 0
    assert done.stdout == expected.to_markdown()
    assert (tmp_path / "evaluation.md").is_file()
    assert loaded == [(None, {"backend": "auto", "device": None, "dtype": None})]


def test_the_command_prints_json(loaded: list[Any]) -> None:
    options = ["--model", "a/b", "--backend", "torch", "--dtype", "bfloat16", "--device", "cpu", "--k", "3"]
    done = run(RANKED, *options, "--relevant-grade", "2", "--json")
    expected = ProvenceEvaluator([RANKED], k=3, relevant_grade=2)(fake_provence())
    assert json.loads(done.stdout) == expected.to_dict()
    assert loaded == [("a/b", {"backend": "torch", "device": "cpu", "dtype": "bfloat16"})]


def test_the_command_takes_an_embedding_filter(loaded: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(name: str, **settings: Any) -> StubFilter:
        made.append((name, settings))
        return StubFilter()

    monkeypatch.setattr("provence_training.evaluation.EmbeddingFilter", make)
    options = ["--embedding-filter", "x/y", "--query-prefix", "query: ", "--passage-prefix", "passage: "]
    assert "| embedding filter, best 1 |" in run(ANSWERS, *options).stdout
    assert made == [("x/y", {"query_prefix": "query: ", "passage_prefix": "passage: ", "device": None})]


def test_importing_the_commands_is_cheap() -> None:
    code = """
import sys
import provence_training.cli.evaluate
heavy = {"torch", "transformers", "numpy", "pandas", "bm25s", "matplotlib", "sentence_transformers"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
