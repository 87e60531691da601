"""The bundled model as int8 with ONNX Runtime and OpenVINO, and in bfloat16, against float32 with torch.

python -m benchmarks.backends passages.jsonl.gz
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import typer

from benchmarks.common import (
    RESULTS,
    Add,
    Data,
    Number,
    Output,
    Python,
    Runs,
    data_name,
    read_pairs,
    run,
)
from benchmarks.probes import import_module, load, prune_pairs
from benchmarks.processes import environment, in_fresh_process
from benchmarks.report import Figure, Report
from benchmarks.timing import paired_times, ratios
from provence_rag import ProvenceOutput
from provence_rag.hub import BUNDLED, EXPORTS

__all__ = ["main"]

_DESCRIPTION = """{number} pairs of {data}, reranked and pruned by the bundled model: int8 with ONNX
Runtime{openvino}, and {floats} with torch, in turns. Peak memory is that of a fresh process that loads the
model and reads {few} pairs; "above the libraries" is without what importing the backend takes. The
processes with 8-bit weights ran in {python}."""

_LIBRARIES = {
    "int8": "provence_rag.backends.onnx",
    "openvino": "provence_rag.backends.openvino",
    "bfloat16": "provence_rag.backends.torch",
    "float32": "provence_rag.backends.torch",
}

_EIGHT_BITS = ("int8", "openvino")
"""Those that have targets, and run in the interpreter that is named."""

_FEW = 64
"""Pairs that each backend reads before it is timed, and of which memory is measured."""


def main(
    data: Data,
    *,
    pairs: Number = 500,
    runs: Runs = 5,
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Torch in bfloat16 too, for a processor that has it.")
    ] = False,
    python: Python = sys.executable,
    add: Add = False,
    output: Output = RESULTS,
) -> None:
    """Compare the backends that the bundled model has weights for: throughput, results, memory."""
    read = read_pairs(data, pairs)
    has_openvino = (BUNDLED / EXPORTS["openvino"]["int8"]).is_file()
    left_out = {"openvino": not has_openvino, "bfloat16": not bfloat16}
    models = {name: load(name) for name in _LIBRARIES if not left_out.get(name)}
    found: dict[str, ProvenceOutput] = {}

    def systems(number: int) -> dict[str, Callable[[], None]]:
        queries, documents = zip(*read[:number], strict=True)

        def prune(name: str) -> Callable[[], None]:
            model = models[name]
            return lambda: found.update(
                {name: model.predict_with_pruning(queries, documents, batch_size=None, min_sentences=0)}
            )

        return {name: prune(name) for name in models}

    paired_times(systems(_FEW), runs=1, warm_up=0)
    times = paired_times(systems(pairs), runs=runs, warm_up=0)
    peaks, bare = {}, {}
    for name in models:
        own = python if name in _EIGHT_BITS else sys.executable
        peaks[name] = in_fresh_process(prune_pairs, name, read[:_FEW], python=own)[1]
        bare[name] = in_fresh_process(import_module, _LIBRARIES[name], python=own)[1]
    above = {name: peaks[name] - bare[name] for name in models}
    figures = [
        *(
            figure
            for name in models
            if name != "float32"
            for figure in _comparison(name, times, found, peaks)
        ),
        *(Figure(f"throughput, {name}", [pairs / t for t in own], "pairs/s") for name, own in times.items()),
        *(Figure(f"peak memory, {name}", [own / 2**20], "MiB") for name, own in peaks.items()),
        *(Figure(f"above the libraries, {name}", [own / 2**20], "MiB") for name, own in above.items()),
    ]
    Report(
        name=f"backends-{data_name(data)}",
        description=_DESCRIPTION.format(
            number=pairs,
            data=data_name(data),
            openvino=" and OpenVINO" if has_openvino else "",
            floats="bfloat16 and float32" if bfloat16 else "float32",
            few=_FEW,
            python=environment(python),
        ),
        figures=figures,
    ).save(output, add=add)


def _comparison(
    name: str, times: dict[str, list[float]], found: dict[str, ProvenceOutput], peaks: dict[str, int]
) -> list[Figure]:
    """What fewer bits cost and gain, against float32 on the same pairs."""
    one, other = found[name], found["float32"]
    masks = [
        (a, b)
        for mask, against in zip(one.pruning_masks, other.pruning_masks, strict=True)
        for a, b in zip(mask, against, strict=True)
    ]
    scores = list(zip(one.ranking_scores, other.ranking_scores, strict=True))
    apart = [abs(a - b) for a, b in scores if a is not None and b is not None]
    alike = 100 * sum(a == b for a, b in masks) / len(masks)
    figures = [
        Figure(f"throughput, {name} / float32", ratios(times["float32"], times[name]), at_least=3.0),
        Figure(f"sentences decided alike, {name}", [alike], "%", at_least=98.5),
        Figure(f"mean difference of scores, {name}", [sum(apart) / len(apart)], at_most=0.02),
        Figure(f"peak memory, {name} / float32", [peaks[name] / peaks["float32"]], at_most=0.5),
    ]
    if name in _EIGHT_BITS:
        return figures
    return [replace(figure, at_most=None, at_least=None) for figure in figures]


if __name__ == "__main__":
    run(main)
