"""A chat model that answers by rule, and questions for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from provence_training.qa import QAQuestion, load_questions

DATA = Path(__file__).parents[3] / "examples" / "evaluation.jsonl"
LOCK = threading.Lock()


class ScriptedReader(BaseChatModel):
    """Gives the answer if it is in the prompt, else says that there is none. Judges a reply by its length."""

    answers: dict[str, str]
    # Not part of what it is, so stored replies are found whatever their values.
    prompts: list[str] = Field([], exclude=True)
    fail_at: int | None = Field(None, exclude=True)
    usage: str = Field("counted", exclude=True)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"script": "answers"}

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        prompt = str(messages[-1].content)
        with LOCK:
            self.prompts.append(prompt)
            if len(self.prompts) == self.fail_at:
                raise ConnectionError("the server is gone")
        usages = {
            "counted": {"input_tokens": len(prompt), "output_tokens": 2, "total_tokens": len(prompt) + 2},
            "zero": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
            "missing": None,
        }
        message = AIMessage(content=self.reply(prompt), usage_metadata=usages[self.usage])
        return ChatResult(generations=[ChatGeneration(message=message)])

    def reply(self, prompt: str) -> str:
        if "Right answers" in prompt:
            return "Yes." if len(prompt.partition("Reply: ")[2]) > 7 else "No."
        if "正解" in prompt:
            return "はい。" if len(prompt.partition("回答: ")[2]) > 7 else "いいえ。"
        question = next(question for question in self.answers if question in prompt)
        answer = self.answers[question]
        return f"It is {answer}!" if answer in prompt else "no answer"


@pytest.fixture(scope="session")
def questions() -> list[QAQuestion]:
    return load_questions(DATA, k=4, limit=12)


@pytest.fixture
def reader(questions: list[QAQuestion]) -> Callable[..., ScriptedReader]:
    answers = {question.text: question.answers[0] for question in questions}
    return lambda **settings: ScriptedReader(answers=answers, prompts=[], **settings)
