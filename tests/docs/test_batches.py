"""The sizes in docs/batches.md follow from what was measured."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from benchmarks.report import shown

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "batches.md").read_text(encoding="utf-8")


def median(name: str, what: str) -> float:
    figures = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["figures"]
    return float(next(figure["median"] for figure in figures if figure["what"] == what))


@pytest.mark.parametrize(
    ("row", "rate"),
    [
        ("requests of 20", 1000 / median("latency-qed", "one call, p50")),
        ("English passages", median("backends-qed", "throughput, int8")),
        ("Japanese passages", median("backends-jaquad", "throughput, int8")),
    ],
)
def test_cores(row: str, rate: float) -> None:
    found = next(line for line in TEXT.splitlines() if line.startswith(f"| {row}"))
    cells = [cell.strip() for cell in found.split("|")[2:-1]]
    cores = [math.ceil(number / (rate / 2)) for number in (100, 10_000)]
    assert cells == [
        f"{shown(rate)} a second",
        f"{shown(rate / 2)} a second",
        *(f"{number:,} cores" for number in cores),
    ]


@pytest.mark.parametrize("language", ["English", "Japanese"])
def test_hours_of_a_table(language: str) -> None:
    name = {"English": "backends-qed", "Japanese": "backends-jaquad"}[language]
    seconds = 10e6 / median(name, "throughput, int8")
    (row,) = re.findall(rf"^\| 10 million {language} passages \| (.*) \|$", TEXT, re.MULTILINE)
    assert row == f"{seconds / 3600:.0f} hours | {seconds * 2 / 64 / 60:.0f} minutes"
