"""The figures of the QA evaluation that the documents tell are those that were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "qa-evaluation.md").read_text(encoding="utf-8")
NAMES = {"qed": "QED", "jaquad": "JaQuAD"}


def measured(name: str) -> Any:
    path = ROOT / "benchmarks" / "results" / "qa" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["sets"][0]


def only(rows: list[Any], k: int, strategy: str) -> Any:
    return next((row for row in rows if (row["k"], row["strategy"]) == (k, strategy)), None)


def seconds(name: str, k: int, strategy: str) -> float | None:
    """Of a question, from the context to the end of the reply."""
    times = measured(f"{name}-times")
    arm = only(times["arms"], k, strategy)
    return arm and (arm["context_seconds"] + arm["reply_seconds"]) / times["num_questions"]


@pytest.mark.parametrize("k", [5, 10])
@pytest.mark.parametrize("name", NAMES)
def test_the_table_has_the_measured_figures(name: str, k: int) -> None:
    found = measured(name)
    for arm in (arm for arm in found["arms"] if arm["k"] == k):
        strategy = arm["strategy"]
        tokens = f"{round(arm['input_tokens'] / found['num_questions']):,}"
        taken, whole = seconds(name, k, strategy), seconds(name, k, "all")
        row = [f"{NAMES[name]}, {k}", f"`{strategy}`", f"{100 * arm['match']:.1f} %"]
        if strategy == "all":
            row += ["", "", tokens, f"{taken:.1f} s"]
        else:
            compared = only(found["comparisons"], k, strategy)
            mean, low, high = (100 * compared["match"][part] for part in ("mean", "low", "high"))
            row[0] = ""
            flips = f"{compared['gained']}, {compared['lost']} ({compared['lost_by_pruner']})"
            row += [f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]", flips]
            row.append(f"{tokens} ({100 * compared['input_tokens']:.0f} %)")
            row.append("" if taken is None or whole is None else f"{taken:.1f} s ({taken / whole:.0%})")
            row[-1] = row[-1].replace("%", " %")
        assert f"| {' | '.join(row)} |" in GUIDE


def test_the_example_of_costs() -> None:
    found = measured("qed")
    costs = []
    for strategy in ("all", "prune:keep_title=true"):
        arm = only(found["arms"], 5, strategy)
        tokens, reply = (
            round(arm[f"{part}_tokens"] / found["num_questions"]) for part in ("input", "output")
        )
        costs.append(tokens + 4 * reply)
    assert f"questions cost {costs[0]} with all passages, and {costs[1]} after pruning" in GUIDE


def test_the_first_page_and_the_faq_say_the_same() -> None:
    compared = only(measured("qed")["comparisons"], 5, "prune:keep_title=true")
    mean, low, high = (100 * compared["match"][part] for part in ("mean", "low", "high"))
    said = f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
    for page in ("README.md", "docs/faq.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert said in text, page
        assert f"{100 * compared['input_tokens']:.0f} % of the prompt" in text, page
