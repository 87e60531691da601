"""examples/qa_evaluation.py, with its stand-in for an LLM."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "qa_evaluation.py"


def test_the_example_runs_offline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    rows = re.findall(r"^\| ([^|]+) \| (\d\.\d{3}) \|", printed, re.MULTILINE)
    matches = {name: float(match) for name, match in reversed(rows)}  # with three passages
    assert matches["all"] == matches["oracle"] == 1.0
    assert matches["none"] == 0.0
    assert matches["first 100 characters"] < matches["prune"]
    assert matches["prune"] >= 0.9
    assert "### examples, 6 passages: lost by first 100 characters" in printed
    assert "(lost by the pruner)" in printed


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 80
