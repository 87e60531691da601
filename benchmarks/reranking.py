"""Reranking and pruning in one pass, against reranking alone: same weights, torch, float32.

python -m benchmarks.reranking passages.jsonl.gz
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.common import (
    RESULTS,
    Add,
    Data,
    Number,
    Output,
    Runs,
    cross_encoder,
    data_name,
    read_pairs,
    run,
)
from benchmarks.probes import load, prune_pairs, rank_pairs
from benchmarks.processes import in_fresh_process
from benchmarks.report import Figure, Report
from benchmarks.timing import paired_times, ratios

__all__ = ["main"]

_DESCRIPTION = """{number} pairs of {data}, read by the bundled model in float32 with torch: reranked by
sentence-transformers' `CrossEncoder.predict`, and reranked and pruned by `Provence.predict_with_pruning`,
in turns, each with its default batches. Scores differ where a passage is longer than the window: there
CrossEncoder truncates. Peak memory is that of a fresh process that loads the model and reads {few} pairs."""

_FEW = 64
"""Pairs that each system reads before it is timed, and of which memory is measured."""


def main(
    data: Data, *, pairs: Number = 500, runs: Runs = 5, add: Add = False, output: Output = RESULTS
) -> None:
    """Compare with sentence-transformers' CrossEncoder, which reranks with the same weights."""
    read = read_pairs(data, pairs)
    reranker, provence = cross_encoder(), load("float32")
    found: dict[str, Any] = {}

    def systems(number: int) -> dict[str, Callable[[], None]]:
        some = read[:number]
        queries, documents = zip(*some, strict=True)

        def rerank() -> None:
            found["scores"] = reranker.predict(some, show_progress_bar=False)

        def rerank_and_prune() -> None:
            found["pruned"] = provence.predict_with_pruning(
                queries, documents, batch_size=None, min_sentences=0
            )

        return {"CrossEncoder": rerank, "provence": rerank_and_prune}

    paired_times(systems(_FEW), runs=1, warm_up=0)
    times = paired_times(systems(pairs), runs=runs, warm_up=0)
    pruned = found["pruned"]
    differences = [abs(float(a) - b) for a, b in zip(found["scores"], pruned.ranking_scores, strict=True)]
    memory = {
        "CrossEncoder": in_fresh_process(rank_pairs, read[:_FEW])[1],
        "provence": in_fresh_process(prune_pairs, "float32", read[:_FEW])[1],
    }
    figures = [
        Figure(
            "time, rerank and prune / rerank", ratios(times["provence"], times["CrossEncoder"]), at_most=1.0
        ),
        *(Figure(f"throughput, {name}", [pairs / t for t in own], "pairs/s") for name, own in times.items()),
        Figure("characters removed", [100 * pruned.compression_ratio], "%"),
        Figure("same score, within 0.001", [100 * sum(d < 0.001 for d in differences) / pairs], "%"),
        Figure("peak memory, rerank and prune / rerank", [memory["provence"] / memory["CrossEncoder"]]),
        *(Figure(f"peak memory, {name}", [own / 2**20], "MiB") for name, own in memory.items()),
    ]
    Report(
        name=f"reranking-{data_name(data)}",
        description=_DESCRIPTION.format(number=pairs, data=data_name(data), few=_FEW),
        figures=figures,
    ).save(output, add=add)


if __name__ == "__main__":
    run(main)
