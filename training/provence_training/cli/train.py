"""`provence train`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from provence_training.cli.extra import needs_extra

__all__ = ["train"]


def train(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG.yaml", help="See docs/training.md."),
    ],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Check the configuration and every record without training.")
    ] = False,
) -> None:
    """Fine-tune a model on your data. Called again, an interrupted run continues where it was."""
    with needs_extra("train"):
        from provence_training.config.yaml_file import read_config
        from provence_training.data.sources import load_data
        from provence_training.run.checks import check_data, check_environment
        from provence_training.run.training import run_training

    read = read_config(config)
    with _progress_shown():
        if check:
            check_environment(read)
            check_data(read, load_data(read))
            typer.echo(f"{config}: no errors found")
        else:
            result = run_training(read)
            if _is_first_process():
                typer.echo(str(result))


@contextmanager
def _progress_shown() -> Iterator[None]:
    """Show the training module's log on standard error."""
    log = logging.getLogger("provence_training")
    handler, level = logging.StreamHandler(), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO if _is_first_process() else logging.WARNING)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _is_first_process() -> bool:
    """Whether this is the only process, or the first of those started by torchrun or accelerate."""
    return os.environ.get("RANK", "0") == "0"
