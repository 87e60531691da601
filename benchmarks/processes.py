"""Measurements that need a process of their own: peak memory, imports, first calls."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["environment", "in_fresh_process", "peak_memory", "seconds_of_code"]

_ROOT = Path(__file__).parents[1]


def in_fresh_process(
    function: Callable[..., Any], *arguments: Any, python: str = sys.executable
) -> tuple[Any, int]:
    """Call a function in a new interpreter, which imports nothing but the function's module.

    Args:
        function: A function of a module that can be imported, and is not the one being run.
        arguments: Values that JSON knows.
        python: The interpreter, which may be of another environment.

    Returns:
        What it returned, by way of JSON, and the peak memory of the process in bytes.
    """
    command = [python, "-m", "benchmarks.processes", function.__module__, function.__qualname__]
    done = subprocess.run(
        command, input=json.dumps(arguments), stdout=subprocess.PIPE, encoding="utf-8", check=True, cwd=_ROOT
    )
    value, peak = json.loads(done.stdout.splitlines()[-1])
    return value, peak


def environment(python: str) -> str:
    """What an environment is called that fresh processes ran in."""
    from benchmarks.probes import has_module

    if python == sys.executable:
        return "this environment"
    with_torch, _ = in_fresh_process(has_module, "torch", python=python)
    return f"another environment, {'with' if with_torch else 'without'} torch"


def seconds_of_code(code: str, *, python: str = sys.executable) -> tuple[float, float]:
    """Seconds that some code takes in a new interpreter, and the interpreter with it, from start to end."""
    timed = f"import time\nstart = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)"
    start = time.perf_counter()
    done = subprocess.run(
        [python, "-c", timed], stdout=subprocess.PIPE, encoding="utf-8", check=True, cwd=_ROOT
    )
    return float(done.stdout.splitlines()[-1]), time.perf_counter() - start


def peak_memory(pid: int | None = None) -> int:
    """The most resident memory that a process has had so far, in bytes: this one, or on Linux any."""
    status = Path("/proc") / ("self" if pid is None else str(pid)) / "status"
    if status.is_file():
        # Not ru_maxrss: on Linux a new process starts with the peak of the one that started it.
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    import resource  # there is none on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _main(module: str, name: str) -> None:
    arguments = json.load(sys.stdin)
    value = getattr(importlib.import_module(module), name)(*arguments)
    print(json.dumps([value, peak_memory()]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
