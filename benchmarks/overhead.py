"""What each step outside the model's forward pass takes of the whole time.

python -m benchmarks.overhead passages.jsonl.gz
"""

from __future__ import annotations

import pkgutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from benchmarks.common import RESULTS, Add, Data, Number, Output, Runs, data_name, read_pairs, run
from benchmarks.probes import load
from benchmarks.report import Figure, Report
from benchmarks.timing import seconds

__all__ = ["StepTimer", "main"]

_DESCRIPTION = """{number} pairs of {data}, reranked and pruned in one call by the bundled model, int8 with
ONNX Runtime. Shares of the call's time; each step is without the steps that it calls."""

_FORWARD = "forward pass"
_STEPS = {
    "provence_rag.inference.planning.detect_language": "language detection",
    "provence_rag.chunking.MultilingualChunker.chunks": "chunking",
    "provence_rag.inference.encoding.PairTokenizer.tokenize": "tokenizing",
    "provence_rag.inference.planning.Planner.plans": "planning windows",
    "provence_rag.inference.engine.Engine._run": "batching and padding",
    "provence_rag.backends.onnx.OnnxBackend.run": _FORWARD,
    "provence_rag.inference.engine.keep_probabilities": "scoring",
    "provence_rag.inference.engine.Engine._sentence_scores": "scoring",
    "provence_rag.inference.engine.select": "selection",
    "provence_rag.inference.engine.Engine.prune": "assembly",
}
_REST = "checks and results"


class StepTimer:
    """Adds up how long the calls of some functions take, without the calls that they make of each other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]
        """Seconds of the timed calls inside each call that is running."""

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time is added to that of its step."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.perf_counter() - start
                self.seconds[step] = self.seconds.get(step, 0.0) + whole - self._inner.pop()
                self._inner[-1] += whole

        return call

    @contextmanager
    def watching(self, steps: dict[str, str]) -> Iterator[None]:
        """Time functions, given by their full names, each under its step."""
        with ExitStack() as stack:
            for name, step in steps.items():
                function = pkgutil.resolve_name(name)
                stack.enter_context(patch(name, self.timed(step, function)))
            yield


def main(
    data: Data, *, pairs: Number = 500, runs: Runs = 5, add: Add = False, output: Output = RESULTS
) -> None:
    """Measure everything but the forward pass."""
    read = read_pairs(data, pairs)
    queries, documents = zip(*read, strict=True)
    model = load("int8")
    model.predict_with_pruning(queries[:32], documents[:32], batch_size=None)
    shares: dict[str, list[float]] = {name: [] for name in dict.fromkeys([*_STEPS.values(), _REST])}
    for _ in range(runs):
        timer = StepTimer()
        with timer.watching(_STEPS):
            whole = seconds(lambda: model.predict_with_pruning(queries, documents, batch_size=None))
        timer.seconds[_REST] = whole - sum(timer.seconds.values())
        for name, share in shares.items():
            share.append(100 * timer.seconds[name] / whole)
    forward = shares.pop(_FORWARD)
    figures = [
        Figure("everything but the forward pass", [100 - share for share in forward], "%", at_most=15.0),
        *(Figure(name, own, "%") for name, own in shares.items()),
    ]
    Report(
        name=f"overhead-{data_name(data)}",
        description=_DESCRIPTION.format(number=pairs, data=data_name(data)),
        figures=figures,
    ).save(output, add=add)


if __name__ == "__main__":
    run(main)
