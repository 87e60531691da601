"""What a cache of scores gains on a stream in which passages come again.

python -m benchmarks.score_cache passages.jsonl.gz
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import RESULTS, Add, Data, Number, Output, Runs, data_name, read_pairs, run
from benchmarks.report import Figure, Report
from benchmarks.timing import paired_times, ratios
from provence_rag import Provence

__all__ = ["main", "with_repeats"]

_PER_CALL = 20
"""Passages a call."""

_DESCRIPTION = """A stream of {pairs} question-passage pairs of {data}; {share:.0%} of them came before in it,
at random places. {per_call} pairs a call; the bundled model, int8 with ONNX Runtime. Each run begins with an
empty cache, in memory or in a file, and loads the model. "All known" is the same stream once more, with the
file of the first time."""


def main(
    data: Data,
    *,
    pairs: Number = 1000,
    repeats: Annotated[float, typer.Option(min=0, max=1, help="Share of pairs that came before.")] = 0.3,
    runs: Runs = 5,
    add: Add = False,
    output: Output = RESULTS,
) -> None:
    """Time a stream without a cache, with one in memory, and with one in a file."""
    fresh = read_pairs(data, pairs - round(pairs * repeats))
    calls = with_repeats(fresh, pairs)
    plain = Provence.from_pretrained(backend="onnx")
    numbers = count()
    with tempfile.TemporaryDirectory() as folder:

        def of(load: Callable[[], Provence]) -> Callable[[], None]:
            def process() -> None:
                model = load()
                for start in range(0, len(calls), _PER_CALL):
                    queries, documents = zip(*calls[start : start + _PER_CALL], strict=True)
                    model.process_batch(queries, [[text] for text in documents])

            return process

        def file(name: object) -> Path:
            return Path(folder) / f"{name}.db"

        def cached(place: Callable[[], int | Path]) -> Callable[[], None]:
            return of(lambda: Provence.from_pretrained(backend="onnx", score_cache=place()))

        systems = {
            "no cache": of(lambda: plain),
            "in memory": cached(lambda: pairs),
            "in a file": cached(lambda: file(next(numbers))),
            "all known": cached(lambda: file("known")),
        }
        times = paired_times(systems, runs=runs)
    Report(
        name=f"score-cache-{data_name(data)}",
        description=_DESCRIPTION.format(pairs=pairs, data=data_name(data), share=repeats, per_call=_PER_CALL),
        figures=[
            *(
                Figure(f"throughput, {name}", [pairs / t for t in own], "pairs/s")
                for name, own in times.items()
            ),
            *(
                Figure(f"time, {name} / no cache", ratios(own, times["no cache"]))
                for name, own in list(times.items())[1:]
            ),
        ],
    ).save(output, add=add)


def with_repeats(fresh: Sequence[tuple[str, str]], number: int) -> list[tuple[str, str]]:
    """A stream of a number of pairs: those given, and between them others that came before."""
    chance = random.Random(0)
    again = {*chance.sample(range(1, number), number - len(fresh))}
    stream: list[tuple[str, str]] = []
    left = iter(fresh)
    for place in range(number):
        stream.append(chance.choice(stream) if place in again else next(left))
    return stream


if __name__ == "__main__":
    run(main)
