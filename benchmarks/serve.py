"""How a server bears load, on this machine: latency, throughput, saturation, and an end in the middle of it.

python -m benchmarks.serve passages.jsonl.gz
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.common import RESULTS, Data, Output, data_name, read_pairs, run
from benchmarks.probes import answers_in_process
from benchmarks.processes import in_fresh_process
from benchmarks.report import Figure, Report

__all__ = ["main"]

_DESCRIPTION = """`provence serve` on 127.0.0.1 with the bundled model, int8 with ONNX Runtime, and clients
that each ask again as soon as they are answered. A request is a question with {passages} passages from
{data}, to `POST /v1/prune`. Clients, written in Python, share the cores with the server. In process means
the same requests in a loop, each result as JSON. Saturated means 64 clients at a server in whose queue 8
requests fit. In the restart, a server with 8 clients gets SIGTERM, and its successor listens at the same
port."""

_CLIENTS = (1, 4, 16, 64)
_WARM_UP = b'{"query": "Is it ready?", "documents": ["The server is ready. It has read this."]}'


@dataclass
class Load:
    """What clients saw."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Of answers with status 200."""

    statuses: dict[int, int] = field(default_factory=dict)
    retry_after: int = 0
    """Refusals that said when to come back."""

    dropped: int = 0
    """Requests whose connection ended without an answer."""

    @property
    def answers(self) -> int:
        """Answers with status 200."""
        return len(self.latencies)

    def percentile(self, q: float) -> float:
        """Of the latencies, in milliseconds."""
        return 1000 * float(np.percentile(self.latencies, q))


def main(
    data: Data,
    *,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of each load.")] = 10.0,
    passages: Annotated[int, typer.Option(min=1, help="Passages of a request.")] = 10,
    runs: Annotated[int, typer.Option(min=1, help="Runs that medians are taken over.")] = 3,
    output: Output = RESULTS,
) -> None:
    """Measure a server with 1 to 64 clients, beside the same work in process."""
    bodies = requests_of(read_pairs(data, 20 * passages), passages)
    texts = [body.decode() for body in bodies]
    small = requests_of(read_pairs(data, 60), 2)
    alone: list[float] = []
    loads: dict[int, list[Load]] = {clients: [] for clients in _CLIENTS}
    sharing: list[float] = []
    for _ in range(runs):
        alone.append(in_fresh_process(answers_in_process, texts, seconds)[0])
        with serving() as port:
            for clients in _CLIENTS:
                loads[clients].append(ask(port, bodies, clients, seconds))
            apart = ask(port, small, 16, seconds)
        with serving("--share-batches") as port:
            together = ask(port, small, 16, seconds)
        sharing.append(together.answers / together.seconds / (apart.answers / apart.seconds))
    figures = [Figure("in process, requests", alone, "1/s")]
    for clients, own in loads.items():
        rates = [one.answers / one.seconds for one in own]
        name = "1 client" if clients == 1 else f"{clients} clients"
        figures += [Figure(f"{name}, requests", rates, "1/s")]
        figures += [Figure(f"{name}, p{q}", [one.percentile(q) for one in own], "ms") for q in (50, 95, 99)]
        ratios = [rate / base for rate, base in zip(rates, alone, strict=True)]
        goal = 0.9 if clients > 1 else None
        figures += [Figure(f"{name} / in process, requests", ratios, at_least=goal)]
    figures += [Figure("two passages, 16 clients: sharing batches / not, requests", sharing)]
    figures += [*saturated(bodies, seconds), *restarted(bodies, seconds)]
    Report(
        name=f"serve-{data_name(data)}",
        description=_DESCRIPTION.format(data=data_name(data), passages=passages),
        figures=figures,
    ).save(output)


def requests_of(pairs: Sequence[tuple[str, str]], passages: int) -> list[bytes]:
    """Bodies of requests: each with the question of its first passage."""
    groups = [pairs[i : i + passages] for i in range(0, len(pairs) - passages + 1, passages)]
    bodies = [{"query": group[0][0], "documents": [text for _, text in group]} for group in groups]
    return [json.dumps(body).encode() for body in bodies]


def saturated(bodies: Sequence[bytes], seconds: float) -> list[Figure]:
    """What becomes of more requests than fit."""
    room = 8 * max(map(len, bodies))
    with serving("--queue-characters", str(room)) as port:
        found = ask(port, bodies, 64, seconds)
    refused = found.statuses.get(429, 0)
    others = sum(found.statuses.values()) - found.answers - refused
    return [
        Figure("saturated, answered", [found.answers / found.seconds], "1/s"),
        Figure("saturated, p95 of those answered", [found.percentile(95)], "ms"),
        Figure("saturated, refused with Retry-After", [100 * found.retry_after / max(1, refused)], "%"),
        Figure("saturated, other statuses, or no answer", [others + found.dropped], at_most=0),
    ]


def restarted(bodies: Sequence[bytes], seconds: float) -> list[Figure]:
    """What a restart in the middle of a load loses."""
    port = free_port()
    first = start(port)
    successors: list[subprocess.Popen[str]] = []

    async def replace() -> None:
        await asyncio.sleep(seconds / 3)
        first.send_signal(signal.SIGTERM)
        await asyncio.to_thread(first.wait)
        successors.append(await asyncio.to_thread(start, port))

    try:
        found = ask(port, bodies, 8, seconds, meanwhile=replace)
    finally:
        for process in (first, *successors):
            end(process)
    others = sum(found.statuses.values()) - found.answers
    return [
        Figure("restart, answered", [found.answers]),
        Figure("restart, sent whole and not answered", [found.dropped], at_most=0),
        Figure("restart, other statuses", [others], at_most=0),
    ]


# --- servers ---------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def start(port: int, *arguments: str) -> subprocess.Popen[str]:
    """A server that is ready."""
    code = "import typer; from provence_rag.server.command import serve; typer.run(serve)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--port", str(port), "--log-level", "warning", *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)):
                return process
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"the server did not start: {process.communicate()[1]}") from None
            time.sleep(0.05)


def end(process: subprocess.Popen[str]) -> None:
    """Ask a server to end, and wait for it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)


@contextmanager
def serving(*arguments: str) -> Iterator[int]:
    """A server while the block runs; its port."""
    process = start(port := free_port(), *arguments)
    try:
        ask(port, [_WARM_UP], 1, 0.1)
        yield port
    finally:
        end(process)


# --- clients ---------------------------------------------------------------------------------------------


def ask(
    port: int,
    bodies: Sequence[bytes],
    clients: int,
    seconds: float,
    *,
    meanwhile: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> Load:
    """Let clients ask for some time, each one request after the other.

    Args:
        port: Where the server is.
        bodies: Of the requests, in turn.
        clients: How many ask at a time.
        seconds: How long they begin new requests.
        meanwhile: What else happens.
    """
    return asyncio.run(_ask(port, bodies, clients, seconds, meanwhile))


async def _ask(
    port: int,
    bodies: Sequence[bytes],
    clients: int,
    seconds: float,
    meanwhile: Callable[[], Coroutine[Any, Any, None]] | None,
) -> Load:
    found = Load()
    start = time.perf_counter()
    clients_at_work = [
        _client(port, [*bodies[i:], *bodies[:i]], found, start + seconds) for i in range(clients)
    ]
    await asyncio.gather(*clients_at_work, *([meanwhile()] if meanwhile else []))
    found.seconds = time.perf_counter() - start
    return found


async def _client(port: int, bodies: Sequence[bytes], found: Load, end: float) -> None:
    """Ask again and again, on one connection as long as it holds."""
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for body in cycle(bodies):
        if time.perf_counter() >= end:
            break
        begun = time.perf_counter()
        try:
            if connection is None:
                connection = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # nobody listens between a server and its successor
            await asyncio.sleep(0.02)
            continue
        try:
            status, headers = await _post(*connection, body)
        except (OSError, asyncio.IncompleteReadError):
            found.dropped += 1
            connection[1].close()
            connection = None
            continue
        found.statuses[status] = found.statuses.get(status, 0) + 1
        if status == 200:
            found.latencies.append(time.perf_counter() - begun)
        elif "retry-after:" in headers:
            found.retry_after += 1
            await asyncio.sleep(0.1)  # not as long as it says: the server is to stay full
        if "connection: close" in headers:
            connection[1].close()
            connection = None
    if connection is not None:
        connection[1].close()


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> tuple[int, str]:
    """Status and headers, in lower case, of the answer to a request."""
    head = "POST /v1/prune HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    headers = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = re.search(r"content-length: (\d+)", headers)
    await reader.readexactly(int(length[1]) if length else 0)
    return int(headers.split(" ", 2)[1]), headers


if __name__ == "__main__":
    run(main)
