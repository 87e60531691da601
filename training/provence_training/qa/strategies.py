"""Strategies: what an LLM gets to read of the passages that a retriever found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from provence_rag import Provence, PruningOptions
from provence_rag.errors import InvalidInputError
from provence_rag.ranking import Ranking
from provence_rag.validation import check_count
from provence_training.qa.questions import QAQuestion

__all__ = ["AllPassages", "NoContext", "Oracle", "Prune", "Rerank", "Strategy"]


@runtime_checkable
class Strategy(Protocol):
    """Makes the context of a question. Any object with these two members is one."""

    name: str
    """Tells it apart in reports."""

    def context(self, question: QAQuestion, passages: Sequence[str]) -> list[str]:
        """What the LLM reads.

        Args:
            question: The question.
            passages: k passages, in the retriever's order.

        Returns:
            Texts, in the order of the prompt. Without any, the LLM is asked the question alone.
        """
        ...


class NoContext:
    """The question alone."""

    name = "none"

    def context(self, question: QAQuestion, passages: Sequence[str]) -> list[str]:
        """Nothing."""
        return []


class AllPassages:
    """All k passages as retrieved."""

    name = "all"

    def context(self, question: QAQuestion, passages: Sequence[str]) -> list[str]:
        """The passages."""
        return list(passages)


class Oracle:
    """The sentences that are known to answer: the most that a pruner can reach."""

    name = "oracle"

    def context(self, question: QAQuestion, passages: Sequence[str]) -> list[str]:
        """The sentences that answer, as one text.

        Raises:
            InvalidInputError: They are not known.
        """
        if question.evidence is None:
            raise InvalidInputError(
                f"question {question.id!r} has no evidence: strategy oracle needs questions whose answers "
                "are marked in a passage"
            )
        return [question.evidence] if question.evidence else []


class Rerank:
    """The passages that a model ranks highest, whole, best first."""

    def __init__(self, model: Provence, top_n: int) -> None:
        check_count("top_n", top_n, 1)
        self.name = f"rerank:{top_n}"
        self._model = model
        self._top_n = top_n

    def context(self, question: QAQuestion, passages: Sequence[str]) -> list[str]:
        """The best `top_n` passages."""
        ranked = self._model.process(
            question.text, passages, options=PruningOptions(mode="off"), top_k=self._top_n
        )
        return [passage.document for passage in ranked]


class Prune:
    """The passages reranked and pruned; those with nothing left are dropped.

    Args:
        model: The model.
        top_k: Passages, at most; None takes all.
        score_threshold: Smallest relevance score of a passage; None takes all.
        options: Fields of `PruningOptions`; none is the checkpoint's own rule.
    """

    def __init__(
        self,
        model: Provence,
        *,
        top_k: int | None = None,
        score_threshold: float | None = None,
        **options: Any,
    ) -> None:
        given = {"top_k": top_k, "score_threshold": score_threshold, **options}
        chosen = ",".join(f"{name}={_shown(value)}" for name, value in given.items() if value is not None)
        self.name = f"prune:{chosen}" if chosen else "prune"
        self._model = model
        self._ranking: dict[str, Any] = {"top_k": top_k, "score_threshold": score_threshold}
        self._reorder = model.config.can_rank
        Ranking(**self._ranking, reorder=self._reorder).check(model.config)
        self._options = PruningOptions(**options)
        self._options.check(model.config)

    def context(self, question: QAQuestion, passages: Sequence[str]) -> list[str]:
        """What is left of each passage, best passage first."""
        pruned = self._model.process(
            question.text, passages, options=self._options, reorder=self._reorder, **self._ranking
        )
        return [passage.text for passage in pruned if not passage.is_empty]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
