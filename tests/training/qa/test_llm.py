"""A chat model on a server with OpenAI's API, and replies on disk."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from pydantic import Field, SecretStr

from provence_rag import InvalidInputError, ProvenceError
from provence_training.cache import content_key
from provence_training.qa import ChatModel
from provence_training.qa.cache import CachedChat, ReplyStore
from provence_training.qa.llm import Reply, estimated_tokens

MESSAGES = [("system", "Answer."), ("human", "When?")]
DELAY = 0.2


class Handler(BaseHTTPRequestHandler):
    """Streams "in 1977", as OpenAI's API does."""

    requests: list[tuple[str, dict[str, Any]]]
    usage: dict[str, Any] | None
    finish_reason: str | None = "stop"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append((self.headers["Authorization"], body))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.send_chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
        for part in ("in ", "1977"):
            time.sleep(DELAY)
            self.send_chunk(choices=[{"index": 0, "delta": {"content": part}}])
        self.send_chunk(choices=[{"index": 0, "delta": {}, "finish_reason": self.finish_reason}])
        if self.usage is not None and body.get("stream_options") == {"include_usage": True}:
            self.send_chunk(choices=[], usage=self.usage)
        self.wfile.write(b"data: [DONE]\n\n")

    def send_chunk(self, **fields: Any) -> None:
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "small"} | fields
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Handler]]]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    handler = type("OwnHandler", (Handler,), {"requests": [], "usage": None})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/v1", handler
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_server(server: tuple[str, type[Handler]]) -> None:
    url, handler = server
    handler.usage = {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    reply = ChatModel("small", url=url, parameters={"max_tokens": 7}).ask(MESSAGES)
    assert reply.text == "in 1977"
    assert (reply.input_tokens, reply.output_tokens, reply.cached_tokens) == (12, 3, 4)
    # The first chunk has no text.
    assert DELAY <= reply.first_token_seconds <= reply.seconds - DELAY / 2
    ((authorization, body),) = handler.requests
    assert authorization == "Bearer none"
    assert body["messages"] == [
        {"role": "system", "content": "Answer."},
        {"role": "user", "content": "When?"},
    ]
    assert (body["model"], body["temperature"], body["stream"]) == ("small", 0, True)
    # Some servers know one of the two.
    assert (body["max_tokens"], body["max_completion_tokens"]) == (7, 7)
    assert reply.cut_off is False


def test_a_server_that_counts_no_tokens(server: tuple[str, type[Handler]]) -> None:
    reply = ChatModel("small", url=server[0]).ask(MESSAGES)
    assert (reply.input_tokens, reply.output_tokens, reply.cached_tokens) == (None, None, None)


@pytest.mark.parametrize(("reason", "cut_off"), [("length", True), ("stop", False), (None, None)])
def test_why_a_reply_ends(
    server: tuple[str, type[Handler]], reason: str | None, cut_off: bool | None
) -> None:
    server[1].finish_reason = reason
    assert ChatModel("small", url=server[0]).ask(MESSAGES).cut_off is cut_off


@pytest.mark.parametrize(
    ("parameters", "sent"),
    [
        ({"extra_body": {"min_p": 0}}, {"max_tokens": 48, "max_completion_tokens": 48, "min_p": 0}),
        ({"extra_body": {"max_tokens": 9}}, {"max_tokens": 9, "max_completion_tokens": 48}),
        ({"max_tokens": None, "max_completion_tokens": 9}, {"max_completion_tokens": 9}),
        ({"max_tokens": None}, {}),
    ],
)
def test_the_limit_of_tokens(
    server: tuple[str, type[Handler]], parameters: dict[str, Any], sent: dict[str, Any]
) -> None:
    ChatModel("small", url=server[0], parameters=parameters).ask(MESSAGES)
    body = server[1].requests[0][1]
    names = ("max_tokens", "max_completion_tokens", "min_p")
    assert {name: body[name] for name in names if name in body} == sent


def test_parameters_of_the_server(server: tuple[str, type[Handler]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    parameters = {"temperature": None, "stream_usage": False, "extra_body": {"cache_prompt": False}}
    model = ChatModel("small", url=server[0], parameters=parameters)
    model.ask(MESSAGES)
    ((authorization, body),) = server[1].requests
    assert authorization == "Bearer secret"
    assert "temperature" not in body
    assert body["cache_prompt"] is False
    assert "stream_options" not in body
    assert "secret" not in json.dumps(model.parameters)  # they are stored with each reply


def test_a_server_that_is_not_there() -> None:
    model = ChatModel("small", url="http://127.0.0.1:9/v1", parameters={"max_retries": 0})
    with pytest.raises(ProvenceError, match=r"small gave no reply: \w+: Connection error"):
        model.ask(MESSAGES)


@pytest.mark.parametrize(
    "parameters",
    [{"model": "x"}, {"base_url": "x"}, {"temperature": "hot"}, {"max_tokens": "many"}, {"extra_body": "x"}],
)
def test_arguments_that_a_server_cannot_have(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="llm 'small' could not be loaded: "):
        ChatModel("small", url="http://127.0.0.1:9/v1", parameters=parameters)


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"api_key": "sesame"}, "api_key"),
        ({"anthropic_api_key": "sesame"}, "anthropic_api_key"),
        ({"default_headers": {"X-Team": "sesame"}}, "default_headers"),
        ({"extra_body": {"tools": [{"headers": {"X-Team": "sesame"}}]}}, "extra_body.tools.headers"),
        ({"default_query": {"subscription-key": "sesame"}}, "default_query.subscription-key"),
        ({"client_kwargs": {"headers": {"X-Team": "sesame"}}}, "client_kwargs.headers"),
        ({"extra_body": {"Authorization": "sesame"}}, "extra_body.Authorization"),
        ({"default_query": {"api-key": "sesame"}}, "default_query.api-key"),
        ({"azure_ad_token": "sesame"}, "azure_ad_token"),
        ({"aws_session_token": "sesame"}, "aws_session_token"),
    ],
)
@pytest.mark.parametrize("url", [None, "http://127.0.0.1:9/v1"])
def test_secrets_are_refused(parameters: dict[str, Any], name: str, url: str | None) -> None:
    with pytest.raises(InvalidInputError, match=f"parameters has '{name}', which would be stored") as raised:
        ChatModel("openai:small", url=url, parameters=parameters)
    assert "sesame" not in str(raised.value)


def test_what_is_not_a_secret() -> None:
    parameters = {
        "max_tokens": 9,
        "max_completion_tokens": 9,
        "extra_body": {"cache_prompt": False, "stop_token_ids": [2], "prompt_cache_key": "qa"},
    }
    model = ChatModel("small", url="http://127.0.0.1:9/v1", parameters=parameters)
    assert model.parameters == {"temperature": 0, **parameters}


@pytest.mark.parametrize("name", ["gpt", "nobody:gpt", "openai:gpt"])
def test_a_model_that_cannot_be_loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InvalidInputError, match=f"llm '{name}' could not be loaded: "):
        ChatModel(name)


def test_what_belongs_to_a_name(reader: Callable[..., Any]) -> None:
    with pytest.raises(
        InvalidInputError, match="url and parameters belong to a model that is given by its name"
    ):
        ChatModel(reader(), url="http://localhost")


class Mine(FakeListChatModel):
    """Like a user's model: with fields that make its replies, and a key."""

    who: str = "alpha"
    key: SecretStr = SecretStr("one")
    tools: Any = None
    client: Any = Field(None, exclude=True)


def asked_again(tmp_path: Path, first: Any, second: Any) -> bool:
    path = tmp_path / "replies.jsonl"
    chat(ChatModel(first), path).ask(MESSAGES)
    return chat(ChatModel(second), path).stored(MESSAGES) is None


def mine(**fields: Any) -> Mine:
    return Mine(responses=["in 1977"], **fields)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (mine(), mine(who="zzz")),
        (mine(), type("Mine", (Mine,), {"__qualname__": "Other"})(responses=["in 1977"])),
        (mine(), mine().bind(stop=["7"])),
        (mine().bind(stop=["7"]), mine().bind(stop=["8"])),
        (mine().bind(stop=["7"]), mine(who="zzz").bind(stop=["7"])),
        (mine().with_retry(), mine(who="zzz").with_retry()),
    ],
    ids=["a field", "the class", "bound", "bound otherwise", "a field of what is bound", "with retries"],
)
def test_replies_of_another_model_are_asked_for(tmp_path: Path, first: Any, second: Any) -> None:
    assert asked_again(tmp_path, first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (mine(), mine()),
        (mine(), mine(key=SecretStr("two"), client=object())),
        (mine(tools=object()), mine(tools=object())),
        (mine().bind(stop=["7"], tool=object()), mine().bind(stop=["7"], tool=object())),
        (mine(), mine().with_retry()),
    ],
    ids=["equal", "a secret and a client", "objects", "bound", "with retries"],
)
def test_replies_of_the_same_model_are_found(tmp_path: Path, first: Any, second: Any) -> None:
    assert not asked_again(tmp_path, first, second)


def test_no_secret_of_a_model_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    headers = {"Authorization": "Bearer sesame"}
    model = ChatModel(mine(key=SecretStr("sesame")).bind(stop=["7"], extra_headers=headers))
    assert model.name == "Mine"
    assert model.parameters["stop"] == "['7']"
    chat(model, path).ask(MESSAGES)
    assert "sesame" not in path.read_text()


def test_a_chain_is_not_a_chat_model() -> None:
    with pytest.raises(InvalidInputError, match=r"an LLM must be a ChatModel, .* got RunnableSequence"):
        ChatModel(mine() | str)  # type: ignore[arg-type]


def test_the_keys_of_models_that_are_named_do_not_change() -> None:
    # Long runs depend on them.
    model = ChatModel("small", url="http://localhost:9/v1")
    store = ReplyStore(None)
    reply = Counting().ask(MESSAGES)
    store.add(content_key("small", {"temperature": 0, "max_tokens": 48}, MESSAGES).hex(), reply, {})
    assert CachedChat(model, store).stored(MESSAGES) == reply


def test_replies_of_earlier_versions_are_found(tmp_path: Path) -> None:
    # They do not say why they ended.
    reply = {"text": "in 1977", "input_tokens": 3, "output_tokens": 2, "cached_tokens": None}
    reply |= {"first_token_seconds": 0.1, "seconds": 0.2}
    key = content_key("counting", {"temperature": 0}, MESSAGES).hex()
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps({"key": key, "reply": reply}))
    found = chat(Counting(), path).stored(MESSAGES)
    assert found is not None
    assert (found.text, found.cut_off) == ("in 1977", None)


def test_estimated_tokens() -> None:
    assert estimated_tokens(["a word"]) < estimated_tokens(["a word and some more", "東京"]) < 20


class Counting:
    """A model that gives numbered replies."""

    name, parameters = "counting", {"temperature": 0}

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls, self.fail_at = 0, fail_at
        self.lock = threading.Lock()

    def ask(self, messages: Any) -> Reply:
        with self.lock:
            self.calls += 1
            number = self.calls
        if number == self.fail_at:
            raise ConnectionError("gone")
        time.sleep(0.01)
        return Reply(
            text=f"{number} \ud800",
            input_tokens=1,
            output_tokens=None,
            cached_tokens=None,
            first_token_seconds=0.5,
            seconds=1.0,
        )


def chat(model: Any, path: Path | None) -> CachedChat:
    return CachedChat(model, ReplyStore(path))


def test_replies_are_asked_for_once(tmp_path: Path) -> None:
    path, model = tmp_path / "new" / "replies.jsonl", Counting()
    first = chat(model, path).ask(MESSAGES)
    again = chat(model, path)
    assert again.ask(MESSAGES) == first == again.stored(MESSAGES)
    assert model.calls == 1
    assert again.ask([("human", "Where?")]) != first
    (entry, _) = map(json.loads, path.read_text().splitlines())
    assert entry["messages"] == [list(message) for message in MESSAGES]
    assert (entry["model"], entry["parameters"]) == ("counting", {"temperature": 0})


def test_other_parameters_give_other_replies(tmp_path: Path) -> None:
    path, other = tmp_path / "replies.jsonl", Counting()
    chat(Counting(), path).ask(MESSAGES)
    other.parameters = {"temperature": 1}
    assert chat(other, path).stored(MESSAGES) is None


def test_errors_are_not_stored(tmp_path: Path) -> None:
    asking = chat(Counting(fail_at=1), tmp_path / "replies.jsonl")
    with pytest.raises(ConnectionError):
        asking.ask(MESSAGES)
    assert asking.stored(MESSAGES) is None
    assert asking.ask(MESSAGES).text.startswith("2")


def test_a_line_that_was_cut_off_is_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    asking = chat(Counting(), path)
    kept, lost = asking.ask(MESSAGES), [("human", "Where?")]
    asking.ask(lost)
    path.write_bytes(path.read_bytes()[:-30])
    again = chat(Counting(), path)
    assert again.stored(MESSAGES) == kept
    assert again.stored(lost) is None
    asked = again.ask(lost)
    assert chat(Counting(), path).stored(lost) == asked


def test_threads_ask_for_the_same_reply_once(tmp_path: Path) -> None:
    model = Counting()
    asking = chat(model, tmp_path / "replies.jsonl")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda number: asking.ask([("human", str(number % 4))]), range(32)))
    assert model.calls == 4
    assert len(set(replies)) == 4
    assert len((tmp_path / "replies.jsonl").read_text().splitlines()) == 4


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "When?"}\n')
    with pytest.raises(InvalidInputError, match=r"questions\.jsonl:1: is not a stored reply"):
        ReplyStore(path)


@pytest.mark.parametrize("content", ["# Title\n\nText.\n", "\n{}", "[1]\n", '"key"\n', "\x00\x01"])
def test_a_file_that_is_not_a_cache_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match=r"README\.md:\d: is not a stored reply: give another file"):
        ReplyStore(path)
    assert path.read_text() == content


def test_a_cache_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"cache must be a file, got .* is a directory"):
        ReplyStore(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match=r"cache must be a file, got .*file is no directory"):
        ReplyStore(tmp_path / "file" / "replies.jsonl")
    ReplyStore(tmp_path / "file")  # an empty file is an empty cache
