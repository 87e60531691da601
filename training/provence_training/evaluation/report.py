"""Reports of evaluations, as JSON, Markdown and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from provence_training.evaluation.plot import plot_curves
from provence_training.evaluation.pruning import CurvePoint, PruningFigures
from provence_training.evaluation.ranking import RankingFigures

__all__ = ["EvaluationReport", "SetReport", "SystemReport", "markdown_table", "rounded"]

_DIGITS = 4
_LEVELS = tuple(round(0.1 * step, 1) for step in range(1, 10))
"""Shares of removed characters at which curves are compared."""


@dataclass(frozen=True, kw_only=True)
class SystemReport:
    """The figures of one system on one set."""

    name: str

    ranking: RankingFigures | None
    """None from a system that does not rank."""

    pruning: dict[str, PruningFigures] = field(default_factory=dict)
    """Figures of each setting; none from a system that does not prune, or without marked answers."""

    promises: dict[str, PruningFigures] = field(default_factory=dict)
    """Figures of the `dynamic` mode with each `keep_answers` that the checkpoint has rules for."""

    curves: dict[str, list[CurvePoint]] = field(default_factory=dict)
    """For each way to set what is kept, answers kept against characters removed."""


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """The figures of all systems on one set of questions."""

    name: str
    """The file's name, or the name of a language in all files."""

    languages: list[str]
    num_questions: int
    num_documents: int
    """Documents of all questions together."""

    systems: list[SystemReport]


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """The figures of a model and of the baselines on every set."""

    model: str
    settings: dict[str, Any]
    sets: list[SetReport]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON-safe Python types, with figures rounded to four digits."""
        values: dict[str, Any] = rounded(asdict(self))
        return values

    def to_markdown(self) -> str:
        """Tables for each set: ranking, pruning, promises, and the curves at equal compression."""
        return self._markdown({})

    def _markdown(self, plots: Mapping[str, str]) -> str:
        """The tables, with links to the plots of some sets."""
        given = {name: value for name, value in self.settings.items() if value is not None}
        settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items())
        parts = [f"# Evaluation of {self.model}", f"Settings: {settings}."]
        for one in self.sets:
            languages = ", ".join(one.languages)
            parts += [
                f"## {one.name}",
                f"{one.num_questions} questions, {one.num_documents} passages, {languages}.",
            ]
            if one.name in plots:
                parts.append(f"![Answers kept against characters removed]({plots[one.name]})")
            parts += _ranking_table(one, self.settings["k"])
            parts += _pruning_table(one)
            parts += _best_sentences(one)
            parts += _promise_table(one)
            parts += _curve_table(one)
        return "\n\n".join(parts) + "\n"

    def save(self, directory: str | Path) -> None:
        """Write `evaluation.json`, `evaluation.md`, and a plot of the curves for each set that has some.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        plots = {one.name: f"{one.name.replace(' ', '-')}.svg" for one in self.sets if _curves(one)}
        for one in self.sets:
            if one.name in plots:
                _plot(one, directory / plots[one.name])
        (directory / "evaluation.md").write_text(self._markdown(plots), encoding="utf-8")
        (directory / "evaluation.json").write_text(
            json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def _plot(one: SetReport, path: Path) -> None:
    """Draw the curves, and a mark for the first setting of each system."""
    lines = {
        name: [(p.figures.removed, p.figures.answer_kept) for p in points]
        for name, points in _curves(one).items()
    }
    marks = {}
    for system in one.systems:
        for setting, figures in islice(system.pruning.items(), 1):
            marks[f"{system.name}, {setting}"] = (figures.removed, figures.answer_kept)
    plot_curves(lines, marks, title=one.name, path=path)


def rounded(value: Any) -> Any:
    """A value for JSON with all its floats rounded to four digits."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {name: rounded(entry) for name, entry in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, list) else value


def _ranking_table(one: SetReport, k: int) -> list[str]:
    rows = [
        [system.name, r.map, r.mrr, r.ndcg, r.auc]
        for system in one.systems
        if (r := system.ranking) is not None
    ]
    return _with_rows(["ranking", "MAP", "MRR", f"nDCG@{k}", "AUC"], rows)


def _pruning_table(one: SetReport) -> list[str]:
    rows = [
        [
            *(f"{system.name}, {setting}", f.answer_kept, f.all_kept, f.removed, f.removed_off_topic),
            *(f.precision, f.recall, f.f1, f.f2),
        ]
        for system in one.systems
        for setting, f in system.pruning.items()
    ]
    header = ["pruning", "answer kept", "all kept", "removed", "removed off topic"]
    return _with_rows([*header, "precision", "recall", "F1", "F2"], rows)


def _best_sentences(one: SetReport) -> list[str]:
    """How often the best sentence of an answering passage answers: with one kept, that is the precision."""
    shares = [f"{s.name} {s.pruning['best 1'].precision:.3f}" for s in one.systems if s.pruning]
    return [f"Best sentence answers: {', '.join(shares)}."] if shares else []


def _promise_table(one: SetReport) -> list[str]:
    rows = [
        [f"{system.name}, {promise}", f.answer_kept, f.removed, f.removed_off_topic]
        for system in one.systems
        for promise, f in system.promises.items()
    ]
    return _with_rows(["keep_answers", "answer kept", "removed", "removed off topic"], rows)


def _curves(one: SetReport) -> dict[str, list[CurvePoint]]:
    return {f"{s.name}, {name}": points for s in one.systems for name, points in s.curves.items()}


def _curve_table(one: SetReport) -> list[str]:
    """Answers kept, and characters removed off topic, at equal shares of characters removed."""
    curves = _curves(one)
    rows = [[f"{level:.0%}", *(_read_off(points, level) for points in curves.values())] for level in _LEVELS]
    return _with_rows(["answer kept / removed off topic, at removed", *curves], rows if curves else [])


def _with_rows(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    return [markdown_table(header, rows)] if rows else []


def _read_off(points: Sequence[CurvePoint], level: float) -> str:
    """Interpolate between the curve's points; empty outside of them."""
    figures = [point.figures for point in points]
    removed = [f.removed for f in figures]
    if not removed[0] <= level <= removed[-1]:
        return ""
    kept = float(np.interp(level, removed, [f.answer_kept for f in figures]))
    off_topic = [f.removed_off_topic for f in figures if f.removed_off_topic is not None]
    if not off_topic:
        return f"{kept:.3f}"
    return f"{kept:.3f} / {float(np.interp(level, removed, off_topic)):.3f}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table with three digits of each float, and nothing for None."""
    lines = [header, ["---"] * len(header)]
    lines += [
        ["" if x is None else f"{x:.3f}" if isinstance(x, float) else str(x) for x in row] for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
