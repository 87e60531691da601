"""What can be checked before a run trains, so that it does not fail after hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import AutoConfig, integrations

from provence_rag.config import ProvenceConfig
from provence_rag.errors import InvalidInputError
from provence_rag.hub import TORCH_WEIGHTS, checkpoint_directory
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.convert import check_exporter
from provence_rag.modeling.model import ProvenceModel
from provence_training.compute import choose_dtype, current_device
from provence_training.config import CalibrationConfig, TrainingConfig
from provence_training.data.passages import Passage
from provence_training.data.sources import Data
from provence_training.evaluation.calibration import check_enough_questions
from provence_training.learning.guide import check_guide, load_guide
from provence_training.run.stage_pairs import StagePairs
from provence_training.shrinking.checkpoint import select_layers

__all__ = ["check_data", "check_environment", "check_start"]


def check_environment(config: TrainingConfig) -> None:
    """Check that the machine has what a run needs.

    Raises:
        MissingExtraError: An export needs an extra that is not installed.
        InvalidInputError: A tracker is not installed, or the device cannot compute in a given precision.
    """
    PartialState(cpu=config.device == "cpu")
    for to in config.release.exports:
        check_exporter(to)
    installed: list[str] = integrations.get_available_reporting_integrations()  # type: ignore[attr-defined,no-untyped-call]
    for name in config.report_to:
        if name not in installed:
            raise InvalidInputError(
                f"report_to has {name!r}, which is not installed or not supported by transformers; "
                f"installed are: {', '.join(installed) or 'no trackers'}"
            )
    for precision in [part.precision for part in config.stages] + [
        part.precision for part in config.teachers
    ]:
        choose_dtype(precision, current_device())


def check_data(config: TrainingConfig, data: Data) -> None:
    """Check that the development data suffice for what they are used for.

    Raises:
        InvalidInputError: There are no answers to calibrate on, or too few.
    """
    if config.release.calibration is not None:
        _check_calibration(config.release.calibration, data.dev)


def _check_calibration(config: CalibrationConfig, dev: Sequence[Passage]) -> None:
    counts = Counter(p.language for p in dev for q in p.questions if q.answers)
    if not counts:
        raise InvalidInputError("release.calibration needs development data with marked answers")
    if not config.allow_few_questions:
        option = "set release.calibration.allow_few_questions"
        check_enough_questions(counts, config.keep, option=option)


def check_start(config: TrainingConfig, start: Path, pairs: StagePairs) -> None:
    """Check every stage against the checkpoint that the first one starts from.

    Args:
        config: The run.
        start: The checkpoint.
        pairs: The pairs of the stages that are still to be trained.

    Raises:
        InvalidInputError: The model has no pruning head to calibrate, a stage names layers that the stage
            before does not leave, has no pairs, or has a guide that does not fit the model.
        ProvenceError: A guide or a teacher cannot be loaded.
    """
    if config.release.calibration and not ProvenceConfig.from_directory(start).can_prune:
        raise InvalidInputError("release.calibration needs a model that prunes")
    num_layers: int = AutoConfig.from_pretrained(start).num_hidden_layers
    for number, stage in enumerate(config.stages):
        if stage.layers is not None:
            try:
                num_layers = len(select_layers(stage.layers, num_layers))
            except InvalidInputError as error:
                raise InvalidInputError(f"stages.{number}: {error}") from error
        if stage.guide is not None and stage.guide.model is not None:
            model = ProvenceModel.from_pretrained(start)
            tokenizer = PairTokenizer.from_directory(start, model.provence_config.pair_template)
            guide = load_guide(
                checkpoint_directory(stage.guide.model, weights=[TORCH_WEIGHTS]), tokenizer, torch.float32
            )
            check_guide(model, guide, stage.guide)
    for stage in config.stages:
        pairs.check(stage)
    if any(one.teacher for stage in config.stages for one in stage.pairs):
        pairs.teachers()
