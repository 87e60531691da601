"""OpenProvence from a checkout of its own, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from benchmarks.processes import peak_memory
from provence_rag import InvalidInputError

__all__ = ["OpenProvencePeer", "PeerPath", "PeerPython", "cut"]

_WORKER = Path(__file__).with_name("open_provence_worker.py")

PeerPython = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Python that OpenProvence runs in; this one by default.")
]
PeerPath = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Packages that it finds first, such as an older transformers."),
]

Job = tuple[str, Sequence[Sequence[str]]]
"""A question, and of each document its sentences, which joined are the document."""


class OpenProvencePeer:
    """Their `process()`, to be used as a context manager.

    Their code needs transformers 4 (it calls `build_inputs_with_special_tokens`, which version 5 does not
    have): give a Python or a directory of packages that has it.

    Args:
        checkout: A clone of github.com/hotchpotch/open_provence.
        weights: A checkpoint directory.
        python: The interpreter; None is this one.
        path: A directory that is searched for packages before its own.

    Raises:
        InvalidInputError: It does not start, or fails.
    """

    def __init__(
        self, checkout: Path, weights: Path, *, python: Path | None = None, path: Path | None = None
    ) -> None:
        command = [str(python or sys.executable), str(_WORKER), str(checkout), str(weights)]
        places = {} if path is None else {"PYTHONPATH": str(path)}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "HF_HUB_OFFLINE": "1", **places},
        )
        about = self._answer()
        self.versions: dict[str, str] = about["versions"]
        """Of what its process runs with."""
        self.parameters: int = about["parameters"]

    @property
    def peak_memory(self) -> int:
        """The most resident memory that its process has had so far, in bytes."""
        return peak_memory(self._process.pid)

    def __enter__(self) -> OpenProvencePeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def process(
        self, jobs: Sequence[Job], *, threshold: float | None = None, gradients: bool = True
    ) -> list[dict[str, Any]]:
        """Rerank and prune, one question after the other.

        Args:
            jobs: Questions with documents.
            threshold: Keep probability above which a sentence stays; None is the checkpoint's own.
            gradients: As their `process()` runs, which records what a backward pass would need. False wraps
                it in torch's `inference_mode`.

        Returns:
            For each question, with an entry a document: `scores`, `kept` (the sentences), `probabilities`
            (one a sentence).
        """
        assert self._process.stdin is not None
        request = {"jobs": jobs, "threshold": threshold, "gradients": gradients}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says what happened
        answer: list[dict[str, Any]] = self._answer()
        return answer

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise InvalidInputError(
                f"OpenProvence failed with exit code {self._process.returncode}, see above; its code needs "
                "transformers 4: name a Python (--peer-python) or a directory of packages (--peer-path) that "
                "has it"
            )
        return json.loads(line)


def cut(document: str, starts: Sequence[int]) -> list[str]:
    """The document, cut where its sentences start, so that the parts joined are the document."""
    return [document[start:end] for start, end in pairwise([0, *starts[1:], len(document)])]
