"""The replies of an LLM, on disk, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from provence_training.cache import content_key
from provence_training.qa.llm import ChatModel, Reply
from provence_training.qa.prompts import Messages

__all__ = ["CachedChat"]


class CachedChat:
    """A chat model whose replies are stored as they come. Threads may share one.

    A reply is found by the model's name, its parameters and the messages. Errors are not stored.

    Args:
        model: The model; None gives stored replies only.
        path: A file of JSON Lines, one a reply; it is created if missing. None stores nothing on disk.
    """

    def __init__(self, model: ChatModel, path: Path | None) -> None:
        self._model = model
        self._path = path
        self._lock = threading.Lock()
        self._replies: dict[str, Reply] = {}
        self._asking: dict[str, threading.Lock] = {}
        if path is not None and path.exists():
            for line in path.read_bytes().split(b"\n"):
                try:
                    entry = json.loads(line)
                except ValueError:  # the last line, if the process died while it was written
                    continue
                self._replies[entry["key"]] = Reply(**entry["reply"])

    def stored(self, messages: Messages) -> Reply | None:
        """The reply, if it is stored."""
        return self._replies.get(self._key(messages))

    def ask(self, messages: Messages) -> Reply:
        """The stored reply, or the model's."""
        key = self._key(messages)
        with self._lock:
            asking = self._asking.setdefault(key, threading.Lock())
        with asking:  # the same messages are sent once, even by several threads
            if key not in self._replies:
                reply = self._model.ask(messages)
                self._store(key, messages, reply)
                self._replies[key] = reply
            return self._replies[key]

    def _key(self, messages: Messages) -> str:
        return content_key(self._model.name, self._model.parameters, messages).hex()

    def _store(self, key: str, messages: Messages, reply: Reply) -> None:
        if self._path is None:
            return
        entry: Mapping[str, Any] = {
            "key": key,
            "model": self._model.name,
            "parameters": self._model.parameters,
            "messages": messages,
            "reply": asdict(reply),
        }
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                # First end a line that was cut off. Escapes, since lone surrogates cannot be encoded.
                file.write(b"\n" * bool(file.tell()) + json.dumps(entry).encode())
