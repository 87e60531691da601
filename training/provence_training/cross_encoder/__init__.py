"""Training and evaluation with sentence-transformers' CrossEncoderTrainer."""

from provence_training.cross_encoder.collator import ProvenceCrossEncoderDataCollator
from provence_training.cross_encoder.evaluator import ProvenceEvaluator
from provence_training.cross_encoder.loss import ProvenceLoss

__all__ = ["ProvenceCrossEncoderDataCollator", "ProvenceEvaluator", "ProvenceLoss"]
