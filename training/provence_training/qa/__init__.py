"""QA evaluation: the answers of an LLM with whole, reranked and pruned passages."""

from provence_training.qa.comparison import Difference
from provence_training.qa.evaluator import QAEvaluator
from provence_training.qa.figures import ArmFigures, Comparison, LostAnswer
from provence_training.qa.llm import ChatModel
from provence_training.qa.loading import load_questions, retrieved_questions
from provence_training.qa.questions import QAQuestion
from provence_training.qa.report import QAReport, QASet
from provence_training.qa.rivals import FilterByEmbeddings, LLMLingua2
from provence_training.qa.specifications import parse_strategy
from provence_training.qa.strategies import AllPassages, NoContext, Oracle, Prune, Rerank, Strategy

__all__ = [
    "AllPassages",
    "ArmFigures",
    "ChatModel",
    "Comparison",
    "Difference",
    "FilterByEmbeddings",
    "LLMLingua2",
    "LostAnswer",
    "NoContext",
    "Oracle",
    "Prune",
    "QAEvaluator",
    "QAQuestion",
    "QAReport",
    "QASet",
    "Rerank",
    "Strategy",
    "load_questions",
    "parse_strategy",
    "retrieved_questions",
]
