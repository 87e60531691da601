"""The figures of an arm, which is a strategy with k passages, and its differences from a reference arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from provence_training.arrays import FloatArray
from provence_training.qa.answers import Answered, Verdict
from provence_training.qa.comparison import Difference, paired_difference
from provence_training.qa.metrics import exact_match, is_no_answer, match, occurs, token_f1
from provence_training.qa.questions import QAQuestion

__all__ = ["Arm", "ArmFigures", "Comparison", "LostAnswer"]

_SHARES: Mapping[Verdict | None, float] = {"right": 1.0, "wrong": 0.0}
"""How verdicts count."""


@dataclass(frozen=True, kw_only=True)
class ArmFigures:
    """How an LLM answered with the contexts of one strategy. Shares are in [0, 1]."""

    strategy: str

    k: int
    """Passages that the strategy was given."""

    match: float
    """Share of the replies in which an answer occurs."""

    exact_match: float
    """Share of the replies that are an answer."""

    f1: float
    """Mean token F1."""

    judged: float | None
    """Share of the replies with a clear verdict that the judge calls right; None without any."""

    unclear_verdicts: int | None
    """Replies of which the judge says neither yes nor no; None without a judge."""

    no_answer: float
    """Share of the replies that say that there is no answer."""

    in_context: float
    """Share of the contexts in which an answer occurs."""

    input_tokens: int
    """Tokens of all prompts."""

    cached_tokens: int | None
    """Those of the prompts that the provider still had from an earlier prompt, which lowers times and prices;
    None if it does not say."""

    output_tokens: int
    """Tokens of all replies."""

    estimated_tokens: bool
    """Whether the bundled model's tokenizer counted some of them, since the provider did not."""

    context_seconds: float
    """What the strategy took for all contexts."""

    first_token_seconds: float
    """From sending a prompt to its first token, the sum over all questions."""

    reply_seconds: float
    """From sending a prompt to the end of its reply, the sum over all questions."""

    cost_of_1000: float | None
    """Of 1,000 questions, for prompts and replies at the given prices, without the judge; None without
    prices."""


@dataclass(frozen=True, kw_only=True)
class LostAnswer:
    """A question that the reference arm answered and another arm did not."""

    id: str
    question: str
    answers: list[str]

    reference_reply: str
    reply: str

    context: list[str]
    """What the LLM read for `reply`."""

    lost_by: Literal["pruner", "reader"]
    """`pruner`: no answer occurs in the context. `reader`: one does, but the LLM did not give it."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against the reference arm with the same k, question by question."""

    strategy: str
    reference: str
    k: int

    match: Difference
    exact_match: Difference
    f1: Difference

    judged: Difference | None
    """Over the questions with clear verdicts on both replies; None without any."""

    gained: int
    """Questions whose reply matches here and not in the reference arm."""

    lost: int
    """Questions whose reply matches in the reference arm and not here."""

    lost_by_pruner: int
    """Those of `lost` whose context no longer has an answer; the others are the LLM's."""

    input_tokens: float
    """Tokens of the prompts, as a share of the reference arm's."""

    seconds: float
    """Seconds for contexts and replies, as a share of the reference arm's."""

    examples: list[LostAnswer]
    """Some of the lost answers."""


class Arm:
    """The replies of one strategy with k passages to N questions.

    Args:
        strategy: Its name.
        k: Passages that it was given.
        questions: The questions, at least one.
        answered: Their replies.
    """

    def __init__(
        self, strategy: str, k: int, questions: Sequence[QAQuestion], answered: Sequence[Answered]
    ) -> None:
        self.strategy = strategy
        self.k = k
        self.size = len(questions)
        self.cut_off = sum(bool(a.reply.cut_off) for a in answered)
        self.empty = sum(not a.reply.text.strip() for a in answered)
        self._questions = questions
        self._answered = answered
        rows = [(a.reply.text, q.answers, q.language) for q, a in zip(questions, answered, strict=True)]
        self._match = np.array([match(*row) for row in rows])
        self._exact_match = np.array([exact_match(*row) for row in rows])
        self._f1 = np.array([token_f1(*row) for row in rows])
        self._no_answer = np.array([is_no_answer(reply, language) for reply, _, language in rows])
        self._in_context = np.array(
            [
                occurs(q.answers, "\n".join(a.context), q.language)
                for q, a in zip(questions, answered, strict=True)
            ]
        )
        verdicts = [a.verdict for a in answered]
        self._judged: FloatArray = np.array([_SHARES.get(verdict, np.nan) for verdict in verdicts])
        self._unclear = None if None in verdicts else verdicts.count("unclear")
        self._input_tokens = sum(a.input_tokens for a in answered)
        self._context_seconds = sum(a.context_seconds for a in answered)
        self._reply_seconds = sum(a.reply.seconds for a in answered)

    def figures(self, prices: tuple[float, float] | None) -> ArmFigures:
        """The figures of this arm; `prices` are those of a million tokens read and written."""
        output_tokens = sum(a.output_tokens for a in self._answered)
        cached = [a.reply.cached_tokens for a in self._answered if a.reply.cached_tokens is not None]
        judged = self._judged[~np.isnan(self._judged)]
        cost = None
        if prices is not None:
            cost = (self._input_tokens * prices[0] + output_tokens * prices[1]) / (1000 * self.size)
        return ArmFigures(
            strategy=self.strategy,
            k=self.k,
            match=float(self._match.mean()),
            exact_match=float(self._exact_match.mean()),
            f1=float(self._f1.mean()),
            judged=float(judged.mean()) if len(judged) else None,
            unclear_verdicts=self._unclear,
            no_answer=float(self._no_answer.mean()),
            in_context=float(self._in_context.mean()),
            input_tokens=self._input_tokens,
            cached_tokens=sum(cached) if cached else None,
            output_tokens=output_tokens,
            estimated_tokens=any(a.estimated_tokens for a in self._answered),
            context_seconds=self._context_seconds,
            first_token_seconds=sum(a.reply.first_token_seconds for a in self._answered),
            reply_seconds=self._reply_seconds,
            cost_of_1000=cost,
        )

    def compared_with(self, reference: Arm, *, examples: int) -> Comparison:
        """The differences from another arm with the same questions, and at most `examples` lost answers."""
        judged = ~np.isnan(self._judged + reference._judged)
        lost = np.flatnonzero(self._match < reference._match).tolist()
        return Comparison(
            strategy=self.strategy,
            reference=reference.strategy,
            k=self.k,
            match=paired_difference(self._match, reference._match),
            exact_match=paired_difference(self._exact_match, reference._exact_match),
            f1=paired_difference(self._f1, reference._f1),
            judged=paired_difference(self._judged[judged], reference._judged[judged])
            if judged.any()
            else None,
            gained=int((self._match > reference._match).sum()),
            lost=len(lost),
            lost_by_pruner=sum(not self._in_context[i] for i in lost),
            input_tokens=self._input_tokens / reference._input_tokens,
            seconds=self._seconds / reference._seconds,
            examples=[self._lost(i, reference) for i in lost[:examples]],
        )

    @property
    def _seconds(self) -> float:
        return self._context_seconds + self._reply_seconds

    def _lost(self, number: int, reference: Arm) -> LostAnswer:
        question, answered = self._questions[number], self._answered[number]
        return LostAnswer(
            id=question.id,
            question=question.text,
            answers=list(question.answers),
            reference_reply=reference._answered[number].reply.text,
            reply=answered.reply.text,
            context=list(answered.context),
            lost_by="reader" if self._in_context[number] else "pruner",
        )
