"""The benchmarks: their clock and their tables are right, and each runs from its command line."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sentence_transformers")

from benchmarks import probes, processes, report, timing
from benchmarks.common import read_pairs, run
from benchmarks.latency import passages_of
from benchmarks.overhead import StepTimer
from benchmarks.report import Figure, Report
from benchmarks.score_cache import with_repeats
from provence_rag import InvalidInputError
from provence_rag.testing import fake_provence

ROOT = Path(__file__).parents[1]
DATA = ROOT / "examples" / "finetune" / "train.jsonl"


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def taking(self, seconds: float) -> Callable[[], None]:
        def wait() -> None:
            self.now += seconds

        return wait


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock.perf_counter)
    return clock


# --- the clock -----------------------------------------------------------------------------------------


def test_systems_run_in_turns_after_a_warm_up_that_does_not_count(clock: Clock) -> None:
    calls: list[str] = []
    durations = {"a": iter([9.0, 1.0, 2.0, 3.0]), "b": iter([9.0, 2.0, 2.0, 12.0])}

    def system(name: str) -> Callable[[], None]:
        def call() -> None:
            calls.append(name)
            clock.now += next(durations[name])

        return call

    times = timing.paired_times({name: system(name) for name in durations}, runs=3)
    assert calls == [*"ab", *"ab", *"ba", *"ab"]
    assert times == {"a": [1.0, 2.0, 3.0], "b": [2.0, 2.0, 12.0]}
    assert timing.ratios(times["a"], times["b"]) == [0.5, 1.0, 0.25]


def test_a_step_is_timed_without_the_steps_that_it_calls(clock: Clock) -> None:
    timer = StepTimer()
    inner = timer.timed("inner", clock.taking(2))

    def work() -> None:
        clock.now += 1
        inner()
        inner()
        clock.now += 4

    outer = timer.timed("outer", work)
    outer()
    outer()
    assert timer.seconds == {"inner": 8.0, "outer": 10.0}


def test_code_is_timed_alone_and_with_its_interpreter() -> None:
    inside, whole = processes.seconds_of_code("time.sleep(0.2)")
    assert 0.2 <= inside < whole


def test_a_fresh_process_does_not_inherit_the_memory_of_this_one() -> None:
    mine = b"x" * 300_000_000
    value, peak = processes.in_fresh_process(probes.import_module, "json")
    assert value is None
    assert 2**20 < peak < len(mine)
    assert processes.peak_memory() > len(mine)


# --- tables --------------------------------------------------------------------------------------------


def test_a_figure_is_its_median_and_says_whether_the_target_is_met() -> None:
    slow = Figure("time", [3.0, 1.0, 2.0], "s", at_most=1.5)
    fast = Figure("throughput", [1234.5], at_least=1000)
    plain = Figure("memory", [0.123456, 0.123456], "MiB")
    assert slow.row() == ["time", "2 s", "1 to 3", "<= 1.5", "no"]
    assert fast.row() == ["throughput", "1,234", "", ">= 1000", "yes"]
    assert plain.row() == ["memory", "0.123 MiB", "", "", ""]
    assert (slow.met, fast.met, plain.met) == (False, True, None)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    monkeypatch.setattr(sys, "argv", ["benchmarks/demo.py", str(DATA), "--runs", "2"])

    def write(values: list[float], description: str = "What was done.", add: bool = False) -> dict[str, Any]:
        figures = [Figure("time", values, "s", at_most=1.0)]
        tables = {"Systems": [{"name": "a", "MRR": 0.5}]}
        Report(name="demo", description=description, figures=figures, tables=tables).save(tmp_path, add=add)
        result: dict[str, Any] = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
        return result | {"markdown": (tmp_path / "demo.md").read_text(encoding="utf-8")}

    return write


def test_a_report_has_the_command_the_machine_and_the_tables(written: Callable[..., dict[str, Any]]) -> None:
    found = written([0.5, 0.7, 0.9])
    assert found["command"] == "python -m benchmarks.demo train.jsonl --runs 2"
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["libraries"]["numpy"]
    assert found["figures"][0]["values"] == [0.5, 0.7, 0.9]
    assert found["tables"] == {"Systems": [{"name": "a", "MRR": 0.5}]}
    lines = found["markdown"].splitlines()
    assert "| time | 0.7 s | 0.5 to 0.9 | <= 1 | yes |" in lines
    assert lines[-3:] == ["| name | MRR |", "| --- | --- |", "| a | 0.5 |"]
    assert f"    {found['command']}" in lines


def test_runs_are_added_to_a_report_of_the_same(written: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(InvalidInputError, match=r"^there is no .*demo\.json to add runs to$"):
        written([1.0], add=True)
    written([1.0, 2.0])
    both = written([6.0], add=True)
    assert both["figures"][0]["values"] == [1.0, 2.0, 6.0]
    assert both["command"] == " && ".join(["python -m benchmarks.demo train.jsonl --runs 2"] * 2)
    with pytest.raises(
        InvalidInputError, match="is of something else or of another machine: nothing is added"
    ):
        written([1.0], description="Something else.", add=True)


def test_the_readme_has_the_results_and_what_they_miss() -> None:
    readme = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        assert f"results/{path.stem}.md" in readme, path.name
        for figure in json.loads(path.read_text(encoding="utf-8"))["figures"]:
            keys = ("what", "values", "unit", "at_most", "at_least")
            row = report.Figure(**{key: figure[key] for key in keys}).row()
            assert figure["met"] is None or f"| {' | '.join(row)} |" in readme, row


def test_the_speed_that_the_first_page_tells_of() -> None:
    results = ROOT / "benchmarks" / "results"
    [section] = re.findall(r"## Speed\n(.+?)\n## ", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    told = {
        "reranking-qed": ["time, rerank and prune / rerank", "peak memory, rerank and prune / rerank"],
        "backends-qed": ["throughput, int8 / float32", "peak memory, int8 / float32"],
        "open-provence-qed": ["OpenProvence / provence-rag", "OpenProvence, no gradients / provence-rag"],
        "compare-qed-all-mpnet-base-v2": ["throughput, provence-rag, int8", "throughput, CrossEncoder"],
        "latency-qed": ["one call, p50", "first pruned passage, whole process"],
    }
    for name, whats in told.items():
        figures = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))["figures"]
        medians = {figure["what"]: figure for figure in figures}
        for what in whats:
            value, unit = medians[what]["median"], medians[what]["unit"]
            if value < 1 and not unit:  # told as what is saved
                said = f"{1 - value:.0%} less {'memory' if 'memory' in what else 'time'}".replace("%", " %")
            else:
                said = f"{report.shown(value)} {unit}".strip()
            assert said in section, what


# --- data ----------------------------------------------------------------------------------------------


def test_every_pair_is_another_one_and_the_first_are_the_passages_own(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    records = [{"text": f"Text {i}.", "questions": [{"question": f"{i}?", "answers": []}]} for i in range(3)]
    path.write_text("\n".join(map(json.dumps, [*records, {"text": "No question.", "questions": []}])))
    pairs = read_pairs(path, 9)
    assert pairs[:4] == [("0?", "Text 0."), ("1?", "Text 1."), ("2?", "Text 2."), ("1?", "Text 0.")]
    assert len(set(pairs)) == 9
    with pytest.raises(InvalidInputError, match="3 passages with questions do not give 10 pairs"):
        read_pairs(path, 10)


def test_passages_of_equal_length() -> None:
    assert passages_of(["a b c", "d  e"], number=2, words=2) == ["a b", "c d"]
    with pytest.raises(InvalidInputError, match="3 passages of 2 words need more than 5 words"):
        passages_of(["a b c", "d  e"], number=3, words=2)


def test_a_long_document_has_the_size_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Recorder:
        def process(self, query: str, documents: list[str]) -> None:
            seen.extend(documents)

    monkeypatch.setattr(probes, "load", lambda name: Recorder())
    moments = count(step=0.4)
    monkeypatch.setattr("time.perf_counter", lambda: next(moments))
    probes.long_document("fake", "query", ["One text.", "Another text."], 2)
    assert len(seen[-1].encode()) == 2000
    assert seen[-1].startswith("0. One text.\n0. Another text.\n1. One text.\n")


def test_a_stream_in_which_passages_come_again() -> None:
    fresh = [(f"q{i}", f"t{i}") for i in range(70)]
    stream = with_repeats(fresh, 100)
    assert len(stream) == 100
    assert list(dict.fromkeys(stream)) == fresh


# --- the commands --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "arguments", "what"),
    [
        ("reranking", ["--pairs", "5", "--runs", "1"], "time, rerank and prune / rerank"),
        ("backends", ["--pairs", "5", "--runs", "1", "--bfloat16"], "throughput, bfloat16 / float32"),
        ("overhead", ["--pairs", "5", "--runs", "1"], "everything but the forward pass"),
        ("latency", ["--runs", "2"], "one call, p95"),
        ("training", ["--steps", "1", "--batch-tokens", "256", "--runs", "2"], "learned"),
        ("tables", ["--runs=1", "--passages=2", "--passages=4"], "time a passage, 4 passages / 2 passages"),
        ("score_cache", ["--pairs=10", "--runs=1"], "time, in memory / no cache"),
        (
            "scaling",
            ["--runs=1", "--passages=2", "--passages=4", "--kilobytes=1", "--kilobytes=2"],
            "time a passage, 4 passages / 2 passages",
        ),
        pytest.param(
            "serve",
            ["--seconds=0.5", "--runs=1", "--passages=2"],
            "64 clients / in process, requests",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "serve_memory",
            ["--minutes=0.05", "--clients=2"],
            "memory, end / after a tenth",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_benchmark_runs_from_its_command_line(
    name: str, arguments: list[str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    answers = {"first_call": (0.3, 0.2), "stream": 0.1, "long_document": 0.1, "answers_in_process": 9.0}
    answers["prune_file"] = 0.1
    monkeypatch.setattr(
        module,
        "in_fresh_process",
        lambda probe, *_, **__: (answers.get(probe.__name__), 2**20),
        raising=False,
    )
    monkeypatch.setattr(module, "seconds_of_code", lambda code, python: (0.1, 0.2), raising=False)
    if name == "latency":  # the model's time is not the subject
        monkeypatch.setattr(module, "load", lambda _: fake_provence())
    monkeypatch.setattr(sys, "argv", [f"{name}.py", str(DATA), *arguments, "-o", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        run(module.main)
    assert ended.value.code == 0
    (path,) = tmp_path.glob("*.json")
    found = {figure["what"]: figure for figure in json.loads(path.read_text(encoding="utf-8"))["figures"]}
    assert found[what]["median"] > 0
    assert all(figure["median"] == figure["median"] for figure in found.values())
    assert path.with_suffix(".md").is_file()


def test_the_probes_run(tmp_path: Path) -> None:
    texts = ["Penguins swim. Cats do not.", "Owls fly."]
    assert probes.stream("fake", "penguins", texts, 3) > 0
    assert all(seconds > 0 for seconds in probes.first_call("fake", "penguins", texts))
    probes.prune_pairs("fake", [["penguins", text] for text in texts])
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"query": "penguins", "documents": text}) + "\n" for text in texts))
    assert probes.prune_file("fake", str(source), str(tmp_path / "out.jsonl")) > 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("overhead", ["none.jsonl"], r"^overhead: none\.jsonl: does not exist$"),
        ("scaling", [str(DATA), "--model=int4"], r"^scaling: --model must be fake or int8, got 'int4'$"),
        ("scaling", [str(DATA), "--passages=5"], "^scaling: --passages and --kilobytes need two sizes"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    name: str, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit, match=message):
        run(module.main)
