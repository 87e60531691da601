"""Run the notebooks and store what they output: python examples/notebooks/run.py [NOTEBOOK ...].

What is stored does not depend on the machine: no execution counts, no times, and one form of each output.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

__all__ = ["NOTEBOOKS", "run"]

NOTEBOOKS = sorted(Path(__file__).parent.glob("*.ipynb"))
_FORMS = ("text/html", "image/png", "text/plain")
"""Forms of an output, the best first."""
_NO_WIDGETS = "ignore:IProgress not found"
"""tqdm's warning where Jupyter's widgets are not installed, which the notebooks do not need."""


def run(path: Path) -> nbformat.NotebookNode:
    """Run a notebook in a fresh kernel, in its own folder, and return it with what it outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell raises an exception.
        RuntimeError: A cell writes to standard error, such as a warning.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=3600,
        startup_timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        coalesce_streams=True,
    )
    client.execute(env={**os.environ, "PYTHONWARNINGS": _NO_WIDGETS})
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [_in_one_form(output) for output in cell.outputs]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def _in_one_form(output: Any) -> Any:
    if output.output_type == "stream":
        if output.name == "stderr":
            raise RuntimeError(f"a cell wrote to standard error: {output.text}")
        return output
    form = next(form for form in _FORMS if form in output.data)
    return nbformat.v4.new_output("display_data", {form: output.data[form]})


if __name__ == "__main__":
    for path in [Path(argument) for argument in sys.argv[1:]] or NOTEBOOKS:
        nbformat.write(run(path), path)
        print(path.name)
