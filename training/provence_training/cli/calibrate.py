"""`provence calibrate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from provence_training.cli.extra import needs_extra
from provence_training.cli.options import Backend, Distractors, Dtype, Limit

__all__ = ["calibrate"]


def calibrate(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A checkpoint; changes its config.json.", show_default=False),
    ],
    data: Annotated[
        list[Path],
        typer.Option(
            "--data", "-d", metavar="FILE", help="Passages with questions and answer spans; repeatable."
        ),
    ],
    *,
    keep: Annotated[
        float,
        typer.Option(
            help="Share of the questions whose answer must survive, unless a caller asks for another share."
        ),
    ] = 0.97,
    evidence: Annotated[
        str,
        typer.Option(
            metavar="any|all", help="Whether one answer span of a question must survive, or all of them."
        ),
    ] = "any",
    removed_off_topic: Annotated[
        float | None,
        typer.Option(
            help="Share of the distractors' characters that should be removed; by default it weighs the same "
            "as that of the answering passages."
        ),
    ] = None,
    distractors: Distractors = 9,
    limit: Limit = None,
    allow_few_questions: Annotated[
        bool,
        typer.Option(
            "--allow-few-questions",
            help="Calibrate even if a language has too few questions to lose one answer and keep the share.",
        ),
    ] = False,
    backend: Backend = "auto",
    device: Annotated[str | None, typer.Option(help="Where it runs, such as cpu or cuda:0.")] = None,
    dtype: Dtype = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the result and write nothing.")] = False,
) -> None:
    """Choose a checkpoint's temperatures, rules and threshold on questions with known answers."""
    with needs_extra("calibrate"):
        from provence_rag import Provence
        from provence_rag.cli.writing import write
        from provence_training.evaluation import load_topics
        from provence_training.evaluation.calibration import calibrate as run

    model = Provence.from_pretrained(directory, backend=backend, device=device, dtype=dtype)  # type: ignore[arg-type]
    sets = [load_topics(path, distractors=distractors, limit=limit) for path in data]
    result = run(
        model,
        sets,
        keep=keep,
        evidence=evidence,  # type: ignore[arg-type]  # checked there
        removed_off_topic=removed_off_topic,
        allow_few_questions=allow_few_questions,
        show_progress=sys.stderr.isatty(),
    )
    if not dry_run:
        result.config.to_directory(directory)
    write(result.to_markdown(), None)
