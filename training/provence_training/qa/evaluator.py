"""QAEvaluator: the same questions to the same LLM, with the contexts of several strategies."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tqdm.auto import tqdm

from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_count
from provence_training.qa.cache import CachedChat
from provence_training.qa.llm import Reply
from provence_training.qa.prompts import messages
from provence_training.qa.questions import QAQuestion
from provence_training.qa.strategies import Strategy

__all__ = ["Answered", "QAEvaluator"]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A question that was answered with one context."""

    context: tuple[str, ...]

    context_seconds: float
    """What the strategy took to make the context."""

    reply: Reply


class QAEvaluator:
    """Asks an LLM each question with the context of each strategy.

    Args:
        chat: The LLM.
        strategies: The strategies, with different names.
        k: Numbers of passages that the retriever gives.
        concurrency: Questions asked at the same time. More than 1 also lengthens the times measured.
    """

    def __init__(
        self,
        chat: CachedChat,
        strategies: Sequence[Strategy],
        *,
        k: Sequence[int] = (5, 10),
        concurrency: int = 1,
    ) -> None:
        for value in k:
            check_count("k", value, 1)
        check_count("concurrency", concurrency, 1)
        names = [strategy.name for strategy in strategies]
        if not names or len(set(names)) < len(names):
            raise InvalidInputError(f"strategies must be at least one, with different names, got {names}")
        self._chat = chat
        self._strategies = strategies
        self._k = sorted(set(k))
        self._concurrency = concurrency

    def answer(
        self, questions: Sequence[QAQuestion], *, stored_only: bool = False, show_progress: bool = False
    ) -> list[Mapping[tuple[int, str], Answered] | None]:
        """All replies to each question, by k and strategy; None if a stored one is missing."""
        replies: list[Mapping[tuple[int, str], Answered] | None] = []
        with (
            ThreadPoolExecutor(self._concurrency) as pool,
            tqdm(total=len(questions), disable=not show_progress, unit="question") as bar,
        ):
            try:
                for one in pool.map(lambda question: self._answer(question, stored_only), questions):
                    replies.append(one)
                    bar.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return replies

    def _answer(self, question: QAQuestion, stored_only: bool) -> Mapping[tuple[int, str], Answered] | None:
        """All contexts of a question, one after the other, so that an interrupted run has whole questions."""
        answered = {}
        for k in self._k:
            passages = question.top(k)
            for strategy in self._strategies:
                start = time.perf_counter()
                context = strategy.context(question, list(passages))
                seconds = time.perf_counter() - start
                prompt = messages(question.text, context, question.language)
                reply = self._chat.stored(prompt) if stored_only else self._chat.ask(prompt)
                if reply is None:
                    return None
                answered[k, strategy.name] = Answered(
                    context=tuple(context), context_seconds=seconds, reply=reply
                )
        return answered
