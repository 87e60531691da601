"""Fine-tune, evaluate and calibrate Provence models (extra `train`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provence_training.augmentation import AugmentedPage, augment
    from provence_training.config import (
        CalibrationConfig,
        DataConfig,
        DataSource,
        GuideConfig,
        LossConfig,
        ModelConfig,
        PairConfig,
        RangesConfig,
        ReleaseConfig,
        ScaleConfig,
        ShrinkConfig,
        StageConfig,
        TeacherConfig,
        TrainingConfig,
    )
    from provence_training.config.yaml_file import read_config
    from provence_training.data import (
        Passage,
        Question,
        TeacherColumn,
        load_passages,
        read_json_lines,
        sentence_labels,
        write_json_lines,
    )
    from provence_training.evaluation import (
        EmbeddingFilter,
        EvaluationReport,
        ProvenceEvaluator,
        Topic,
        TopicSet,
        load_topics,
    )
    from provence_training.evaluation.calibration import Calibration, calibrate
    from provence_training.learning.collator import Example, ProvenceCollator, example_pairs
    from provence_training.learning.loss import ProvenceLoss
    from provence_training.learning.trainer import ProvenceTrainer
    from provence_training.pairs.drawing import draw_pairs
    from provence_training.pairs.packing import pack_passages
    from provence_training.run.training import run_training
    from provence_training.shrinking.checkpoint import select_layers, shrink_checkpoint
    from provence_training.shrinking.vocabulary import select_pieces
    from provence_training.teachers.llm_labels import LabelReport, label_with_llm

# Resolved on first use (PEP 562): most of these need torch, and `provence --help` should not wait for it.
_MODULES = {
    "augmentation": ("AugmentedPage", "augment"),
    "config": (
        "CalibrationConfig",
        "DataConfig",
        "DataSource",
        "GuideConfig",
        "LossConfig",
        "ModelConfig",
        "PairConfig",
        "RangesConfig",
        "ReleaseConfig",
        "ScaleConfig",
        "ShrinkConfig",
        "StageConfig",
        "TeacherConfig",
        "TrainingConfig",
    ),
    "config.yaml_file": ("read_config",),
    "data": (
        "Passage",
        "Question",
        "TeacherColumn",
        "load_passages",
        "read_json_lines",
        "sentence_labels",
        "write_json_lines",
    ),
    "evaluation": (
        "EmbeddingFilter",
        "EvaluationReport",
        "ProvenceEvaluator",
        "Topic",
        "TopicSet",
        "load_topics",
    ),
    "evaluation.calibration": ("Calibration", "calibrate"),
    "learning.collator": ("Example", "ProvenceCollator", "example_pairs"),
    "learning.loss": ("ProvenceLoss",),
    "learning.trainer": ("ProvenceTrainer",),
    "pairs.drawing": ("draw_pairs",),
    "pairs.packing": ("pack_passages",),
    "run.training": ("run_training",),
    "shrinking.checkpoint": ("select_layers", "shrink_checkpoint"),
    "shrinking.vocabulary": ("select_pieces",),
    "teachers.llm_labels": ("LabelReport", "label_with_llm"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AugmentedPage",
    "Calibration",
    "CalibrationConfig",
    "DataConfig",
    "DataSource",
    "EmbeddingFilter",
    "EvaluationReport",
    "Example",
    "GuideConfig",
    "LabelReport",
    "LossConfig",
    "ModelConfig",
    "PairConfig",
    "Passage",
    "ProvenceCollator",
    "ProvenceEvaluator",
    "ProvenceLoss",
    "ProvenceTrainer",
    "Question",
    "RangesConfig",
    "ReleaseConfig",
    "ScaleConfig",
    "ShrinkConfig",
    "StageConfig",
    "TeacherColumn",
    "TeacherConfig",
    "Topic",
    "TopicSet",
    "TrainingConfig",
    "augment",
    "calibrate",
    "draw_pairs",
    "example_pairs",
    "label_with_llm",
    "load_passages",
    "load_topics",
    "pack_passages",
    "read_config",
    "read_json_lines",
    "run_training",
    "select_layers",
    "select_pieces",
    "sentence_labels",
    "shrink_checkpoint",
    "write_json_lines",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
