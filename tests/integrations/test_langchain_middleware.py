"""The middleware, in agents whose chat model is scripted and remembers what it was given to read."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import MemorySaver
from langgraph.types import Command
from pydantic import PrivateAttr

from langchain_provence.middleware import ProvencePruningMiddleware, original_content
from provence_rag import (
    CheckpointError,
    InvalidInputError,
    MissingExtraError,
    Provence,
    PruningOptions,
)
from provence_rag.testing import fake_provence

QUESTION = "Where do penguins live?"
RESULT = "Penguins live in Antarctica. The market fell today. Penguins live on ice."
PRUNED = "Penguins live in Antarctica. Penguins live on ice."
UNRELATED = "My car has new tyres. It is red."


class ScriptedModel(BaseChatModel):
    """Calls the tool `search` at every human message, and then says that it is done."""

    _read: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> ScriptedModel:  # type: ignore[override]
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self._read.append(messages)
        answer = AIMessage("Done.")
        if isinstance(messages[-1], HumanMessage):
            call = {"name": "search", "args": {"query": "red tyres"}, "id": f"call-{len(self._read)}"}
            answer = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=answer)])

    @property
    def tool_messages(self) -> list[ToolMessage]:
        """Those that the model has read last."""
        return [message for message in self._read[-1] if isinstance(message, ToolMessage)]


def search_giving(result: Any) -> BaseTool:
    """A tool that returns the result, or raises it."""

    def search(query: str) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    return StructuredTool.from_function(search, name="search", description="Searches.")


@pytest.fixture
def chat() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def ask(model: Provence, chat: ScriptedModel) -> Callable[..., ToolMessage]:
    """Asks an agent; gives the tool message that its model has read."""

    def ask(
        result: Any,
        *,
        question: Any = QUESTION,
        outer: Sequence[Any] = (),
        inner: Sequence[Any] = (),
        **options: Any,
    ) -> Any:
        middleware = ProvencePruningMiddleware(**{"model": model, "min_characters": 0, **options})
        tool = result if isinstance(result, BaseTool) else search_giving(result)
        agent = create_agent(chat, tools=[tool], middleware=[*outer, middleware, *inner])
        state = agent.invoke({"messages": [("human", question)]})
        read = chat.tool_messages[-1]
        assert read in state["messages"]
        return read

    return ask


def test_the_model_reads_what_answers_the_question(ask: Any) -> None:
    message = ask(RESULT)
    assert message.content == PRUNED
    assert (message.name, message.tool_call_id, message.status) == ("search", "call-1", "success")


def test_the_whole_text_stays_in_the_message(ask: Any) -> None:
    message = ask(RESULT)
    assert original_content(message) == RESULT
    assert message.response_metadata["provence"] == {
        "original_content": RESULT,
        "question": QUESTION,
        "compression": pytest.approx(1 - len(PRUNED) / len(RESULT)),
    }
    assert json.loads(json.dumps(message.response_metadata)) == message.response_metadata


def test_an_artifact_stays_what_it_was(ask: Any) -> None:
    tool = StructuredTool.from_function(
        lambda query: (RESULT, {"rows": [1]}),
        name="search",
        description="Searches.",
        response_format="content_and_artifact",
    )
    message = ask(tool)
    assert (message.content, message.artifact) == (PRUNED, {"rows": [1]})
    assert original_content(message) == RESULT
    assert ask(RESULT).artifact is None


def test_the_tool_and_its_message_are_not_changed(model: Provence) -> None:
    blocks = [{"type": "text", "text": RESULT}]
    message = ToolMessage(blocks, tool_call_id="call-1", response_metadata={"mine": [1]})
    before = message.model_copy(deep=True)
    result = through(ProvencePruningMiddleware(model, min_characters=0), message)
    assert result.content == [{"type": "text", "text": PRUNED}]
    assert result.response_metadata["mine"] == [1]
    assert message == before


@pytest.mark.parametrize(
    ("characters", "content"), [(len(RESULT), PRUNED), (len(RESULT) + 1, RESULT), (0, PRUNED)]
)
def test_short_results_are_left_alone(ask: Any, characters: int, content: str) -> None:
    assert ask(RESULT, min_characters=characters).content == content


def test_by_default_a_result_of_two_thousand_characters_is_long(model: Provence) -> None:
    agent_middleware = ProvencePruningMiddleware(model)
    long = RESULT + " The market fell again." * 90
    assert through(agent_middleware, ToolMessage(long, tool_call_id="call-1")).content == PRUNED
    assert through(agent_middleware, ToolMessage(RESULT, tool_call_id="call-1")).content == RESULT


def test_a_result_without_any_answer_keeps_its_best_sentence(ask: Any) -> None:
    message = ask(UNRELATED)
    assert message.content == "My car has new tyres."
    assert original_content(message) == UNRELATED


def test_a_result_that_answers_throughout_is_not_touched(ask: Any) -> None:
    message = ask(PRUNED)
    assert message.content == PRUNED
    assert message.response_metadata == {}
    assert original_content(message) == PRUNED


def test_options(ask: Any) -> None:
    assert ask(RESULT, options=PruningOptions(context_after=1, threshold=0.3)).content == RESULT
    assert ask(RESULT, options=PruningOptions(mode="off")).content == RESULT


# --- what is not plain text ------------------------------------------------------------------------------

IMAGE = {"type": "image", "url": "https://example.org/penguin.png"}


def test_blocks_are_pruned_one_by_one(ask: Any) -> None:
    first = {"type": "text", "text": RESULT, "id": "b1"}
    others = [{"type": "text", "text": text} for text in (UNRELATED, "Many penguins swim. It is red.")]
    message = ask([IMAGE, first, *others])
    assert message.content == [
        IMAGE,
        {"type": "text", "text": PRUNED, "id": "b1"},
        {"type": "text", "text": "Many penguins swim."},  # of the block in between nothing is left
    ]
    assert original_content(message) == [IMAGE, first, *others]


def test_blocks_that_are_plain_strings(model: Provence) -> None:
    message = ToolMessage([RESULT, IMAGE, UNRELATED], tool_call_id="call-1")
    result = through(ProvencePruningMiddleware(model, min_characters=0), message)
    assert result.content == [PRUNED, IMAGE]


def test_blocks_of_which_none_answers_keep_one_sentence(ask: Any) -> None:
    texts = [{"type": "text", "text": "Roads are long."}, {"type": "text", "text": UNRELATED}]
    assert ask([*texts, IMAGE]).content == [{"type": "text", "text": "Roads are long."}, IMAGE]


def test_the_size_is_that_of_all_text_blocks(ask: Any) -> None:
    blocks = [{"type": "text", "text": RESULT}, {"type": "text", "text": RESULT}, IMAGE]
    assert ask(blocks, min_characters=2 * len(RESULT) + 1).content == blocks
    assert ask(blocks, min_characters=2 * len(RESULT)).content != blocks


@pytest.mark.parametrize(
    "result",
    [
        pytest.param([IMAGE], id="image"),
        pytest.param([{"type": "text", "text": " \n"}, IMAGE], id="white space"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_cannot_be_cut_by_sentences_is_passed_through(
    ask: Any, calls: list[dict[str, Any]], result: Any
) -> None:
    assert ask(result).content == result
    assert calls == []


def test_a_dictionary_is_pruned_by_member(ask: Any) -> None:
    content = ask({"rows": [{"text": RESULT}], "total": 1}).content
    assert json.loads(content) == {"rows": [{"text": RESULT}]}


def test_json_is_pruned_by_record(ask: Any) -> None:
    content = ask(json.dumps([{"text": RESULT}, {"text": UNRELATED}])).content
    assert json.loads(content) == [{"text": RESULT}]


def test_json_without_an_answer_keeps_its_best_record(ask: Any) -> None:
    records = [{"text": "The market fell."}, {"text": "Rain is due."}]
    assert json.loads(ask(json.dumps(records)).content) in [[record] for record in records]


@pytest.mark.parametrize("start", ["[1]", "{a}", "[" * 100_000])
def test_text_that_only_begins_like_json_is_pruned(ask: Any, start: str) -> None:
    text = f"{start} Penguins live. The market fell."
    assert ask(text).content == text.rsplit(". ", 1)[0] + "."


# --- errors and other results ----------------------------------------------------------------------------


@wrap_tool_call
def explain(request: Any, handler: Any) -> ToolMessage:
    """A middleware that makes a message of a tool's ValueError."""
    try:
        message: ToolMessage = handler(request)
    except ValueError as error:
        return ToolMessage(f"{RESULT} {error}", tool_call_id=request.tool_call["id"], status="error")
    return message


@pytest.mark.parametrize("inside", [True, False])
def test_errors_are_not_touched(ask: Any, calls: list[dict[str, Any]], inside: bool) -> None:
    place = "inner" if inside else "outer"
    message = ask(ValueError("Wrong."), **{place: [explain]})
    assert (message.content, message.status) == (f"{RESULT} Wrong.", "error")
    with pytest.raises(RuntimeError, match="broken"):
        ask(RuntimeError("broken"))
    assert calls == []


def test_messages_in_commands_and_lists_are_pruned(model: Provence) -> None:
    middleware = ProvencePruningMiddleware(model, min_characters=0)
    message = ToolMessage(RESULT, tool_call_id="call-1")
    command = Command(update={"messages": [HumanMessage(RESULT), message], "topic": "birds"}, goto="end")
    result = through(middleware, [command, message, Command(goto="end")])
    human, tool = result[0].update["messages"]
    assert (human.content, tool.content) == (RESULT, PRUNED)
    assert (result[0].update["topic"], result[0].goto) == ("birds", "end")
    assert command.update["messages"][1].content == RESULT
    assert result[1].content == PRUNED
    assert result[2] == Command(goto="end")


# --- which question, which tools -------------------------------------------------------------------------


def through(middleware: ProvencePruningMiddleware, result: Any, messages: Sequence[Any] = ()) -> Any:
    """What the middleware makes of a tool's result."""

    request: Any = SimpleNamespace(
        tool_call={"name": "search", "args": {}, "id": "call-1"},
        state={"messages": [HumanMessage(QUESTION), *messages]},
    )
    return middleware.wrap_tool_call(request, lambda request: result)


def test_the_last_human_message_is_the_question(model: Provence) -> None:
    messages = [AIMessage("Penguins live"), HumanMessage("Who talks of the market today?"), AIMessage("")]
    result = through(
        ProvencePruningMiddleware(model, min_characters=0), ToolMessage(RESULT, tool_call_id="c"), messages
    )
    assert result.content == "The market fell today."


def test_a_result_is_pruned_once_and_for_all(model: Provence, chat: ScriptedModel) -> None:
    agent = create_agent(
        chat,
        tools=[search_giving(RESULT)],
        middleware=[ProvencePruningMiddleware(model, min_characters=0)],
        checkpointer=MemorySaver(),
    )
    thread: Any = {"configurable": {"thread_id": "one"}}
    agent.invoke({"messages": [("human", QUESTION)]}, thread)
    agent.invoke({"messages": [("human", "What of the market?")]}, thread)
    assert [m.content for m in chat.tool_messages] == [PRUNED, "The market fell today."]
    stored = agent.get_state(thread).values["messages"]
    assert [original_content(m) for m in stored if isinstance(m, ToolMessage)] == [RESULT, RESULT]


def test_the_question_of_a_multimodal_message_is_its_text(ask: Any) -> None:
    assert ask(RESULT, question=[{"type": "text", "text": QUESTION}, IMAGE]).content == PRUNED


@pytest.mark.parametrize("question", [[IMAGE], " \n"])
def test_without_a_question_nothing_is_pruned(ask: Any, question: Any) -> None:
    assert ask(RESULT, question=question).content == RESULT


@pytest.mark.parametrize("question", ["", " \n", 7])
def test_a_blank_question_is_refused(model: Provence, question: Any) -> None:
    middleware = ProvencePruningMiddleware(model, question=lambda _: question)
    message = f"question returned {question!r}: it must return a string with words, or None"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}"):
        through(middleware, ToolMessage(RESULT, tool_call_id="c"))


def test_no_question_leaves_the_result_as_it_is(model: Provence, calls: list[dict[str, Any]]) -> None:
    middleware = ProvencePruningMiddleware(model, min_characters=0, question=lambda _: None)
    message = ToolMessage(RESULT, tool_call_id="c")
    assert through(middleware, message) is message
    assert calls == []


def test_another_question_may_be_asked(model: Provence, chat: ScriptedModel) -> None:
    middleware = ProvencePruningMiddleware(
        model, min_characters=0, question=lambda request: request.tool_call["args"]["query"]
    )
    agent = create_agent(chat, tools=[search_giving(f"{RESULT} {UNRELATED}")], middleware=[middleware])
    agent.invoke({"messages": [("human", QUESTION)]})
    assert chat.tool_messages[-1].content == "My car has new tyres."


def test_only_some_tools(ask: Any) -> None:
    assert ask(RESULT, tools=["other"]).content == RESULT
    assert ask(RESULT, tools=["other", "search"]).content == PRUNED
    assert ask(RESULT, tools=[search_giving("")]).content == PRUNED


@pytest.mark.parametrize(("result", "names"), [(RESULT, ["ProvencePruningMiddleware"]), ("", [])])
def test_pruning_is_a_run_inside_that_of_the_agent(
    model: Provence, chat: ScriptedModel, result: str, names: list[str]
) -> None:
    runs: list[tuple[str, Any]] = []

    class Handler(BaseCallbackHandler):
        def on_chain_start(self, *_: Any, parent_run_id: Any = None, name: str = "", **__: Any) -> None:
            runs.append((name, parent_run_id))

    middleware = ProvencePruningMiddleware(model, min_characters=0)
    agent = create_agent(chat, tools=[search_giving(result)], middleware=[middleware])
    agent.invoke({"messages": [("human", QUESTION)]}, {"callbacks": [Handler()]})
    own = [(name, parent) for name, parent in runs if name == "ProvencePruningMiddleware"]
    assert [name for name, _ in own] == names
    assert all(parent is not None for _, parent in own)


# --- loading, errors, asynchronous agents ----------------------------------------------------------------


async def test_the_event_loop_goes_on(model: Provence, chat: ScriptedModel, heartbeat: Any) -> None:
    middleware = ProvencePruningMiddleware(model, min_characters=0)
    agent = create_agent(chat, tools=[search_giving(RESULT)], middleware=[middleware])
    async with heartbeat():
        await agent.ainvoke({"messages": [("human", QUESTION)]})
    assert chat.tool_messages[-1].content == PRUNED


async def test_twenty_agents_load_one_model(loads: list[dict[str, Any]]) -> None:
    middleware = ProvencePruningMiddleware("some/name", min_characters=0)
    assert loads == []

    async def ask() -> Any:
        chat = ScriptedModel()
        agent = create_agent(chat, tools=[search_giving(RESULT)], middleware=[middleware])
        await agent.ainvoke({"messages": [("human", QUESTION)]})
        return chat.tool_messages[-1].content

    assert await asyncio.gather(*(ask() for _ in range(20))) == [PRUNED] * 20
    assert loads == [{"name_or_path": "some/name"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_characters": -1}, "min_characters must be an integer >= 0, got -1"),
        ({"tools": "search"}, "tools must be a list of tools or names, got the string 'search'"),
        ({"options": {"ratio": 0.5}}, "options must be a PruningOptions, got {'ratio': 0.5}"),
        ({"model": 7}, "model"),
    ],
)
def test_a_wrong_argument_is_reported_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ProvencePruningMiddleware(**arguments)
    assert isinstance(caught.value, InvalidInputError) or "model" in arguments


def test_a_model_that_cannot_prune_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = fake_provence(can_prune=False)
    with pytest.raises(CheckpointError, match="this checkpoint only ranks"):
        ProvencePruningMiddleware(ranker)
    monkeypatch.setattr(Provence, "from_pretrained", lambda **_: ranker)
    with pytest.raises(CheckpointError, match="this checkpoint only ranks"):
        through(
            ProvencePruningMiddleware("a/ranker", min_characters=0), ToolMessage(RESULT, tool_call_id="c")
        )


def test_without_langchain_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain.agents.middleware", None)
    monkeypatch.delitem(sys.modules, "langchain_provence.middleware")
    with pytest.raises(MissingExtraError, match=r"pip install .*\[langchain-agents\]'"):
        importlib.import_module("langchain_provence.middleware")
