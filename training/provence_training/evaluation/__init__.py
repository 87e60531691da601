"""Evaluation and calibration: how a model ranks, and how many answers survive how much pruning."""

from provence_training.evaluation.evaluator import ProvenceEvaluator
from provence_training.evaluation.pruning import JudgedSentences, PruningFigures
from provence_training.evaluation.ranking import RankingFigures
from provence_training.evaluation.report import EvaluationReport, SetReport, SystemReport
from provence_training.evaluation.systems import EmbeddingFilter, Scored, score_with
from provence_training.evaluation.topics import Topic, TopicSet, load_topics

__all__ = [
    "EmbeddingFilter",
    "EvaluationReport",
    "JudgedSentences",
    "ProvenceEvaluator",
    "PruningFigures",
    "RankingFigures",
    "Scored",
    "SetReport",
    "SystemReport",
    "Topic",
    "TopicSet",
    "load_topics",
    "score_with",
]
