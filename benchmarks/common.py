"""What the benchmarks share: their data, their options, and the machine they run on."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provence_rag import InvalidInputError, ProvenceError
from provence_rag.hub import BUNDLED

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

__all__ = [
    "RESULTS",
    "Add",
    "Data",
    "Number",
    "Output",
    "Python",
    "Runs",
    "cross_encoder",
    "data_name",
    "machine",
    "read_pairs",
    "run",
]

RESULTS = Path(__file__).parent / "results"
_LIBRARIES = (
    "numpy",
    "onnxruntime",
    "openvino",
    "tokenizers",
    "torch",
    "transformers",
    "sentence-transformers",
)
# What decides how fast a CPU multiplies numbers of 8 and 16 bits.
_INSTRUCTIONS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
    "bf16",
)


def _interpreter(python: str) -> str:
    """An interpreter for processes that start in another folder."""
    found = shutil.which(python)
    if found is None:
        raise typer.BadParameter(f"there is no interpreter {python!r}")
    return str(Path(found).absolute())  # as a link, which tells Python its environment


Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Passages with questions, in any shape of docs/training.md: .jsonl, .jsonl.gz, ...",
        show_default=False,
    ),
]
Number = Annotated[int, typer.Option(min=1, help="Question-passage pairs.")]
Runs = Annotated[int, typer.Option(min=1, help="Runs that medians are taken over.")]
Add = Annotated[
    bool, typer.Option("--add", help="Add the runs to those already in DIR: a long benchmark in pieces.")
]
Python = Annotated[
    str,
    typer.Option(
        metavar="PATH",
        callback=_interpreter,
        help="Interpreter of the fresh processes with 8-bit weights: that of a base install, say (for "
        "`backends` with the extra `openvino`), since optional libraries cost memory and time. This one by "
        "default.",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the results are written.")]


def run(main: Callable[..., None]) -> None:
    """Run a benchmark on the command line."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except ProvenceError as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {error}")


def read_pairs(data: str | Path, number: int) -> list[tuple[str, str]]:
    """Questions with passages as long as the data have them.

    Each passage that has a question comes with its own first question. If more pairs are wanted, it comes
    again with that of the next passage, then of the next but one, and so on: every pair is another one.

    Args:
        data: See `provence_training.load_passages`.
        number: How many pairs.

    Returns:
        Pairs of a question and a passage.

    Raises:
        InvalidInputError: The data cannot be read, or give fewer pairs than `number`.
    """
    from provence_training.data import load_passages

    passages = [passage for passage in load_passages(data) if passage.questions]
    if number > len(passages) ** 2:
        raise InvalidInputError(f"{data}: {len(passages)} passages with questions do not give {number} pairs")
    return [
        (
            passages[(i + i // len(passages)) % len(passages)].questions[0].text,
            passages[i % len(passages)].text,
        )
        for i in range(number)
    ]


def data_name(data: str | Path) -> str:
    """What results on these data are called: the file's name up to the first dot."""
    return Path(data).name.partition(".")[0]


def cross_encoder() -> CrossEncoder:
    """The bundled model as sentence-transformers runs it, in float32 on the CPU."""
    from sentence_transformers import CrossEncoder

    model: CrossEncoder = CrossEncoder(str(BUNDLED), device="cpu", model_kwargs={"dtype": "float32"})
    return model


def machine() -> dict[str, Any]:
    """The processor, its cores, the threads asked for, and the versions of what was measured."""
    facts = _cpuinfo()
    flags = facts.get("flags", facts.get("Features", "")).split()
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
        "cores": _cores(),
        "threads": os.environ.get("OMP_NUM_THREADS", "one a core"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
    }


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    """What Linux says of its first processor."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
