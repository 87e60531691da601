"""The configuration of a training run: what `provence train CONFIG.yaml` reads."""

from provence_training.config.run import (
    CalibrationConfig,
    DataConfig,
    DataSource,
    ModelConfig,
    ReleaseConfig,
    ScaleConfig,
    ShrinkConfig,
    TeacherConfig,
    TrainingConfig,
)
from provence_training.config.stages import GuideConfig, LossConfig, PairConfig, RangesConfig, StageConfig

__all__ = [
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
]
