"""Reports of QA evaluations, as JSON, Markdown and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from provence_training.evaluation.report import markdown_table, rounded
from provence_training.qa.comparison import Difference
from provence_training.qa.figures import ArmFigures, Comparison, LostAnswer
from provence_training.qa.plot import Point, plot_answers

__all__ = ["QAReport", "QASet"]


@dataclass(frozen=True, kw_only=True)
class QASet:
    """The answers to a set of questions."""

    name: str
    languages: list[str]
    num_questions: int

    num_left_out: int
    """Questions that are not counted, since not all of their replies are stored (with `cached_only`)."""

    warnings: list[str]
    """What makes the figures less than they seem: too few passages, replies cut off or empty."""

    arms: list[ArmFigures]
    """For each k, all strategies."""

    comparisons: list[Comparison]
    """For each k, all strategies but the reference."""


@dataclass(frozen=True, kw_only=True)
class QAReport:
    """An LLM's answers with the contexts of several strategies."""

    llm: str
    parameters: dict[str, Any]
    settings: dict[str, Any]
    sets: list[QASet]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON-safe Python types, with figures rounded to four digits."""
        values: dict[str, Any] = rounded(asdict(self))
        return values

    def to_markdown(self) -> str:
        """Tables for each set and k: figures, and differences from the reference; then lost answers."""
        return self._markdown({})

    def _markdown(self, plots: Mapping[str, str]) -> str:
        """The report, with links to plots of sets."""
        given = {
            **{name.replace("_", " "): value for name, value in self.settings.items()},
            **self.parameters,
        }
        shown = ", ".join(f"{name} {_plain(value)}" for name, value in given.items() if value is not None)
        parts = [f"# Answers of {self.llm}", f"Settings: {shown}."]
        for one in self.sets:
            left_out = f" {one.num_left_out} left out." if one.num_left_out else ""
            parts += [
                f"## {one.name}",
                f"{one.num_questions} questions, {', '.join(one.languages)}.{left_out}",
                *(f"Warning: {warning}." for warning in one.warnings),
            ]
            if one.name in plots:
                parts.append(
                    f"![Replies in which an answer occurs, over tokens of a prompt]({plots[one.name]})"
                )
            for k in self.settings["k"]:
                parts.append(f"### {one.name}, {k} passages")
                parts.append(_figures(one, k))
                if any(arm.estimated_tokens for arm in one.arms):
                    parts.append(
                        "The bundled model's tokenizer counted some tokens, since the provider did not."
                    )
                parts += _differences(one, k)
            parts += _lost_answers(one)
        return "\n\n".join(parts) + "\n"

    def save(self, directory: str | Path) -> None:
        """Write `qa.json`, `qa.md`, and a plot for each set.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        plots = {one.name: f"qa-{one.name.replace(' ', '-')}.svg" for one in self.sets}
        for one in self.sets:
            lines: dict[str, list[Point]] = {}
            for arm in one.arms:
                point = Point(arm.k, arm.input_tokens / one.num_questions, arm.match)
                lines.setdefault(arm.strategy, []).append(point)
            plot_answers(lines, title=f"{one.name}, {self.llm}", path=directory / plots[one.name])
        (directory / "qa.md").write_text(self._markdown(plots), encoding="utf-8", errors="backslashreplace")
        (directory / "qa.json").write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _figures(one: QASet, k: int) -> str:
    """Tokens and seconds are means of a question."""
    arms = [arm for arm in one.arms if arm.k == k]
    columns: dict[str, list[Any]] = {
        "strategy": [arm.strategy for arm in arms],
        "match": [arm.match for arm in arms],
        "exact match": [arm.exact_match for arm in arms],
        "F1": [arm.f1 for arm in arms],
        "judged right": [arm.judged for arm in arms],
        "unclear verdicts": [arm.unclear_verdicts or None for arm in arms],
        "no answer": [arm.no_answer for arm in arms],
        "answer in context": [arm.in_context for arm in arms],
        "prompt tokens": [round(arm.input_tokens / one.num_questions) for arm in arms],
        "of those cached": [
            None if arm.cached_tokens is None else round(arm.cached_tokens / one.num_questions)
            for arm in arms
        ],
        "reply tokens": [round(arm.output_tokens / one.num_questions) for arm in arms],
        "s for context": [arm.context_seconds / one.num_questions for arm in arms],
        "s to first token": [arm.first_token_seconds / one.num_questions for arm in arms],
        "s for reply": [arm.reply_seconds / one.num_questions for arm in arms],
        "cost of 1,000 questions": [
            None if arm.cost_of_1000 is None else f"{arm.cost_of_1000:.4f}" for arm in arms
        ],
    }
    columns = {name: values for name, values in columns.items() if any(v is not None for v in values)}
    return markdown_table(list(columns), list(zip(*columns.values(), strict=True)))


def _differences(one: QASet, k: int) -> list[str]:
    comparisons = [comparison for comparison in one.comparisons if comparison.k == k]
    if not comparisons:
        return []
    columns: dict[str, list[Any]] = {
        f"against {comparisons[0].reference}": [c.strategy for c in comparisons],
        "match": [_interval(c.match) for c in comparisons],
        "exact match": [_interval(c.exact_match) for c in comparisons],
        "F1": [_interval(c.f1) for c in comparisons],
        "judged right": [None if c.judged is None else _interval(c.judged) for c in comparisons],
        "gained": [c.gained for c in comparisons],
        "lost": [c.lost for c in comparisons],
        "lost by the pruner": [c.lost_by_pruner for c in comparisons],
        "prompt tokens": [f"{c.input_tokens:.0%}" for c in comparisons],
        "time": [f"{c.seconds:.0%}" for c in comparisons],
    }
    columns = {name: values for name, values in columns.items() if any(v is not None for v in values)}
    return [markdown_table(list(columns), list(zip(*columns.values(), strict=True)))]


def _interval(difference: Difference) -> str:
    return f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _lost_answers(one: QASet) -> list[str]:
    parts = []
    for comparison in one.comparisons:
        if comparison.examples:
            parts.append(f"### {one.name}, {comparison.k} passages: lost by {comparison.strategy}")
            parts += [_lost_answer(lost, comparison.reference) for lost in comparison.examples]
    return parts


def _lost_answer(lost: LostAnswer, reference: str) -> str:
    points = [
        f"right: {'; '.join(lost.answers)}",
        f"with {reference}: {lost.reference_reply}",
        f"now: {lost.reply}",
        *(f"read: {text}" for text in lost.context),
    ]
    lines = [f"- **{_in_one_line(lost.question)}** (lost by the {lost.lost_by})"]
    return "\n".join([*lines, *(f"  - {_in_one_line(point)}" for point in points)])


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
