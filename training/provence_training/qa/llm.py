"""The LLM that answers: any chat model of LangChain, with its time and its tokens."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from provence_rag.errors import InvalidInputError, MissingExtraError, ProvenceError
from provence_rag.hub import BUNDLED
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.validation import shown
from provence_training.cache import content_key
from provence_training.qa.prompts import Messages

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables.base import RunnableBindingBase

__all__ = ["DEFAULTS", "JUDGE_DEFAULTS", "ChatModel", "Reply", "estimated_tokens"]

DEFAULTS: Mapping[str, Any] = {"temperature": 0, "max_tokens": 48}
"""Parameters of an LLM that is named by a specification."""

JUDGE_DEFAULTS: Mapping[str, Any] = {"max_tokens": 1000}
"""Those that a judge has over `DEFAULTS`: room for a reasoning model to think before it says yes or no."""

_SECRET = re.compile(
    r"api_?key|access_?key|secret|password|credential|authorization|cookie|headers"
    r"|(?:^|subscription_)key$|(?:^|access|ad|api|auth|bearer|hf|session)_?token$",
    re.IGNORECASE,
)
"""Names of arguments that hold a secret, or may hold one."""

_AT_LIMIT = ("length", "max_tokens")
"""Why a reply ended, if it was the limit of tokens: in the words of OpenAI and Ollama, and of the others."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An LLM's reply, and its cost."""

    text: str

    input_tokens: int | None
    """As the provider counts them; None if it does not."""

    output_tokens: int | None
    """Likewise."""

    cached_tokens: int | None
    """Those of the input that the provider had in its cache, if it says so."""

    first_token_seconds: float
    """Until the first text came."""

    seconds: float
    """Until the last came."""

    cut_off: bool | None = None
    """Whether the limit of tokens ended it; None if the provider does not say."""


class ChatModel:
    """A chat model that answers as a stream.

    Args:
        model: A specification of LangChain's `init_chat_model` ("openai:gpt-4.1-mini", "ollama:qwen3"), or a
            chat model of LangChain, with or without bound arguments (`model.bind(...)`). Stored replies of a
            chat model are found by its class, its fields and the bound arguments; secrets and fields with
            `exclude=True` do not count.
        url: The address of a server with OpenAI's API, such as "http://127.0.0.1:8000/v1"; `model` is then
            the name of a model on it. It is sent the key in `OPENAI_API_KEY`, if that is set.
        parameters: Arguments of the chat model, over `DEFAULTS`; None leaves one out. They are stored with
            each reply, so keys and headers are refused. Not with a model that exists.

    Raises:
        InvalidInputError: An argument cannot be used.
        MissingExtraError: LangChain, or its package for the provider, is not installed.
    """

    def __init__(
        self,
        model: str | BaseChatModel | RunnableBindingBase[Any, Any],
        *,
        url: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(model, str):
            chosen = {**DEFAULTS, **(parameters or {})}
            self.parameters = {name: value for name, value in chosen.items() if value is not None}
            secret = _secret(self.parameters)
            if secret is not None:
                raise InvalidInputError(
                    f"parameters has {secret!r}, which would be stored with each reply and shown in the "
                    "report: set a key in its environment variable, such as OPENAI_API_KEY, or give a chat "
                    "model that you made in Python"
                )
            self.name = model
            self._model: Any = _load(model, url, self.parameters)
            return
        if url is not None or parameters is not None:
            raise InvalidInputError("url and parameters belong to a model that is given by its name")
        inner, bound = _unbound(model)
        self.name = type(inner).__name__
        self.parameters = {
            name: _text(value)
            for name, value in {**inner._identifying_params, **bound}.items()
            if _secret({name: value}) is None
        }
        self.parameters["fingerprint"] = _fingerprint(inner, bound)
        self._model = model

    def ask(self, messages: Messages) -> Reply:
        """Get a reply, and measure the time that it takes.

        Raises:
            ProvenceError: There is no reply; the cause is the provider's error.
        """
        try:
            return self._ask(messages)
        except Exception as error:  # providers' errors have no common base
            raise ProvenceError(f"{self.name} gave no reply: {type(error).__name__}: {error}") from error

    def _ask(self, messages: Messages) -> Reply:
        start = time.perf_counter()
        first: float | None = None
        cut_off: bool | None = None
        whole: Any = None
        for chunk in self._model.stream(messages):
            if first is None and chunk.text:
                first = time.perf_counter() - start
            whole = chunk if whole is None else whole + chunk
            if (reason := _finish_reason(chunk.response_metadata)) is not None:
                cut_off = reason.lower() in _AT_LIMIT
        seconds = time.perf_counter() - start
        usage = (None if whole is None else whole.usage_metadata) or {}
        return Reply(
            text="" if whole is None else str(whole.text),
            input_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            cached_tokens=usage.get("input_token_details", {}).get("cache_read"),
            first_token_seconds=seconds if first is None else first,
            seconds=seconds,
            cut_off=cut_off,
        )


def _finish_reason(metadata: Mapping[str, Any]) -> str | None:
    """Why a reply ended, where its provider says so under one of the usual names."""
    names = ("finish_reason", "stop_reason", "done_reason", "stopReason")
    return next((str(metadata[name]) for name in names if metadata.get(name)), None)


def _secret(arguments: Mapping[Any, Any]) -> str | None:
    """The name of the first argument that is a secret, or has one; None without any."""
    for name, value in arguments.items():
        if _SECRET.search(str(name).replace("-", "_")):
            return str(name)
        inner = value if isinstance(value, (list, tuple)) else [value]
        for within in (_secret(one) for one in inner if isinstance(one, Mapping)):
            if within is not None:
                return f"{name}.{within}"
    return None


def _unbound(model: Any) -> tuple[BaseChatModel, dict[str, Any]]:
    """A chat model without the arguments that are bound to it, and these."""
    try:
        from langchain_core.language_models import BaseChatModel
        from langchain_core.runnables.base import RunnableBindingBase
    except ImportError as error:
        raise MissingExtraError("an LLM", "qa") from error
    inner: Any = model
    bound: dict[str, Any] = {}
    while isinstance(inner, RunnableBindingBase):
        bound = {**inner.kwargs, **bound}
        inner = inner.bound
    if not isinstance(inner, BaseChatModel):
        raise InvalidInputError(
            "an LLM must be a ChatModel, a chat model of LangChain, or a specification such as "
            f"'openai:gpt-4.1-mini', got {shown(model)}"
        )
    return inner, bound


def _fingerprint(model: BaseChatModel, bound: Mapping[str, Any]) -> str:
    """A hash of what tells apart two chat models: class, fields and bound arguments, without secrets."""
    kind = type(model)
    fields = model.model_dump(
        mode="json", exclude=set(model.lc_secrets), fallback=_text, serialize_as_any=True, warnings=False
    )
    arguments = to_jsonable_python(bound, fallback=_text, serialize_as_any=True)
    return content_key(f"{kind.__module__}.{kind.__qualname__}", fields, arguments).hex()[:16]


def _text(value: Any) -> str:
    """A value as text, without the address of an object, which another process does not share."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))


def _load(model: str, url: str | None, parameters: Mapping[str, Any]) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise MissingExtraError("an LLM by its name", "qa") from error
    if url is None:
        try:
            loaded: BaseChatModel = init_chat_model(model, **parameters)
        except (
            Exception
        ) as error:  # an unknown provider, its missing package, a missing key, a wrong argument
            raise InvalidInputError(f"llm {model!r} could not be loaded: {error}") from error
        return loaded
    try:
        from langchain_openai import ChatOpenAI
    except ImportError as error:
        raise MissingExtraError("an LLM by its URL", "qa") from error
    # Servers of one's own have no keys, but the client wants one.
    key = os.environ.get("OPENAI_API_KEY") or "none"
    try:
        given: dict[str, Any] = {"api_key": key, "stream_usage": True, **_for_any_server(parameters)}
        return ChatOpenAI(model=model, base_url=url, **given)
    except Exception as error:  # a wrong argument
        raise InvalidInputError(f"llm {model!r} could not be loaded: {error}") from error


def _for_any_server(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the limit of tokens under both of its names.

    The client renames `max_tokens` to `max_completion_tokens`, which some servers ignore.
    """
    if "max_tokens" not in parameters:
        return dict(parameters)
    body = {"max_tokens": parameters["max_tokens"], **(parameters.get("extra_body") or {})}
    return {**parameters, "extra_body": body}


def estimated_tokens(texts: Sequence[str]) -> int:
    """The tokens of texts, as the bundled model's tokenizer counts them.

    An LLM's tokenizer counts others, by a factor that is much the same for all prompts.
    """
    return sum(map(len, _tokenizer().tokenize(texts)))


@cache
def _tokenizer() -> PairTokenizer:
    return PairTokenizer.from_directory(BUNDLED)
