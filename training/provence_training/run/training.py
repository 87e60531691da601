"""A whole run: from a configuration to a released checkpoint."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import PartialState

from provence_rag.errors import InvalidInputError
from provence_rag.hub import TORCH_WEIGHTS, checkpoint_directory
from provence_training.config import StageConfig, TrainingConfig
from provence_training.data.sources import Data, load_data
from provence_training.pairs.packing import digest
from provence_training.run.checks import check_data, check_environment, check_start
from provence_training.run.release import release
from provence_training.run.stage_pairs import StagePairs
from provence_training.run.stages import run_stage
from provence_training.run.starting_point import keep_layers_of, make_starting_point

__all__ = ["run_training"]

_STORED = "config.json"
"""The configuration of the run that an output directory holds, and a hash of its data. It is written after
the starting point."""

_LONGEST_WAIT = timedelta(days=1)
"""How long processes wait for the first one, which alone scores pairs with teachers, calibrates and
evaluates: that can take hours. By default, torch gives up after ten minutes on GPUs and thirty on CPUs."""

log = logging.getLogger(__name__)


def run_training(config: TrainingConfig) -> Path:
    """Train and release a model. An interrupted run continues where it was.

    Under torchrun or `accelerate launch`, every process calls this.

    Args:
        config: The run.

    Returns:
        The directory of the checkpoint.

    Raises:
        ProvenceError: The configuration, the data or a model cannot be used, or the output directory holds a
            run with another configuration or other data.
    """
    output = Path(config.output).expanduser()
    state = PartialState(cpu=config.device == "cpu", timeout=_LONGEST_WAIT)
    check_environment(config)
    data = load_data(config)
    check_data(config, data)
    start = output / "start"
    stored = _stored(config, data)
    with state.main_process_first():
        if not _is_begun(output, stored):
            make_starting_point(config.model, data.train, start, seed=config.seed)
            check_start(config, start, StagePairs(config, data, start))
            text = json.dumps(stored, indent=2, ensure_ascii=False) + "\n"
            (output / _STORED).write_text(text, encoding="utf-8")
    stage_pairs = StagePairs(config, data, start)
    for stage in config.stages:
        directory = output / "stages" / stage.name
        if not (directory / "model").exists():
            if stage.layers is not None:
                with state.main_process_first():  # the other processes find them
                    start = keep_layers_of(start, stage.layers, directory / "start")
            pairs, dev = stage_pairs.pairs(stage), stage_pairs.dev_pairs(stage)
            log.info("stage %s: %d pairs, %d for development", stage.name, len(pairs), len(dev or ()))
            run_stage(stage, start, directory, pairs, dev, run=config, guide=_guide(stage, output))
        state.wait_for_everyone()
        start = directory / "model"
    if state.is_main_process:
        release(start, output / "model", data.dev, config.release)
    state.wait_for_everyone()
    return output / "model"


def _guide(stage: StageConfig, output: Path) -> Path | None:
    """The checkpoint that a stage is guided by."""
    if stage.guide is None:
        return None
    if stage.guide.stage is not None:
        return output / "stages" / stage.guide.stage / "model"
    return checkpoint_directory(stage.guide.model, weights=[TORCH_WEIGHTS])


def _stored(config: TrainingConfig, data: Data) -> dict[str, Any]:
    """What the run in an output directory depends on, as JSON values."""
    stored = {"config": asdict(config), "data": digest([*data.train, *data.dev])}
    return json.loads(json.dumps(stored))  # type: ignore[no-any-return]


def _is_begun(output: Path, stored: dict[str, Any]) -> bool:
    """Whether the run has its starting point."""
    path = output / _STORED
    if not path.exists():
        return False
    before = json.loads(path.read_text(encoding="utf-8"))
    for name, difference in (("config", "another configuration"), ("data", "other data")):
        if before.get(name) != stored[name]:
            raise InvalidInputError(
                f"{output} holds a run with {difference}: choose another output, or delete this one"
            )
    return True
