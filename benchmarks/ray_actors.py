"""Ray's actors on two cores, against one process with a thread per core.

python -m benchmarks.ray_actors passages.jsonl.gz
"""

from __future__ import annotations

from typing import Annotated

import ray
import typer

from benchmarks.common import RESULTS, Add, Data, Number, Output, Runs, data_name, read_pairs, run
from benchmarks.report import Figure, Report
from benchmarks.timing import paired_times, ratios
from provence_rag import Provence
from provence_rag.batches import ProvenceBatch

__all__ = ["main"]

_DESCRIPTION = """{pairs} question-passage pairs of {data}, with the bundled model, int8 with ONNX Runtime:
`ProvenceBatch` in one process with {actors} threads, against Ray Data's `map_batches` with {actors} actors
of one thread each, on a local Ray that is running. Both get the same batches of at most {rows} pairs.
Starting the actors is part of the time."""

_ROWS = 512


def main(
    data: Data,
    *,
    pairs: Number = 3000,
    actors: Annotated[int, typer.Option(min=1, help="Actors, and threads of the one process.")] = 2,
    runs: Runs = 3,
    add: Add = False,
    output: Output = RESULTS,
) -> None:
    """Time both on the same pairs."""
    queries, documents = map(list, zip(*read_pairs(data, pairs), strict=True))
    alone = ProvenceBatch(model=Provence.from_pretrained(backend="onnx", threads=actors))
    ray.init(num_cpus=actors, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_items(
        [{"query": query, "documents": text} for query, text in zip(queries, documents, strict=True)],
        override_num_blocks=-(-pairs // _ROWS),
    ).materialize()
    batches = list(rows.iter_batches(batch_size=None, batch_format="pyarrow"))

    def in_actors() -> None:
        settings = {"backend": "onnx", "threads": 1}
        rows.map_batches(
            ProvenceBatch,
            fn_constructor_kwargs=settings,
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=1,
        ).materialize()

    systems = {
        "one process": lambda: [alone(batch) for batch in batches],
        f"{actors} actors": in_actors,
    }
    times = paired_times(systems, runs=runs)
    one, several = times.values()
    Report(
        name=f"ray-actors-{data_name(data)}",
        description=_DESCRIPTION.format(pairs=pairs, data=data_name(data), actors=actors, rows=_ROWS),
        figures=[
            *(
                Figure(f"throughput, {name}", [pairs / t for t in own], "pairs/s")
                for name, own in times.items()
            ),
            Figure(f"throughput, {actors} actors / one process", ratios(one, several), at_least=1.0),
        ],
    ).save(output, add=add)


if __name__ == "__main__":
    run(main)
