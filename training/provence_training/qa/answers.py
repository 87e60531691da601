"""Answering: each question is sent to the LLM with the context of each strategy."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from tqdm.auto import tqdm

from provence_rag.errors import InvalidInputError, ProvenceError
from provence_rag.validation import check_texts
from provence_training.qa.cache import CachedChat
from provence_training.qa.llm import Reply, estimated_tokens
from provence_training.qa.metrics import is_no_answer
from provence_training.qa.prompts import Messages, judge_messages, messages
from provence_training.qa.questions import QAQuestion
from provence_training.qa.strategies import Strategy

__all__ = ["Answered", "Answerer", "ArmKey", "Verdict"]

ArmKey = tuple[int, str]
"""k and the name of a strategy."""

Verdict = Literal["right", "wrong", "unclear"]
"""What a judge says of a reply; `unclear` is neither yes nor no."""

_VERDICT = re.compile(r"[\W_]*(?:\w+\s*:[\W_]*)?(?:(?P<right>yes|はい)|no|いいえ)(?![^\W_])", re.IGNORECASE)
"""Yes or no, with or without Markdown and a label ("Verdict: **yes**")."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The reply to a question with one context."""

    context: tuple[str, ...]

    context_seconds: float
    """What the strategy took to make the context."""

    reply: Reply

    input_tokens: int
    """Tokens of the prompt."""

    output_tokens: int
    """Tokens of the reply."""

    estimated_tokens: bool
    """Whether the bundled model's tokenizer counted them, since the provider did not."""

    verdict: Verdict | None
    """The judge's; None without a judge."""


class Answerer:
    """Asks an LLM questions with the contexts of all strategies.

    Args:
        chat: The LLM.
        judge: Another one, which judges the replies, or None.
        strategies: The strategies.
        k: Numbers of passages that the retriever gives.
        cached_only: Ask nothing, and leave out questions without all replies.
    """

    def __init__(
        self,
        chat: CachedChat,
        judge: CachedChat | None,
        strategies: Sequence[Strategy],
        *,
        k: Sequence[int],
        cached_only: bool,
    ) -> None:
        self._chat = chat
        self._judge = judge
        self._strategies = strategies
        self._k = k
        self._cached_only = cached_only

    def __call__(
        self, questions: Sequence[QAQuestion], *, concurrency: int, description: str, show_progress: bool
    ) -> list[tuple[QAQuestion, Mapping[ArmKey, Answered]]]:
        """All replies to each question.

        Questions are answered one after the other, each with all contexts, so that an interrupted run has
        replies that can be compared. After an error, nothing more is asked, and replies on their way are
        still stored.
        """
        stop = threading.Event()

        def answer(question: QAQuestion) -> Mapping[ArmKey, Answered] | None:
            try:
                return self._answer(question, stop)
            except BaseException:
                stop.set()  # here, since this thread is at its next question before the others hear of it
                raise

        with ThreadPoolExecutor(concurrency) as pool:
            try:
                answered = tqdm(
                    zip(questions, pool.map(answer, questions), strict=True),
                    desc=description,
                    total=len(questions),
                    disable=not show_progress,
                    unit="question",
                )
                return [(question, arms) for question, arms in answered if arms is not None]
            finally:
                stop.set()

    def _answer(self, question: QAQuestion, stop: threading.Event) -> Mapping[ArmKey, Answered] | None:
        """The replies with all contexts; None if one is missing and must not be asked for."""
        arms: dict[ArmKey, Answered] = {}
        for k in self._k:
            for strategy in self._strategies:
                if stop.is_set():
                    return None
                answered = self._answer_with(strategy, question, k)
                if answered is None:
                    return None
                arms[k, strategy.name] = answered
        return arms

    def _answer_with(self, strategy: Strategy, question: QAQuestion, k: int) -> Answered | None:
        passages = question.top(k)
        start = time.perf_counter()
        context = _context(strategy, question, passages)
        seconds = time.perf_counter() - start
        prompt = messages(question.text, context, question.language)
        reply = self._ask(self._chat, prompt)
        if reply is None:
            return None
        verdict = None
        if self._judge is not None:
            verdict = self._verdict(self._judge, question, reply)
            if verdict is None:
                return None
        counted = reply.input_tokens and (reply.output_tokens or not reply.text)
        return Answered(
            context=tuple(context),
            context_seconds=seconds,
            reply=reply,
            input_tokens=_counted(reply.input_tokens, [text for _, text in prompt]),
            output_tokens=_counted(reply.output_tokens, [reply.text]),
            estimated_tokens=not counted,
            verdict=verdict,
        )

    def _ask(self, chat: CachedChat, prompt: Messages) -> Reply | None:
        return chat.stored(prompt) if self._cached_only else chat.ask(prompt)

    def _verdict(self, judge: CachedChat, question: QAQuestion, reply: Reply) -> Verdict | None:
        """The judge's verdict; None if it is missing. A reply without an answer needs no judge."""
        if is_no_answer(reply.text, question.language):
            return "wrong"
        prompt = judge_messages(question.text, question.answers, reply.text, question.language)
        verdict = self._ask(judge, prompt)
        if verdict is None:
            return None
        found = _VERDICT.match(verdict.text)
        if found is None:
            return "unclear"
        return "right" if found["right"] else "wrong"


def _context(strategy: Strategy, question: QAQuestion, passages: Sequence[str]) -> list[str]:
    """What a strategy gives the LLM to read. Errors name the strategy and the question."""
    place = f"strategy {strategy.name!r}, question {question.id!r}"
    try:
        context = strategy.context(question, passages)
    except Exception as error:  # a user's strategy may raise anything
        kind = InvalidInputError if isinstance(error, InvalidInputError) else ProvenceError
        raise kind(f"{place}: {type(error).__name__}: {error}") from error
    return check_texts(f"{place}: context", context)


def _counted(tokens: int | None, texts: Sequence[str]) -> int:
    """The provider's count; some servers report 0 where they count nothing."""
    return tokens or estimated_tokens(texts)
