"""A whole run: from a configuration to a released checkpoint."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState

from provence_rag.errors import InvalidInputError
from provence_rag.hub import TORCH_WEIGHTS, checkpoint_directory
from provence_training.config import StageConfig, TrainingConfig
from provence_training.data.sources import load_data
from provence_training.run.checks import check_data, check_environment, check_start
from provence_training.run.release import release
from provence_training.run.stage_pairs import StagePairs
from provence_training.run.stages import run_stage
from provence_training.run.starting_point import keep_layers_of, make_starting_point

__all__ = ["run_training"]

_STORED_CONFIG = "config.json"
"""The configuration of the run that an output directory holds. It is written after the starting point."""

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
            run with another configuration.
    """
    output = Path(config.output).expanduser()
    state = PartialState(cpu=config.device == "cpu")
    check_environment(config)
    data = load_data(config)
    check_data(config, data)
    start = output / "start"
    with state.main_process_first():
        if not _is_begun(output, config):
            make_starting_point(config.model, data.train, start, seed=config.seed)
            check_start(config, start, StagePairs(config, data, start))
            (output / _STORED_CONFIG).write_text(_text(config), encoding="utf-8")
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


def _is_begun(output: Path, config: TrainingConfig) -> bool:
    """Whether the run has its starting point, so that the configuration is stored."""
    path = output / _STORED_CONFIG
    if path.exists() and path.read_text(encoding="utf-8") != _text(config):
        raise InvalidInputError(
            f"{output} holds a run with another configuration: choose another output, or delete this one"
        )
    return path.exists()


def _text(config: TrainingConfig) -> str:
    return json.dumps(asdict(config), indent=2, ensure_ascii=False) + "\n"
