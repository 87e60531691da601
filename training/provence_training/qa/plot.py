"""A plot of right answers against the length of the prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from provence_training.evaluation.plot import empty_figure

__all__ = ["Point", "plot_answers"]


class Point(NamedTuple):
    """A strategy with k passages."""

    k: int
    tokens: float
    match: float


def plot_answers(lines: Mapping[str, Sequence[Point]], *, title: str, path: Path) -> None:
    """Draw matching replies, in [0, 1], over tokens of a prompt.

    Args:
        lines: The points of each strategy, by its name, in the order of k.
        title: The title.
        path: The file to write; its suffix decides the format (`.svg`, `.png`, `.pdf`).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = empty_figure()
    axes = figure.subplots()
    for name, points in lines.items():
        axes.plot([p.tokens for p in points], [p.match for p in points], marker="o", label=name)
        for point in points:
            axes.annotate(
                f"k={point.k}",
                (point.tokens, point.match),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize="small",
            )
    axes.set(
        title=title, xlabel="tokens of a prompt", ylabel="replies in which an answer occurs", ylim=(0, 1)
    )
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize="small")
    figure.savefig(path)
