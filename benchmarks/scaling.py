"""How time and memory grow: with the number of passages in a stream, and with the length of a document.

python -m benchmarks.scaling passages.jsonl.gz
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, NamedTuple

import typer

from benchmarks.common import RESULTS, Add, Data, Output, Runs, data_name, read_pairs, run
from benchmarks.probes import long_document, stream
from benchmarks.processes import in_fresh_process
from benchmarks.report import Figure, Report
from benchmarks.timing import ratios
from provence_rag import InvalidInputError

__all__ = ["MODELS", "Measured", "growth", "main"]

_DESCRIPTION = """Each size is measured in a fresh process, with texts of {data}, all different. A stream
is processed slice by slice, 500 passages a call; a document in one call. {model}"""

MODELS = {
    "fake": "The model is the one of `provence_rag.testing`, which takes "
    "next to no time: what grows outside of the model shows.",
    "int8": "The model is the bundled one, int8 with ONNX Runtime.",
}


class Measured(NamedTuple):
    """One process."""

    milliseconds: float
    """For a passage, or 1000 bytes."""

    mebibytes: float
    """Its peak memory."""


def main(
    data: Data,
    *,
    model: Annotated[str, typer.Option(metavar="|".join(MODELS), help="What reads the passages.")] = "fake",
    passages: Annotated[list[int], typer.Option(help="Length of a stream; may be repeated.")] = [  # noqa: B006
        1_000,
        10_000,
        100_000,
    ],
    kilobytes: Annotated[list[int], typer.Option(help="Length of a document; may be repeated.")] = [  # noqa: B006
        1,
        10,
        100,
        1_000,
        10_000,
    ],
    runs: Runs = 5,
    add: Add = False,
    output: Output = RESULTS,
) -> None:
    """Measure time per passage or character, and peak memory, at several sizes."""
    if model not in MODELS:
        raise InvalidInputError(f"--model must be {' or '.join(MODELS)}, got {model!r}")
    if min(len(passages), len(kilobytes)) < 2:
        raise InvalidInputError("--passages and --kilobytes need two sizes at least: growth is measured")
    pairs = read_pairs(data, 300)
    texts = [text for _, text in pairs]

    def measure(probe: Callable[..., float], sizes: Mapping[str, int]) -> dict[str, list[Measured]]:
        found: dict[str, list[Measured]] = {name: [] for name in sizes}
        for _ in range(runs):
            for name, size in sizes.items():
                taken, peak = in_fresh_process(probe, model, pairs[0][0], texts, size)
                found[name].append(Measured(1000 * taken / size, peak / 2**20))
        return found

    streams = measure(stream, {f"{number:,} passages": number for number in passages})
    documents = measure(long_document, {f"{size:,} kB": size for size in kilobytes})
    Report(
        name=f"scaling-{model}",
        description=_DESCRIPTION.format(data=data_name(data), model=MODELS[model]),
        figures=[*growth("a passage", streams, flat=1.1), *growth("a kB", documents, flat=None)],
    ).save(output, add=add)


def growth(unit: str, measured: Mapping[str, Sequence[Measured]], *, flat: float | None) -> list[Figure]:
    """Time of one unit, and peak memory, at each size; how it grows from size to size, and over all."""
    times = {name: [one.milliseconds for one in own] for name, own in measured.items()}
    peaks = {name: [one.mebibytes for one in own] for name, own in measured.items()}
    smallest, *_, largest = measured
    steps = dict.fromkeys([*pairwise(measured), (smallest, largest)])
    return [
        *(Figure(f"time {unit}, {name}", own, "ms") for name, own in times.items()),
        *(
            Figure(f"time {unit}, {large} / {small}", ratios(times[large], times[small]), at_most=1.1)
            for small, large in steps
        ),
        *(Figure(f"peak memory, {name}", own, "MiB") for name, own in peaks.items()),
        Figure(f"peak memory, {largest} / {smallest}", ratios(peaks[largest], peaks[smallest]), at_most=flat),
    ]


if __name__ == "__main__":
    run(main)
