"""What a benchmark found, as JSON and as Markdown."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import machine
from provence_rag import InvalidInputError

__all__ = ["Figure", "Report", "shown"]


@dataclass(frozen=True)
class Figure:
    """One measured quantity, with the target that was set for it if there is one."""

    what: str

    values: Sequence[float]
    """One a run."""

    unit: str = ""

    at_most: float | None = None
    """The target: the median is to be no more than this."""

    at_least: float | None = None
    """The target: the median is to be no less than this."""

    @property
    def median(self) -> float:
        """The figure that is published."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.at_most is None and self.at_least is None:
            return None
        low = float("-inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= self.median <= high

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python types that JSON knows."""
        return {
            "what": self.what,
            "unit": self.unit,
            "median": self.median,
            "values": list(self.values),
            "at_most": self.at_most,
            "at_least": self.at_least,
            "met": self.met,
        }

    def row(self) -> list[str]:
        """The cells of its line: what, median, range, target, whether it is met."""
        low, high = min(self.values), max(self.values)
        spread = f"{shown(low)} to {shown(high)}" if low < high else ""
        limits = {"<=": self.at_most, ">=": self.at_least}
        target = ", ".join(f"{sign} {limit:g}" for sign, limit in limits.items() if limit is not None)
        met = {None: "", True: "yes", False: "no"}[self.met]
        return [self.what, f"{shown(self.median)} {self.unit}".strip(), spread, target, met]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The figures of one benchmark."""

    name: str
    """What its files are called."""

    description: str
    """What was measured, and how."""

    figures: Sequence[Figure] = ()

    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Whatever has more columns than a figure, by title: rows with the same keys."""

    command: str = field(default_factory=lambda: _command())
    """How it was made: what is running, behind the commands of the report that it was added to."""

    def to_dict(self) -> dict[str, Any]:
        """All of it, with the command and the machine, as plain Python types that JSON knows."""
        return {
            "name": self.name,
            "description": self.description,
            "command": self.command,
            "machine": machine(),
            "figures": [figure.to_dict() for figure in self.figures],
            "tables": {title: [dict(row) for row in rows] for title, rows in self.tables.items()},
        }

    def to_markdown(self) -> str:
        """The command, the machine and the tables."""
        # Imported here, since it brings torch: fresh processes measure what they import.
        from provence_training.evaluation.report import markdown_table

        facts = machine()
        libraries = ", ".join(f"{name} {number}" for name, number in facts["libraries"].items())
        parts = [
            f"# {self.name}",
            self.description,
            f"    {self.command}",
            f"{facts['processor']} ({', '.join(facts['instructions'])}), {facts['cores']} cores, threads: "
            f"{facts['threads']}; {facts['system']}, Python {facts['python']}, {libraries}.",
        ]
        if self.figures:
            header = ["what", "median", "range", "target", "met"]
            parts.append(markdown_table(header, [figure.row() for figure in self.figures]))
        for title, rows in self.tables.items():
            parts.append(f"## {title}")
            parts.append(
                markdown_table(list(rows[0]), [[shown(value) for value in row.values()] for row in rows])
            )
        return "\n\n".join(parts) + "\n"

    def save(self, directory: str | Path, *, add: bool = False) -> None:
        """Write `NAME.json` and `NAME.md`, and print the latter.

        Args:
            directory: It is made if it is not there.
            add: The values of figures are added to those of the report that is already there.

        Raises:
            InvalidInputError: There is none, or it is of something else or of another machine.
        """
        directory = Path(directory)
        report = self._added_to(directory / f"{self.name}.json") if add else self
        directory.mkdir(parents=True, exist_ok=True)
        as_json = json.dumps(report.to_dict(), indent=2, ensure_ascii=False)
        (directory / f"{self.name}.json").write_text(f"{as_json}\n", encoding="utf-8")
        as_markdown = report.to_markdown()
        (directory / f"{self.name}.md").write_text(as_markdown, encoding="utf-8")
        print(as_markdown)

    def _added_to(self, path: Path) -> Report:
        if not path.is_file():
            raise InvalidInputError(f"there is no {path} to add runs to")
        earlier = json.loads(path.read_text(encoding="utf-8"))
        values = {figure["what"]: figure["values"] for figure in earlier["figures"]}
        if (
            earlier["description"] != self.description
            or earlier["machine"] != machine()
            or set(values) != {figure.what for figure in self.figures}
        ):
            raise InvalidInputError(f"{path} is of something else or of another machine: nothing is added")
        figures = [replace(figure, values=[*values[figure.what], *figure.values]) for figure in self.figures]
        return replace(self, figures=figures, command=f"{earlier['command']} && {self.command}")


def shown(value: Any) -> str:
    """A cell: numbers with three digits, or all those in front of the point."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _command() -> str:
    """The command that is running; of files, only the names."""
    program, *arguments = sys.argv
    words = [Path(word).name if Path(word).exists() else word for word in arguments]
    return shlex.join(["python", "-m", f"benchmarks.{Path(program).stem}", *words])
