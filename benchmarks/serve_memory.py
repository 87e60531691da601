"""Whether the memory of a server grows with the requests that it answers.

python -m benchmarks.serve_memory passages.jsonl.gz
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from typing import Annotated

import typer

from benchmarks.common import RESULTS, Data, Output, data_name, read_pairs, run
from benchmarks.report import Figure, Report
from benchmarks.serve import ask, end, free_port, requests_of, start

__all__ = ["main"]

_DESCRIPTION = """`provence serve` on 127.0.0.1 with the bundled model, int8 with ONNX Runtime, under
{minutes:g} minutes of load: {clients} clients that each ask again as soon as they are answered, with {sizes}
passages from {data}, or a document of {long} of them. Memory is what the server's process holds (RSS),
looked at {samples} times: what it holds after a tenth of the time, against the end and the most after
that."""

_SIZES = (1, 3, 10, 30)
_LONG = 60
_SAMPLES = 100


def main(
    data: Data,
    *,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long the load lasts.")] = 60.0,
    clients: Annotated[int, typer.Option(min=1, help="Clients that ask at a time.")] = 4,
    output: Output = RESULTS,
) -> None:
    """Watch the memory of a server under load."""
    pairs = read_pairs(data, 10 * max(_SIZES))
    bodies = [body for size in _SIZES for body in requests_of(pairs[: 10 * size], size)]
    for first in range(0, len(pairs), _LONG):
        document = "\n\n".join(text for _, text in pairs[first : first + _LONG])
        bodies.append(json.dumps({"query": pairs[first][0], "documents": [document]}).encode())
    random.Random(0).shuffle(bodies)
    seconds = 60 * minutes
    held: list[float] = []
    process = start(port := free_port())

    async def watch() -> None:
        for _ in range(_SAMPLES):
            await asyncio.sleep(seconds / _SAMPLES)
            held.append(await asyncio.to_thread(_resident, process.pid))

    try:
        found = ask(port, bodies, clients, seconds, meanwhile=watch)
    finally:
        end(process)
    early, later = held[_SAMPLES // 10 - 1], held[_SAMPLES // 10 :]
    others = sum(found.statuses.values()) - found.answers
    Report(
        name=f"serve-memory-{data_name(data)}",
        description=_DESCRIPTION.format(
            minutes=minutes,
            clients=clients,
            sizes=", ".join(map(str, _SIZES[:-1])) + f" or {_SIZES[-1]}",
            data=data_name(data),
            long=_LONG,
            samples=_SAMPLES,
        ),
        figures=[
            Figure("answers", [found.answers]),
            Figure("other statuses, or no answer", [others + found.dropped], at_most=0),
            Figure("memory after a tenth of the time", [early], "MiB"),
            Figure("memory at the end", [later[-1]], "MiB"),
            Figure("memory, end / after a tenth", [later[-1] / early], at_most=1.1),
            Figure("memory, most / after a tenth", [max(later) / early]),
        ],
    ).save(output)


def _resident(process: int) -> float:
    """What a process holds in memory now, in MiB."""
    shown = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True, check=True
    )
    return int(shown.stdout) / 1024


if __name__ == "__main__":
    run(main)
