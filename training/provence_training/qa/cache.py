"""The replies of LLMs, on disk, so that an interrupted run continues where it left off."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from provence_rag.errors import InvalidInputError
from provence_training.cache import content_key
from provence_training.qa.llm import ChatModel, Reply
from provence_training.qa.prompts import Messages

__all__ = ["CachedChat", "ReplyStore"]


_BEGINNING = b'{"key": "'
"""The first bytes of a stored reply, by which one that was cut off is told from the line of another file."""


class ReplyStore:
    """A file of JSON Lines with one reply a line, each stored as it comes. Threads may share a store.

    Args:
        path: The file; it is created with the first reply. None stores in memory only.

    Raises:
        InvalidInputError: The path is a directory, or a file that cannot be read or holds something else.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._replies: dict[str, Reply] = {}
        if path is None:
            return
        for number, line in enumerate(_lines(path), 1):
            try:
                entry = json.loads(line)
                self._replies[entry["key"]] = Reply(**entry["reply"])
            except (ValueError, KeyError, TypeError) as error:
                # A line may have been cut off when the process died.
                if isinstance(error, ValueError) and line[: len(_BEGINNING)] == _BEGINNING[: len(line)]:
                    continue
                raise InvalidInputError(
                    f"{path}:{number}: is not a stored reply: give another file for the cache"
                ) from error

    def get(self, key: str) -> Reply | None:
        """The reply with a key, if it is stored."""
        return self._replies.get(key)

    def add(self, key: str, reply: Reply, about: dict[str, Any]) -> None:
        """Store a reply, with what a reader of the file wants to know about it."""
        line = json.dumps({"key": key, **about, "reply": asdict(reply)})  # ASCII: lone surrogates are escaped
        with self._lock:
            self._replies[key] = reply
            if self._path is None:
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                # First end a line that was cut off.
                file.write(b"\n" * bool(file.tell()) + line.encode())


def _lines(path: Path) -> list[bytes]:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not folder.is_dir():
        raise InvalidInputError(
            f"cache must be a file, got {str(path)!r}: {path if path.is_dir() else folder} is "
            f"{'a directory' if path.is_dir() else 'no directory'}"
        )
    try:
        return path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise InvalidInputError(f"cache {str(path)!r} could not be read: {error}") from error


class CachedChat:
    """A chat model that is asked only for replies that are not stored. Threads may share one.

    A reply is found by the model's name, its parameters and the messages. Errors are not stored.
    """

    def __init__(self, model: ChatModel, store: ReplyStore) -> None:
        self._model = model
        self._store = store
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}

    def stored(self, messages: Messages) -> Reply | None:
        """The reply, if it is stored."""
        return self._store.get(self._key(messages))

    def ask(self, messages: Messages) -> Reply:
        """The stored reply, or the model's."""
        key = self._key(messages)
        with self._lock:
            asking = self._asking.setdefault(key, threading.Lock())
        with asking:  # the same messages are sent once, even by several threads
            reply = self._store.get(key)
            if reply is None:
                reply = self._model.ask(messages)
                about = {
                    "model": self._model.name,
                    "parameters": self._model.parameters,
                    "messages": messages,
                }
                self._store.add(key, reply, about)
            return reply

    def _key(self, messages: Messages) -> str:
        return content_key(self._model.name, self._model.parameters, messages).hex()
