"""The middleware for agents. The only module here that needs the `langchain` package, not its core alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda

from provence_rag import (
    CheckpointError,
    InvalidInputError,
    MissingExtraError,
    Provence,
    PrunedPassage,
    PruningOptions,
)
from provence_rag.adapters import ModelFields, keep_at_least

try:
    from langchain.agents.middleware import AgentMiddleware
    from langgraph.types import Command
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("langchain", "langgraph"):
        raise
    raise MissingExtraError("langchain_provence.middleware", "langchain-agents") from error

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ToolCallRequest
    from langchain_core.tools import BaseTool

__all__ = ["ProvencePruningMiddleware", "last_question", "original_content"]

ToolResult: TypeAlias = ToolMessage | Command[Any]


def last_question(request: ToolCallRequest) -> str | None:
    """The text of the last human message in the agent's state; None if it has no text, as with an image."""
    messages: Sequence[BaseMessage] = request.state["messages"]
    text = next((m.text for m in reversed(messages) if isinstance(m, HumanMessage)), "")
    return str(text) if text.strip() else None


def original_content(message: BaseMessage) -> str | list[str | dict[Any, Any]]:
    """The content of a message before `ProvencePruningMiddleware` pruned it; if it did not, the content."""
    content: str | list[str | dict[Any, Any]]
    content = message.response_metadata.get("provence", {}).get("original_content", message.content)
    return content


class ProvencePruningMiddleware(AgentMiddleware):
    """Remove from long tool results what does not help to answer the user's last question.

    A result is pruned once, when the tool has returned; the model reads the same short text in every later
    step. The message keeps its id, name and artifact. Its `response_metadata["provence"]` holds
    `original_content` (see the function of that name), `question` and `compression` (share of the characters
    that were removed).

    If the content is a list of blocks, each text block is pruned by itself, and left out if nothing of it is
    kept; other blocks pass through. A result that would lose all its text keeps its best sentence. Structured
    data such as JSON is pruned by record, so that it still parses. Errors and results without a question are
    not touched.

    Args:
        model: Hub name or path of a checkpoint, or a loaded `Provence`; None is the bundled model. It is
            loaded on first use, once.
        options: How sentences are selected; None is the checkpoint's own rule.
        min_characters: Results with fewer characters in all their text blocks together are not touched.
        tools: The tools whose results are pruned, as objects or names; None is all.
        question: A function that returns what to prune against, or None to leave the result as it is. For
            example, one that returns `request.tool_call["args"]["query"]` prunes against the search query.

    Example:
        ```python
        from langchain.agents import create_agent
        from langchain_provence.middleware import ProvencePruningMiddleware

        agent = create_agent(chat_model, tools=[search], middleware=[ProvencePruningMiddleware()])
        ```

    Raises:
        InvalidInputError: An argument has a value that cannot be used; in a call, `question` returned a blank
            string.
        CheckpointError: The model has no pruning head; one that is not loaded yet is checked at first use.
    """

    def __init__(
        self,
        model: str | Path | Provence | None = None,
        *,
        options: PruningOptions | None = None,
        min_characters: int = 2000,
        tools: Sequence[BaseTool | str] | None = None,
        question: Callable[[ToolCallRequest], str | None] = last_question,
    ) -> None:
        super().__init__()
        if options is not None and not isinstance(options, PruningOptions):
            raise InvalidInputError(f"options must be a PruningOptions, got {options!r}")
        if isinstance(tools, str):
            raise InvalidInputError(f"tools must be a list of tools or names, got the string {tools!r}")
        if isinstance(min_characters, bool) or not isinstance(min_characters, int) or min_characters < 0:
            raise InvalidInputError(f"min_characters must be an integer >= 0, got {min_characters!r}")
        self._model = ModelFields(model=model)
        self._options = options
        self._min_characters = min_characters
        self._tools = None if tools is None else {t if isinstance(t, str) else t.name for t in tools}
        self._question = question
        if isinstance(model, Provence):
            self._pruner()

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolResult]
    ) -> ToolResult:
        """Run the tool and prune its result."""
        return self._pruned(handler(request), request)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolResult]]
    ) -> ToolResult:
        """Run the tool and prune its result, in a thread: the event loop goes on."""
        return await asyncio.to_thread(self._pruned, await handler(request), request)

    def _pruned(self, result: ToolResult, request: ToolCallRequest) -> ToolResult:
        if self._tools is not None and request.tool_call["name"] not in self._tools:
            return result
        question = self._question(request)
        if question is None:
            return result
        if not isinstance(question, str) or not question.strip():
            raise InvalidInputError(
                f"question returned {question!r}: it must return a string with words, or None to leave the "
                "result as it is"
            )
        pruned: ToolResult = self._with_short_messages(result, question)
        return pruned

    def _with_short_messages(self, result: Any, question: str) -> Any:
        """Prune the tool messages in whatever a tool may return."""
        if isinstance(result, ToolMessage):
            return self._short(result, question)
        if isinstance(result, list):
            return [self._with_short_messages(one, question) for one in result]
        if isinstance(result, Command) and isinstance(result.update, dict) and "messages" in result.update:
            messages = self._with_short_messages(result.update["messages"], question)
            return replace(result, update={**result.update, "messages": messages})
        return result

    def _short(self, message: ToolMessage, question: str) -> ToolMessage:
        """A copy with the kept text, or the message itself if there is nothing to do."""
        if message.status == "error" or "provence" in message.response_metadata:
            return message
        blocks = [message.content] if isinstance(message.content, str) else message.content
        texts = {place: text for place, block in enumerate(blocks) if (text := _prose(block)) is not None}
        if not texts or _length(texts.values()) < self._min_characters:
            return message

        def prune(inputs: dict[str, Any]) -> ToolMessage:
            passages = self._pruner().process(inputs["question"], list(texts.values()), options=self._options)
            kept = dict(zip(texts, keep_at_least(passages, 1), strict=True))
            if all(passage.text == passage.document for passage in kept.values()):
                return message
            return _rewritten(message, kept, question)

        # A run of its own, so that tracing shows what was cut and how long it took.
        run = RunnableLambda(prune, name=type(self).__name__)
        return run.invoke({"question": question, "message": message})

    def _pruner(self) -> Provence:
        model = self._model.provence
        if not model.config.can_prune:
            raise CheckpointError("this checkpoint only ranks: the middleware needs one with a pruning head")
        return model


def _prose(block: str | dict[Any, Any]) -> str | None:
    """The text of a content block that can be cut by sentences; None for any other block."""
    text = block if isinstance(block, str) else block.get("text") if block.get("type") == "text" else None
    return text if isinstance(text, str) and text.strip() else None


def _rewritten(message: ToolMessage, kept: dict[int, PrunedPassage], question: str) -> ToolMessage:
    """A copy of the message with the kept text in the pruned blocks."""
    content: str | list[str | dict[Any, Any]]
    if isinstance(message.content, str):
        content = kept[0].text
    else:
        content = [
            block if place not in kept else _with_text(block, kept[place].text)
            for place, block in enumerate(message.content)
            if place not in kept or not kept[place].is_empty  # providers refuse empty text blocks
        ]
    share = _length(p.text for p in kept.values()) / _length(p.document for p in kept.values())
    record = {"original_content": message.content, "question": question, "compression": 1.0 - share}
    metadata = {**message.response_metadata, "provence": record}
    return message.model_copy(update={"content": content, "response_metadata": metadata})


def _with_text(block: str | dict[Any, Any], text: str) -> str | dict[Any, Any]:
    return text if isinstance(block, str) else {**block, "text": text}


def _length(texts: Iterable[str]) -> int:
    return sum(map(len, texts))
