"""Plots: of answer retention against compression, and the empty figure of all plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from provence_rag.errors import MissingExtraError

__all__ = ["empty_figure", "plot_curves"]

Point = tuple[float, float]


def plot_curves(
    lines: Mapping[str, Sequence[Point]], marks: Mapping[str, Point], *, title: str, path: Path
) -> None:
    """Draw curves of answers kept over characters removed, both in [0, 1].

    Args:
        lines: Points of each curve, by its name.
        marks: Single settings, by their names.
        title: The title.
        path: The file to write; its suffix decides the format (`.svg`, `.png`, `.pdf`).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = empty_figure()
    axes = figure.subplots()
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), label=name)
    for name, (removed, kept) in marks.items():
        axes.plot(removed, kept, marker="o", linestyle="none", label=name)
    axes.set(
        title=title, xlabel="characters removed from answering passages", ylabel="answers kept", xlim=(0, 1)
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize="small")
    figure.savefig(path)


def empty_figure() -> Any:
    """A figure of matplotlib, which needs no screen.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a plot", "train") from error
    return Figure(figsize=(8, 5), layout="constrained")
