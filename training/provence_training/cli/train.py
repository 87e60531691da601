"""`provence train`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from provence_training.cli.extra import needs_train

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The run; see docs/training.md.")],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Check the configuration and every record, and train nothing.")
    ] = False,
) -> None:
    """Fine-tune a model on your data. Called again, an interrupted run goes on where it was."""
    with needs_train("train"):
        from provence_training.config.yaml_file import read_config
        from provence_training.data.sources import load_data
        from provence_training.run.training import run_training

    read = read_config(config)
    with _progress_shown():
        if check:
            load_data(read)
            typer.echo(f"{config}: nothing is wrong")
        else:
            result = run_training(read)
            if _is_first_process():
                typer.echo(str(result))


@contextmanager
def _progress_shown() -> Iterator[None]:
    """What the training module has to say goes to standard error."""
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
    """Whether this is the only process, or the first of those that torchrun and accelerate start."""
    return os.environ.get("RANK", "0") == "0"
