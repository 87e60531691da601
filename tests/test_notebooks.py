"""The notebooks run, each in a fresh kernel, and output what is stored in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from examples.notebooks.run import NOTEBOOKS, run
from tests.docs.test_links import assert_leads_somewhere, targets_in
from tests.test_readme import assert_same_output

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
TRAINING = {"fine_tune"}
"""Notebooks whose figures differ more between processors, and whose model may decide a sentence otherwise."""


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def outputs_of(notebook: Any) -> list[list[tuple[str, str]]]:
    """For each cell of code, the form and content of its outputs."""

    def form_and_content(output: Any) -> tuple[str, str]:
        return ("stdout", output.text) if output.output_type == "stream" else next(iter(output.data.items()))

    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[form_and_content(output) for output in cell.outputs] for cell in cells]


RUNS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in TRAINING else [])
    for path in NOTEBOOKS
]


@pytest.mark.parametrize("path", RUNS)
def test_outputs(path: Path) -> None:
    stored = outputs_of(nbformat.read(path, as_version=4))
    actual = outputs_of(run(path))
    is_training = path.stem in TRAINING
    compared = {"stdout", "text/plain"} if is_training else {"stdout", "text/plain", "text/html"}
    for stored_cell, actual_cell in zip(stored, actual, strict=True):
        assert [form for form, _ in actual_cell] == [form for form, _ in stored_cell]
        for (form, expected), (_, found) in zip(stored_cell, actual_cell, strict=True):
            if form in compared:
                assert_same_output(found, expected, tolerance=0.15 if is_training else 0.03)


def test_what_is_stored_does_not_depend_on_a_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert cell.metadata == {}
        assert cell.get("execution_count") is None
    text = str(outputs_of(notebook))
    assert not re.search(r"(?<![\w/.])/(home|root|tmp|usr|work|Users)/|site-packages| at 0x", text)
    assert path.stat().st_size < 200_000


def test_a_notebook_opens_with_its_aim_and_shows_the_highlighted_view(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].cell_type == "markdown"
    assert re.match(r"# .+\n\nAt the end of this notebook, you will have ", notebook.cells[0].source)
    views = [text for cell in outputs_of(notebook) for form, text in cell if form == "text/html"]
    assert any("<mark" in view and "<del" in view for view in views)


def test_each_notebook_is_in_the_table() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(.+)\]\((.+)\) \|", readme, flags=re.MULTILINE)
    assert sorted(rows) == [(path.name, path.name) for path in NOTEBOOKS]


def test_links_lead_somewhere(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    for target in targets_in("\n".join(texts)):
        assert_leads_somewhere(target, path)
