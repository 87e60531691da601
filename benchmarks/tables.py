"""How time and memory of `provence prune-table` grow with the number of passages in a file.

python -m benchmarks.tables passages.jsonl.gz
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from pyarrow.parquet import ParquetWriter

from benchmarks.common import RESULTS, Add, Data, Output, Runs, data_name, read_pairs, run
from benchmarks.probes import numbered, prune_file, stream
from benchmarks.processes import in_fresh_process
from benchmarks.report import Figure, Report
from benchmarks.scaling import MODELS, Measured, growth
from benchmarks.timing import ratios
from provence_rag import InvalidInputError

__all__ = ["main"]

_DESCRIPTION = """Parquet files with a question and a passage in each row, of {data}, all different. Each
size is pruned in a fresh process. {model}"""

_ROW_GROUP = 10_000
"""Memory depends on it, so all files have the same."""


def main(
    data: Data,
    *,
    model: Annotated[str, typer.Option(metavar="|".join(MODELS), help="What reads the passages.")] = "fake",
    passages: Annotated[list[int], typer.Option(help="Rows of a file; may be repeated.")] = [  # noqa: B006
        30_000,
        100_000,
    ],
    runs: Runs = 3,
    add: Add = False,
    output: Output = RESULTS,
) -> None:
    """Measure time per passage and peak memory at several sizes, and what the file adds to the time."""
    if model not in MODELS:
        raise InvalidInputError(f"--model must be {' or '.join(MODELS)}, got {model!r}")
    if len(passages) < 2:
        raise InvalidInputError("--passages needs two sizes at least: growth is measured")
    pairs = read_pairs(data, 300)
    texts = [text for _, text in pairs]
    measured: dict[str, list[Measured]] = {f"{size:,} passages": [] for size in passages}
    streams = []
    with tempfile.TemporaryDirectory() as folder:
        sources = {
            name: Path(folder) / f"{size}.parquet" for name, size in zip(measured, passages, strict=True)
        }
        for path, size in zip(sources.values(), passages, strict=True):
            _write(path, pairs[0][0], texts, size)
        for _ in range(runs):
            for (name, path), size in zip(sources.items(), passages, strict=True):
                target = path.with_suffix(".out.parquet")
                taken, peak = in_fresh_process(prune_file, model, str(path), str(target))
                measured[name].append(Measured(1000 * taken / size, peak / 2**20))
                target.unlink(missing_ok=True)
            taken, _ = in_fresh_process(stream, model, pairs[0][0], texts, passages[-1])
            streams.append(1000 * taken / passages[-1])
    largest = [one.milliseconds for one in measured[f"{passages[-1]:,} passages"]]
    Report(
        name=f"tables-{model}",
        description=_DESCRIPTION.format(data=data_name(data), model=MODELS[model]),
        figures=[
            *growth("a passage", measured, flat=1.1),
            Figure("time, table / process() on lists", ratios(largest, streams)),
        ],
    ).save(output, add=add)


def _write(path: Path, query: str, texts: Sequence[str], size: int) -> None:
    passages = islice(numbered(texts), size)
    schema = pa.schema([("query", pa.string()), ("documents", pa.string())])
    with ParquetWriter(path, schema) as writer:
        for rows in _groups(passages):
            writer.write_table(pa.table({"query": [query] * len(rows), "documents": rows}, schema))


def _groups(passages: Iterator[str]) -> Iterator[list[str]]:
    while rows := list(islice(passages, _ROW_GROUP)):
        yield rows


if __name__ == "__main__":
    run(main)
