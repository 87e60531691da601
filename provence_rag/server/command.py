"""`provence serve`. It is loaded by the command line, so it imports nothing of that."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
from multiprocessing import parent_process
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from provence_rag.backends import BackendName
from provence_rag.errors import InvalidInputError, MissingExtraError
from provence_rag.server import defaults
from provence_rag.server.hosts import is_loopback

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from fastapi import FastAPI

    from provence_rag.server import ServerSettings

__all__ = ["serve", "worker"]

_KEYS = "PROVENCE_API_KEYS"
"""Environment variable with API keys, separated by commas or white space."""

_WORKER = "PROVENCE_SERVER_SETTINGS"
"""Environment variable by which worker processes find the settings."""

_OPTIONS = {"allowed_hosts": "--allowed-host", "api_keys": f"{_KEYS} or --api-keys-file"}
"""What settings are called on the command line, where that is not their name."""

_LOG_LEVELS = ("critical", "error", "warning", "info", "debug", "trace")


def serve(
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME|PATH", help="Checkpoint; the bundled one by default."),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(metavar="|".join(get_args(BackendName)), help="Engine that runs the model."),
    ] = "auto",
    device: Annotated[str | None, typer.Option(help="Device of the model, such as cpu or cuda:0.")] = None,
    dtype: Annotated[str | None, typer.Option(help="int8, float32, float16 or bfloat16.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Window length in tokens.")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads on a CPU, of each worker; one per core by default.")
    ] = None,
    score_cache: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="SQLite file of scores: no passage is read twice for a question."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with a model of its own.")] = 1,
    host: Annotated[
        str, typer.Option(help="Address to listen at; by default, this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 is any free one.")] = 8000,
    api_keys_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="API keys, one a line. Those of the environment variable PROVENCE_API_KEYS are added.",
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Name that requests may call the server by, beside localhost and IP addresses; may be "
            "repeated; * allows any.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds after which a request is cancelled.")
    ] = defaults.TIMEOUT,
    queue_characters: Annotated[
        int, typer.Option(help="Maximum number of characters in the queue.")
    ] = defaults.QUEUE_CHARACTERS,
    share_batches: Annotated[
        bool, typer.Option("--share-batches", help="Batch small requests together.")
    ] = False,
    max_body_bytes: Annotated[
        int, typer.Option(help="Maximum size of a request body, in bytes.")
    ] = defaults.MAX_BODY_BYTES,
    max_documents: Annotated[
        int, typer.Option(help="Maximum number of documents in a request.")
    ] = defaults.MAX_DOCUMENTS,
    max_document_characters: Annotated[
        int, typer.Option(help="Maximum length of a document, in characters.")
    ] = defaults.MAX_DOCUMENT_CHARACTERS,
    max_queries: Annotated[
        int, typer.Option(help="Maximum number of queries in a request.")
    ] = defaults.MAX_QUERIES,
    max_query_characters: Annotated[
        int, typer.Option(help="Maximum length of a query, in characters.")
    ] = defaults.MAX_QUERY_CHARACTERS,
    log_level: Annotated[
        str, typer.Option(metavar="|".join(_LOG_LEVELS), help="Least severe messages to log.")
    ] = "info",
) -> None:
    """Serve a model over HTTP: with the APIs of Cohere, Jina and text-embeddings-inference, and our own."""
    if log_level.lower() not in _LOG_LEVELS:
        raise InvalidInputError(f"--log-level must be one of {', '.join(_LOG_LEVELS)}, got {log_level!r}")
    given: dict[str, Any] = {
        "model": model,
        "device": device,
        "dtype": dtype,
        "revision": revision,
        "max_length": max_length,
        "threads": threads,
        "score_cache": score_cache,
        "timeout": timeout,
        "queue_characters": queue_characters,
        "max_body_bytes": max_body_bytes,
        "max_documents": max_documents,
        "max_document_characters": max_document_characters,
        "max_queries": max_queries,
        "max_query_characters": max_query_characters,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    keys = _read_keys(api_keys_file)
    is_open = not keys and not _is_loopback(host)
    # Where names are checked, that of --host is one of them.
    own = [host] if host and (allowed_host or not (keys or is_open)) else []
    chosen |= {"backend": backend, "share_batches": share_batches, "api_keys": keys}
    settings = _settings({**chosen, "allowed_hosts": [*(allowed_host or []), *own]})
    if is_open:
        message = f"everybody who reaches {host} may use this server: set {_KEYS} or --api-keys-file"
        typer.echo(f"provence: warning: {message}", err=True)
    running = {
        "host": host,
        "port": port,
        "log_level": log_level,
        "server_header": False,
        # What was accepted is answered; beyond its deadline, nothing is.
        "timeout_graceful_shutdown": math.ceil(settings.timeout) + 5,
    }
    if workers == 1:
        _run_one(settings, running)
    else:
        _run_several(settings, keys, workers, running)


def worker() -> FastAPI:
    """The application of a worker process."""
    if (parent := parent_process()) is not None:
        Thread(target=_end_after, args=(parent,), daemon=True).start()
    from provence_rag.server import create_app

    return create_app(_settings(json.loads(Path(os.environ[_WORKER]).read_text(encoding="utf-8"))))


def _end_after(parent: BaseProcess) -> None:
    """Stop this worker if the process that started it was killed: it would hold the port, unsupervised."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _run_one(settings: ServerSettings, running: dict[str, Any]) -> None:
    uvicorn = _uvicorn()
    from provence_rag.server import create_app

    _ = settings.provence  # a checkpoint that cannot be used is one line, not the trace of a server's start
    uvicorn.run(create_app(settings), **running)


def _run_several(
    settings: ServerSettings, keys: tuple[str, ...], workers: int, running: dict[str, Any]
) -> None:
    # Workers are started afresh, not forked. They exchange settings and metrics in a folder of this user.
    uvicorn = _uvicorn()
    _ = settings.model_copy(deep=True).provence  # as above; the copy, and its model, are dropped
    with TemporaryDirectory(prefix="provence-serve-") as directory:
        path = Path(directory) / "settings.json"
        values = settings.model_dump(mode="json", exclude={"api_keys"}, exclude_unset=True)
        path.touch(mode=0o600)  # before the keys are in it
        path.write_text(json.dumps({**values, "api_keys": keys}), encoding="utf-8")
        os.environ |= {_WORKER: str(path), "PROMETHEUS_MULTIPROC_DIR": directory}
        uvicorn.run("provence_rag.server.command:worker", factory=True, workers=workers, **running)


def _settings(values: dict[str, Any]) -> ServerSettings:
    from provence_rag.server import ServerSettings

    try:
        return ServerSettings(**values)
    except ValueError as error:
        # pydantic's own message would quote the values.
        details: list[Any] = getattr(error, "errors", list)()
        raise InvalidInputError("; ".join(map(_problem, details)) or str(error)) from None


def _problem(error: dict[str, Any]) -> str:
    """What is wrong with a setting, by the name of its option."""
    from provence_rag.server.failures import described

    if not error["loc"]:  # several settings together
        return str(error["ctx"]["error"])
    name = str(error["loc"][0])
    return described(_OPTIONS.get(name, f"--{name.replace('_', '-')}"), error)


def _uvicorn() -> Any:
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise MissingExtraError("provence serve", "server") from error
    return uvicorn


def _read_keys(path: Path | None) -> tuple[str, ...]:
    """The API keys of a file, in which `#` begins a comment, and of the environment."""
    keys = os.environ.get(_KEYS, "").replace(",", " ").split()
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"--api-keys-file {str(path)!r} cannot be read: {error}") from error
        found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not found:
            raise InvalidInputError(f"--api-keys-file {str(path)!r} has no key")
        keys += found
    return tuple(keys)


def _is_loopback(host: str) -> bool:
    """Whether an address, or a name that leads to one, can be reached from this machine only."""
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):  # uvicorn will say that it cannot listen there
        return False
    return bool(host) and all(is_loopback(str(place[4][0])) for place in found)
