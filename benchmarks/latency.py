"""How long one call takes, and how long one waits for the first.

python -m benchmarks.latency passages.jsonl.gz
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.common import RESULTS, Data, Output, Python, Runs, data_name, read_pairs, run
from benchmarks.probes import first_call, load
from benchmarks.processes import environment, in_fresh_process, seconds_of_code
from benchmarks.report import Figure, Report
from benchmarks.timing import ratios, seconds
from provence_rag import InvalidInputError

__all__ = ["main", "passages_of"]

_DESCRIPTION = """One question with 20 passages of 120 words from {data}, reranked and pruned by the
bundled model, int8 with ONNX Runtime. All but the repeated calls is measured in fresh processes, in
{python}, with warm file caches: `import` inside of one, and the first pruned passage from the start of
Python to its end."""

_FIRST_PASSAGE = """from provence_rag import Provence
print(Provence.from_pretrained().prune("Who invented the paper coffee filter?",
      "Melitta Bentz patented the paper coffee filter in 1908. A medium grind suits most beans."))"""


def main(data: Data, *, runs: Runs = 100, python: Python = sys.executable, output: Output = RESULTS) -> None:
    """Measure one call over and over (`--runs`), and a twentieth as often the first call and imports."""
    pairs = read_pairs(data, 100)
    query, passages = pairs[0][0], passages_of([text for _, text in pairs], number=20, words=120)
    model = load("int8")
    model.process(query, passages)
    calls = [seconds(lambda: model.process(query, passages)) for _ in range(runs)]

    codes = {"numpy": "import numpy", "provence_rag": "import provence_rag", "passage": _FIRST_PASSAGE}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in codes}
    firsts = []
    for _ in range(1 + max(5, runs // 20)):
        for name, code in codes.items():
            times[name].append(seconds_of_code(code, python=python))
        firsts.append(in_fresh_process(first_call, "int8", query, passages, python=python)[0])
    inside = {name: [inner for inner, _ in own[1:]] for name, own in times.items()}
    whole = {name: [outer for _, outer in own[1:]] for name, own in times.items()}
    loading, first = zip(*firsts[1:], strict=True)
    figures = [
        Figure("one call, p50", _milliseconds(calls), "ms"),
        Figure("one call, p95", [float(np.percentile(_milliseconds(calls), 95))], "ms"),
        Figure("first call after loading", _milliseconds(first), "ms"),
        Figure("loading", _milliseconds(loading), "ms"),
        Figure("import provence_rag", inside["provence_rag"], "s", at_most=0.2),
        Figure("import provence_rag / import numpy", ratios(inside["provence_rag"], inside["numpy"])),
        Figure("first pruned passage, whole process", whole["passage"], "s", at_most=2.0),
        Figure("the same / a process that imports numpy", ratios(whole["passage"], whole["numpy"])),
    ]
    Report(
        name=f"latency-{data_name(data)}",
        description=_DESCRIPTION.format(data=data_name(data), python=environment(python)),
        figures=figures,
    ).save(output)


def passages_of(texts: Sequence[str], *, number: int, words: int) -> list[str]:
    """Passages of equal length, cut from running text.

    Raises:
        InvalidInputError: The texts have fewer words than that.
    """
    running = " ".join(texts).split()
    if len(running) < number * words:
        raise InvalidInputError(f"{number} passages of {words} words need more than {len(running)} words")
    return [" ".join(running[i * words : (i + 1) * words]) for i in range(number)]


def _milliseconds(times: Sequence[float]) -> list[float]:
    return [1000 * time for time in times]


if __name__ == "__main__":
    run(main)
