"""QAEvaluator: what strategies for contexts do to an LLM's answers, tokens and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_count, check_number
from provence_training.qa.answers import Answered, Answerer, ArmKey
from provence_training.qa.cache import CachedChat, ReplyStore
from provence_training.qa.figures import Arm
from provence_training.qa.llm import ChatModel
from provence_training.qa.questions import QAQuestion
from provence_training.qa.report import QAReport, QASet
from provence_training.qa.strategies import Strategy

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["QAEvaluator"]


class QAEvaluator:
    """Asks an LLM the same questions with the contexts of several strategies, and compares the answers.

    Args:
        llm: The LLM that answers: a `ChatModel`, a chat model of LangChain, or a specification such as
            "openai:gpt-5-mini".
        strategies: What the LLM reads; see `Strategy` for your own.
        k: Numbers of passages that the retriever gives.
        reference: Name of the strategy that the others are compared with; None is `all`, or the first one.
        judge: An LLM that judges whether a reply is right, as `llm`; None has no judge.
        prices: Prices of a million tokens read and written by `llm`, in any currency.
        cache: A file that replies are stored in, so that none is paid for twice; None stores nothing.
        cached_only: Ask nothing: report on the questions whose replies are all stored.
        concurrency: Questions asked at the same time. More than 1 also lengthens the times that are measured.
        examples: Lost answers of each strategy that the report shows, at most.

    Raises:
        InvalidInputError: An argument has a value that cannot be used.
        MissingExtraError: An LLM is given by its specification, and its package is not installed.
    """

    def __init__(
        self,
        llm: ChatModel | BaseChatModel | str,
        strategies: Sequence[Strategy],
        *,
        k: Sequence[int] = (5,),
        reference: str | None = None,
        judge: ChatModel | BaseChatModel | str | None = None,
        prices: tuple[float, float] | None = None,
        cache: str | Path | None = None,
        cached_only: bool = False,
        concurrency: int = 1,
        examples: int = 10,
    ) -> None:
        for number, value in enumerate(k):
            check_count(f"k[{number}]", value, 1)
        check_count("concurrency", concurrency, 1)
        check_count("examples", examples, 0)
        for price in prices or ():
            check_number("prices", price)
        names = [strategy.name for strategy in strategies]
        if not names or len(set(names)) < len(names):
            raise InvalidInputError(f"strategies must be at least one, with different names, got {names}")
        if reference is None:
            reference = "all" if "all" in names else names[0]
        if reference not in names:
            raise InvalidInputError(
                f"reference must be one of the strategies {', '.join(names)}, got {reference!r}"
            )
        self._llm = _chat_model(llm)
        path = None if cache is None else Path(cache)
        store = ReplyStore(path)
        self._names = names
        self._k = sorted(set(k))
        self._reference = reference
        self._prices = prices
        self._concurrency = concurrency
        self._examples = examples
        judge_model = None if judge is None else _chat_model(judge)
        self._answerer = Answerer(
            CachedChat(self._llm, store),
            None if judge_model is None else CachedChat(judge_model, store),
            strategies,
            k=self._k,
            cached_only=cached_only,
        )
        self.settings: dict[str, Any] = {
            "k": self._k,
            "reference": reference,
            "judge": None if judge_model is None else judge_model.name,
            "prices": None if prices is None else list(prices),
            "cached_only": cached_only,
            "concurrency": concurrency,
        }

    def __call__(self, sets: Mapping[str, Sequence[QAQuestion]], *, show_progress: bool = False) -> QAReport:
        """Answer and compare.

        Args:
            sets: Questions by the name of their set, as from `load_questions`.
            show_progress: Show a progress bar on standard error.

        Raises:
            InvalidInputError: A set has no question, or none whose replies are all stored.
        """
        for name, questions in sets.items():
            if not questions:
                raise InvalidInputError(f"sets[{name!r}] has no question")
        return QAReport(
            llm=self._llm.name,
            parameters=dict(self._llm.parameters),
            settings=dict(self.settings),
            sets=[self._set(name, questions, show_progress) for name, questions in sets.items()],
        )

    def _set(self, name: str, questions: Sequence[QAQuestion], show_progress: bool) -> QASet:
        rows = self._answerer(
            questions, concurrency=self._concurrency, description=name, show_progress=show_progress
        )
        if not rows:
            raise InvalidInputError(
                f"sets[{name!r}] has no question whose replies are all stored: ask for some first"
            )
        arms, comparisons = [], []
        for k in self._k:
            own = {strategy: _arm(strategy, k, rows) for strategy in self._names}
            arms += [arm.figures(self._prices) for arm in own.values()]
            comparisons += [
                arm.compared_with(own[self._reference], examples=self._examples)
                for strategy, arm in own.items()
                if strategy != self._reference
            ]
        return QASet(
            name=name,
            languages=sorted({question.language for question, _ in rows}),
            num_questions=len(rows),
            num_left_out=len(questions) - len(rows),
            arms=arms,
            comparisons=comparisons,
        )


def _arm(strategy: str, k: int, rows: Sequence[tuple[QAQuestion, Mapping[ArmKey, Answered]]]) -> Arm:
    questions = [question for question, _ in rows]
    return Arm(strategy, k, questions, [answered[k, strategy] for _, answered in rows])


def _chat_model(model: ChatModel | BaseChatModel | str) -> ChatModel:
    return model if isinstance(model, ChatModel) else ChatModel(model)
