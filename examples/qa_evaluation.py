"""What does pruning do to an LLM's answers? The same questions, with whole and with shortened passages.

pip install -e '.[qa]' && python examples/qa_evaluation.py openai:gpt-4.1-mini

Without an argument, a stand-in answers, offline. It knows the answers and gives those that it can read: the
figures show what each strategy loses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from provence_rag import Provence
from provence_training import qa

DATA = Path(__file__).with_name("evaluation.jsonl")


class StandIn(BaseChatModel):
    """Gives an answer that is in its prompt."""

    answers: dict[str, tuple[str, ...]]

    @property
    def _llm_type(self) -> str:
        return "stand-in"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        prompt = str(messages[-1].content)
        known = next(answers for question, answers in self.answers.items() if question in prompt)
        reply = next((answer for answer in known if answer in prompt), "No answer")
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=reply))])


class FirstCharacters:
    """A strategy of one's own: the beginning of each passage."""

    name = "first 100 characters"

    def context(self, question: qa.QAQuestion, passages: Sequence[str]) -> list[str]:
        """Cut each passage."""
        return [text[:100] for text in passages]


def main(arguments: Sequence[str]) -> None:
    questions = qa.load_questions(DATA, k=6)
    stand_in = StandIn(answers={question.text: question.answers for question in questions})
    model = Provence.from_pretrained()
    evaluator = qa.QAEvaluator(
        arguments[0] if arguments else stand_in,
        [
            qa.AllPassages(),
            qa.Rerank(model, 2),
            qa.Prune(model),
            qa.Prune(model, keep_answers=0.9),
            qa.Prune(model, max_tokens=60),
            FirstCharacters(),
            qa.NoContext(),
            qa.Oracle(),
        ],
        k=[3, 6],
        examples=1,
    )
    print(evaluator({"examples": questions}).to_markdown())


if __name__ == "__main__":
    main(sys.argv[1:])
