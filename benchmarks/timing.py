"""Times that can be compared: systems run in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence

__all__ = ["paired_times", "ratios", "seconds"]


def seconds(function: Callable[[], object]) -> float:
    """How long a call takes."""
    gc.collect()  # the garbage of what ran before is not its own
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def paired_times(
    systems: Mapping[str, Callable[[], object]], *, runs: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Time systems in turns, so that what slows the machine down meanwhile meets all of them.

    Args:
        systems: What is timed, by name. The order is turned round from run to run.
        runs: How often each is timed.
        warm_up: How often each runs before, untimed.

    Returns:
        For each system, its time in each run, in seconds. Those of one run are pairs.
    """
    for function in list(systems.values()) * warm_up:
        function()
    times: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(runs):
        for name in list(systems)[:: -1 if number % 2 else 1]:
            times[name].append(seconds(systems[name]))
    return times


def ratios(times: Sequence[float], others: Sequence[float]) -> list[float]:
    """The ratio of each pair of times; its median bears a slow moment better than a ratio of medians."""
    return [one / other for one, other in zip(times, others, strict=True)]
