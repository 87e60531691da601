"""QAEvaluator: what strategies for contexts do to an LLM's answers, tokens and time."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_count, check_flag, check_number, check_rows, shortened, shown
from provence_training.qa.answers import Answered, Answerer, ArmKey
from provence_training.qa.cache import CachedChat, ReplyStore
from provence_training.qa.figures import Arm
from provence_training.qa.llm import JUDGE_DEFAULTS, ChatModel
from provence_training.qa.notices import few_passages, poor_replies
from provence_training.qa.questions import QAQuestion
from provence_training.qa.report import QAReport, QASet
from provence_training.qa.strategies import Strategy

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables.base import RunnableBindingBase

__all__ = ["QAEvaluator"]


class QAEvaluator:
    """Asks an LLM the same questions with the contexts of several strategies, and compares the answers.

    Args:
        llm: The LLM that answers: a `ChatModel`, a chat model of LangChain, or a specification such as
            "openai:gpt-4.1-mini".
        strategies: What the LLM reads; see `Strategy` for your own.
        k: Numbers of passages that the retriever gives.
        reference: Name of the strategy that the others are compared with; None is `all`, or the first one.
        judge: An LLM that judges whether a reply is right, given like `llm`; None for no judge. By its
            specification, it may write 1,000 tokens.
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
        llm: ChatModel | BaseChatModel | RunnableBindingBase[Any, Any] | str,
        strategies: Sequence[Strategy],
        *,
        k: Sequence[int] = (5,),
        reference: str | None = None,
        judge: ChatModel | BaseChatModel | RunnableBindingBase[Any, Any] | str | None = None,
        prices: tuple[float, float] | None = None,
        cache: str | Path | None = None,
        cached_only: bool = False,
        concurrency: int = 1,
        examples: int = 10,
    ) -> None:
        k = check_rows("k", k, of="integers")
        for number, value in enumerate(k):
            check_count(f"k[{number}]", value, 1)
        if not k:
            raise InvalidInputError("k must have at least one number of passages, got []")
        check_flag("cached_only", cached_only)
        check_count("concurrency", concurrency, 1)
        check_count("examples", examples, 0)
        if prices is not None:
            _check_prices(prices)
        strategies = check_rows("strategies", strategies, of="strategies")
        for number, strategy in enumerate(strategies):
            _check_strategy(f"strategies[{number}]", strategy)
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
        judge_model = None if judge is None else _chat_model(judge, JUDGE_DEFAULTS)
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
            "judge_parameters": None if judge_model is None else dict(judge_model.parameters),
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
            InvalidInputError: A set has no question, or none whose replies are all stored, or a strategy
                returns something other than strings.
            ProvenceError: An LLM gives no reply, or a strategy raises an error.
        """
        checked = _checked_sets(sets)
        few = {name: few_passages(questions, self._k) for name, questions in checked.items()}
        for name, notices in few.items():  # before the first question, which costs time or money
            _warn(name, notices)
        found = []
        for name, questions in checked.items():
            one = self._set(name, questions, show_progress)
            _warn(name, one.warnings)
            found.append(replace(one, warnings=few[name] + one.warnings))
        return QAReport(
            llm=self._llm.name,
            parameters=dict(self._llm.parameters),
            settings=dict(self.settings),
            sets=found,
        )

    def _set(self, name: str, questions: Sequence[QAQuestion], show_progress: bool) -> QASet:
        rows = self._answerer(
            questions, concurrency=self._concurrency, description=name, show_progress=show_progress
        )
        if not rows:
            raise InvalidInputError(
                f"sets[{name!r}] has no question whose replies are all stored: ask for some first"
            )
        arms: list[Arm] = []
        comparisons = []
        for k in self._k:
            own = {strategy: _arm(strategy, k, rows) for strategy in self._names}
            arms += own.values()
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
            warnings=poor_replies(arms),
            arms=[arm.figures(self._prices) for arm in arms],
            comparisons=comparisons,
        )


def _arm(strategy: str, k: int, rows: Sequence[tuple[QAQuestion, Mapping[ArmKey, Answered]]]) -> Arm:
    questions = [question for question, _ in rows]
    return Arm(strategy, k, questions, [answered[k, strategy] for _, answered in rows])


def _check_prices(prices: Any) -> None:
    if not isinstance(prices, (tuple, list)) or len(prices) != 2:
        raise InvalidInputError(
            f"prices must be two numbers, for a million tokens read and written, got {shortened(prices)}"
        )
    for number, price in enumerate(prices):
        check_number(f"prices[{number}]", price)
        if price < 0:
            raise InvalidInputError(f"prices[{number}] must be a number >= 0, got {price!r}")


def _check_strategy(name: str, strategy: Any) -> None:
    if isinstance(strategy, type):
        raise InvalidInputError(f"{name} is the class {strategy.__name__}: give an instance of it")
    if not isinstance(strategy, Strategy) or not callable(strategy.context):
        hint = ": `parse_strategy` makes one of a specification" if isinstance(strategy, str) else ""
        raise InvalidInputError(
            f"{name} must be an object with a `name` and a method `context`, got {shown(strategy)}{hint}"
        )
    if not isinstance(strategy.name, str) or not strategy.name.strip():
        raise InvalidInputError(
            f"{name}.name must be a string with more than white space, got {strategy.name!r}"
        )


def _checked_sets(sets: Any) -> dict[str, list[QAQuestion]]:
    if not isinstance(sets, Mapping):
        raise InvalidInputError(
            f"sets must be a mapping of names to questions, such as {{'mine': questions}}, got {shown(sets)}"
        )
    if not sets:
        raise InvalidInputError("sets has no set of questions")
    checked: dict[str, list[QAQuestion]] = {}
    for name, questions in sets.items():
        if not isinstance(name, str):
            raise InvalidInputError(f"the names of sets must be strings, got {shown(name)}")
        rows = checked[name] = check_rows(f"sets[{name!r}]", questions, of="questions")
        if not rows:
            raise InvalidInputError(f"sets[{name!r}] has no question")
        for number, question in enumerate(rows):
            if not isinstance(question, QAQuestion):
                raise InvalidInputError(
                    f"sets[{name!r}][{number}] must be a QAQuestion, as from `load_questions`, got "
                    f"{shown(question)}"
                )
    return checked


def _chat_model(
    model: ChatModel | BaseChatModel | RunnableBindingBase[Any, Any] | str,
    parameters: Mapping[str, Any] | None = None,
) -> ChatModel:
    """The LLM. `parameters` are those of one that is given by its specification."""
    if isinstance(model, ChatModel):
        return model
    return ChatModel(model, parameters=parameters) if isinstance(model, str) else ChatModel(model)


def _warn(name: str, notices: Sequence[str]) -> None:
    for notice in notices:
        warnings.warn(f"{name}: {notice}", stacklevel=3)
