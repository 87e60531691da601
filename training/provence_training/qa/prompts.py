"""The prompts of QA evaluation, all in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Messages", "Wording", "judge_messages", "messages", "no_answers", "wording_of"]

Messages = list[tuple[str, str]]
"""Roles and texts, as LangChain's chat models take them."""


@dataclass(frozen=True, kw_only=True)
class Wording:
    """The prompt in one language."""

    with_passages: str
    """What the LLM is told to do with passages."""

    alone: str
    """What it is told without passages."""

    passage: str
    """How a passage is written: `{number}` from 1, and `{text}`."""

    question: str
    """How the question is written: `{question}`."""

    no_answer: str
    """The reply that says that there is no answer."""

    judge: str
    """What a judge is told to do."""

    judged: str
    """How it is given the `{question}`, its right `{answers}` and the `{reply}`."""


ENGLISH = Wording(
    with_passages=(
        "Answer the question from the passages. Copy the words of a passage that answer it, as few as "
        "possible, and write nothing else. If the answer is in none of the passages, write: No answer"
    ),
    alone=(
        "Answer the question. Write only the answer, in as few words as possible. If you do not know it, "
        "write: No answer"
    ),
    passage="[{number}] {text}",
    question="Question: {question}\nAnswer:",
    no_answer="No answer",
    judge=(
        "Does the reply give one of the right answers to the question? It may use other words or say more, "
        "but must not contradict them. Your whole reply is: yes or no"
    ),
    judged="Question: {question}\n\nRight answers, any of them:\n{answers}\n\nReply: {reply}",
)

JAPANESE = Wording(
    with_passages=(
        "文章の情報を使って質問に答えてください。答えの語句だけを、できるだけ短く書いてください。"
        "どの文章にも答えがない場合だけ「回答なし」と書いてください。"
    ),
    alone=(
        "質問に答えてください。答えの語句だけを、できるだけ短く書いてください。"
        "答えを知らない場合だけ「回答なし」と書いてください。"
    ),
    passage="[{number}] {text}",
    question="質問: {question}\n答え:",
    no_answer="回答なし",
    judge=(
        "回答は、質問の正解のどれかを述べていますか。言い方が違っていても、補足があってもかまいませんが、"
        "正解と矛盾してはいけません。「はい」か「いいえ」だけを書いてください。"
    ),
    judged="質問: {question}\n\n正解(どれか一つ):\n{answers}\n\n回答: {reply}",
)


def wording_of(language: str) -> Wording:
    """The prompt for a language: Japanese for Japanese, English for all others."""
    return JAPANESE if language == "ja" else ENGLISH


def no_answers() -> tuple[str, ...]:
    """The replies that say that there is no answer, in any language: an LLM may reply in another one."""
    return ENGLISH.no_answer, JAPANESE.no_answer


def messages(question: str, passages: Sequence[str], language: str) -> Messages:
    """The messages that ask an LLM a question.

    Args:
        question: The question.
        passages: Its context; without any, the LLM is asked what it knows.
        language: ISO 639-1 code.
    """
    wording = wording_of(language)
    parts = [
        wording.passage.format(number=number, text=text.strip()) for number, text in enumerate(passages, 1)
    ]
    parts.append(wording.question.format(question=question))
    return [("system", wording.with_passages if passages else wording.alone), ("human", "\n\n".join(parts))]


def judge_messages(question: str, answers: Sequence[str], reply: str, language: str) -> Messages:
    """The messages that ask an LLM whether a reply is right, to be answered with yes or no."""
    wording = wording_of(language)
    right = "\n".join(f"- {answer}" for answer in answers)
    return [
        ("system", wording.judge),
        ("human", wording.judged.format(question=question, answers=right, reply=reply.strip())),
    ]
