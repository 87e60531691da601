"""A whole run: from a configuration to a released checkpoint."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import integrations

from provence_rag.config import ProvenceConfig
from provence_rag.errors import InvalidInputError
from provence_rag.hub import checkpoint_directory
from provence_rag.modeling.convert import check_exporter
from provence_training.compute import choose_dtype, current_device
from provence_training.config import StageConfig, TrainingConfig
from provence_training.feed import Feed
from provence_training.pairs.packing import digest
from provence_training.release import release
from provence_training.run_data import Data, load_data
from provence_training.stages import run_stage
from provence_training.starting_point import keep_layers_of, make_starting_point

__all__ = ["run_training"]

_NOTED = "config.json"
"""The configuration of the run that an output directory holds, and a hash of its data."""

_PATIENCE = timedelta(days=1)
"""How long processes wait for the first one: it alone asks teachers, calibrates and evaluates, which can take
hours. torch's default is ten minutes on GPUs and thirty on CPUs."""

log = logging.getLogger(__name__)


def run_training(config: TrainingConfig) -> Path:
    """Train and release a model. A run that was interrupted goes on where it was.

    Under torchrun or `accelerate launch`, every process calls this.

    Args:
        config: The run.

    Returns:
        The directory of the checkpoint.

    Raises:
        ProvenceError: The configuration, the data or a model cannot be used, or the output directory holds a
            run with another configuration or on other data.
    """
    _check_installed(config)
    output = Path(config.output).expanduser()
    state = PartialState(cpu=config.device == "cpu", timeout=_PATIENCE)
    data = load_data(config)
    _check_precision(config)
    start = output / "start"
    noted = _noted(config, data)
    with state.main_process_first():
        if not _is_begun(output, noted):
            make_starting_point(config.model, data.train, start, seed=config.seed)
            if config.release.calibration and not ProvenceConfig.from_directory(start).can_prune:
                raise InvalidInputError("release.calibration needs a model that prunes")
            text = json.dumps(noted, indent=2, ensure_ascii=False) + "\n"
            (output / _NOTED).write_text(text, encoding="utf-8")
    feed = Feed(config, data, start)
    for stage in config.stages:
        directory = output / "stages" / stage.name
        if not (directory / "model").exists():
            if stage.layers is not None:
                with state.main_process_first():  # the others find them
                    start = keep_layers_of(start, stage.layers, directory / "start")
            pairs, dev = feed.pairs(stage), feed.dev_pairs(stage)
            log.info("stage %s: %d pairs, %d for development", stage.name, len(pairs), len(dev or ()))
            run_stage(stage, start, directory, pairs, dev, run=config, guide=_guide(stage, output))
        state.wait_for_everyone()
        start = directory / "model"
    if state.is_main_process:
        release(start, output / "model", data.dev, config.release)
    state.wait_for_everyone()
    return output / "model"


def _check_installed(config: TrainingConfig) -> None:
    """Say now what is missing, and not after hours of training."""
    for to in config.release.exports:
        check_exporter(to)
    installed: list[str] = integrations.get_available_reporting_integrations()  # type: ignore[attr-defined,no-untyped-call]
    for name in config.report_to:
        if name not in installed:
            raise InvalidInputError(
                f"report_to has {name!r}, which is not installed, or which transformers does not know; "
                f"there are {', '.join(installed) or 'none'}"
            )


def _check_precision(config: TrainingConfig) -> None:
    stages, teachers = config.stages, config.teachers
    for precision in [*(s.precision for s in stages), *(t.precision for t in teachers)]:
        choose_dtype(precision, current_device())


def _guide(stage: StageConfig, output: Path) -> Path | None:
    """The checkpoint that a stage is guided by."""
    if stage.guide is None:
        return None
    if stage.guide.stage is not None:
        return output / "stages" / stage.guide.stage / "model"
    return checkpoint_directory(stage.guide.model)


def _noted(config: TrainingConfig, data: Data) -> dict[str, Any]:
    """What an output directory must have been made with, as JSON values."""
    noted = {"config": asdict(config), "data": digest([*data.train, *data.dev])}
    return json.loads(json.dumps(noted))  # type: ignore[no-any-return]


def _is_begun(output: Path, noted: dict[str, Any]) -> bool:
    """Whether there is a starting point: the configuration is noted after it is complete."""
    path = output / _NOTED
    if not path.exists():
        return False
    before = json.loads(path.read_text(encoding="utf-8"))
    for name, difference in (("config", "with another configuration"), ("data", "on other data")):
        if before.get(name) != noted[name]:
            raise InvalidInputError(f"{output} holds a run {difference}: choose another output, or delete it")
    return True
