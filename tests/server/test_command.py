"""`provence serve`, as a process: it starts, answers, and ends without losing anything."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from provence_rag import InvalidInputError, Provence, ProvenceError, RemoteError, RemoteProvence
from provence_rag.server import ServerSettings, command, create_app
from provence_rag.server.hosts import is_accepted

QUERY = "Who invented the paper coffee filter?"
PASSAGE = "Melitta Bentz patented the paper coffee filter in 1908. A medium grind suits most beans."
PROGRAM = "import typer; from provence_rag.server.command import serve; typer.run(serve)"


class Process:
    """A running server, and what it says."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "--port", "0", "--threads", "1", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        self.lines.extend(iter(self._process.stderr.readline, ""))

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def address(self) -> str:
        """Where it listens, once it does."""
        deadline = time.monotonic() + 120
        while not (found := re.search(r"running on (http://\S+)", self.log)):
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        while True:  # workers start after that
            try:
                httpx.get(f"{found[1]}/ready", timeout=10).raise_for_status()
                return found[1]
            except httpx.TransportError:
                assert time.monotonic() < deadline, self.log
                time.sleep(0.1)

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        code = self._process.wait(60)
        self._reader.join(60)
        assert not self._reader.is_alive(), "a worker goes on"
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self.wait()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    running: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        running.append(Process(*arguments, **environment))
        return running[-1]

    yield start
    for process in running:
        process.kill()


def test_what_was_accepted_is_answered_before_the_end(start: Callable[..., Process]) -> None:
    process = start(PROVENCE_API_KEYS="first, second")
    address = process.address()
    client = httpx.Client(base_url=address, headers={"Authorization": "Bearer second"}, timeout=120)
    (expected,) = Provence.from_pretrained().process(QUERY, [PASSAGE])
    documents = [f"{PASSAGE} {number}" for number in range(20)]

    def ask(number: int) -> Any:
        return client.post("/v1/prune", json={"query": QUERY, "documents": [PASSAGE, *documents]})

    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(ask, number) for number in range(6)]
        while float(re.findall(r"^provence_queue_requests (\S+)", client.get("/metrics").text, re.M)[0]) < 3:
            time.sleep(0.01)
        process.terminate()
        for future in waiting:
            result = future.result().json()["results"][0]
            assert (result["text"], result["score"]) == (expected.text, expected.score)
    client.close()
    assert process.wait() in (0, -signal.SIGTERM)
    assert "Melitta" not in process.log
    assert "Traceback" not in process.log


def test_workers_add_up_what_they_count(start: Callable[..., Process], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# ours\n\n  # of the team\nfirst\n")
    process = start("--workers", "2", "--api-keys-file", str(keys), "--max-documents", "3")
    address = process.address()
    body = {"query": QUERY, "documents": [PASSAGE]}
    headers = {"Authorization": "Bearer first"}
    for _ in range(4):  # on connections of their own, so that both workers may serve
        assert httpx.post(f"{address}/v1/prune", json=body, headers=headers, timeout=60).status_code == 200
    assert httpx.post(f"{address}/v1/prune", json=body, timeout=60).status_code == 401
    assert httpx.get(f"{address}/info", headers=headers, timeout=60).json()["limits"]["max_documents"] == 3
    page = httpx.get(f"{address}/metrics", headers=headers, timeout=60).text
    assert re.search(r'provence_requests_total\{api="/v1/prune",status="200"\} 4\.0', page)
    process.terminate()
    assert process.wait() in (0, -signal.SIGTERM)
    assert "Traceback" not in process.log


KILLED = """
import subprocess, sys
from provence_rag.server.metrics import Metrics

metrics = Metrics()
metrics.queue(1, 10)
metrics.answered(passages=1, tokens_in=2, tokens_out=1)
if len(sys.argv) == 1:
    child = subprocess.run([sys.executable, __file__, "killed"])
    assert child.returncode == -9
    print(metrics.page().decode())
else:
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_what_waited_in_a_killed_worker_is_no_longer_counted(tmp_path: Path) -> None:
    script, folder = tmp_path / "killed.py", tmp_path / "metrics"
    script.write_text(KILLED)
    folder.mkdir()
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True
    )
    assert re.findall(r"^provence_queue_(?:requests|characters) (\S+)$", done.stdout, re.M) == ["1.0", "10.0"]
    assert re.findall(r"^provence_passages_total (\S+)$", done.stdout, re.M) == ["2.0"]


class Asking:
    """Clients that ask for as long as the block lasts, each time for other texts."""

    def __init__(self, url: str, local: Provence, clients: int) -> None:
        self.right, self.wrong, self.errors = 0, [], []
        self._url, self._local = url, local
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def _ask(self, client: int) -> None:
        remote = RemoteProvence(self._url, timeout=60, retries=4)
        for number in count():
            if self._over.is_set():
                return
            query = f"fox {client}{number}"
            texts = [f"The {query} sleeps. " * (1 + number % 3), f"A cat is in tree {number}."]
            try:
                found = remote.process(query, texts)
            except RemoteError as error:
                self.errors.append(error)
                continue
            expected = self._local.process(query, texts)
            for one, other in zip(found, expected, strict=True):
                if one.text != other.text or one.score != pytest.approx(other.score, abs=1e-6):
                    self.wrong.append((query, one, other))
            self.right += 1

    def wait_for_more(self) -> None:
        """Until there are answers to requests that were sent after now."""
        goal, deadline = self.right + 3 * len(self._threads), time.monotonic() + 120
        while self.right < goal:
            assert time.monotonic() < deadline, self.errors
            time.sleep(0.01)

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_what_is_killed_gives_no_wrong_answer(start: Callable[..., Process], checkpoint: Path) -> None:
    process = start("--workers", "2", "--model", str(checkpoint))
    address = process.address()
    options = ("--workers", "2", "--model", str(checkpoint), "--port", address.rpartition(":")[2])
    with Asking(address, Provence.from_pretrained(checkpoint), clients=4) as asking:
        asking.wait_for_more()
        workers = re.findall(r"Started server process \[(\d+)\]", process.log)
        os.kill(int(workers[0]), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while f"Child process [{workers[0]}] died" not in process.log:  # another one takes its place
            assert time.monotonic() < deadline, process.log
            time.sleep(0.01)
        asking.wait_for_more()

        process.kill()  # returns once its workers have gone, too
        start(*options).address()
        asking.wait_for_more()
    assert asking.wrong == []


def invoke(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[str, ServerSettings, dict[str, Any]]:
    """What `provence serve` says, and with which settings and arguments of uvicorn it would start."""
    started: list[Any] = []
    monkeypatch.setattr(command, "_run_one", lambda *given: started.extend(given))
    app = typer.Typer()
    app.command()(command.serve)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return (result.stderr, *started)


def test_a_server_for_others_without_keys_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROVENCE_API_KEYS", raising=False)
    for own in ("127.0.0.1", "localhost", "::1", "127.0.0.2"):
        assert invoke(monkeypatch, "--host", own)[0] == ""
    assert invoke(monkeypatch)[2]["host"] == "127.0.0.1"
    assert "everybody who reaches 0.0.0.0 may use this server" in invoke(monkeypatch, "--host", "0.0.0.0")[0]
    monkeypatch.setenv("PROVENCE_API_KEYS", "secret")
    assert invoke(monkeypatch, "--host", "0.0.0.0")[0] == ""


def test_names_that_the_server_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    def allowed(*arguments: str) -> tuple[str, ...]:
        return invoke(monkeypatch, *arguments)[1].allowed_hosts

    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port: resolve("127.0.1.1" if host == "desk" else host, port)
    )
    monkeypatch.delenv("PROVENCE_API_KEYS", raising=False)
    assert allowed("--host", "desk") == ("desk",)  # a name of this machine, as in /etc/hosts
    assert allowed("--host", "0.0.0.0") == ()
    names = ("--allowed-host", "a.example", "--allowed-host", "*.b.example")
    assert allowed("--host", "0.0.0.0", *names) == ("a.example", "*.b.example", "0.0.0.0")
    monkeypatch.setenv("PROVENCE_API_KEYS", "secret")
    assert allowed("--host", "desk") == ()
    assert allowed("--host", "desk", *names) == ("a.example", "*.b.example", "desk")


def test_the_image_answers_to_no_name_that_a_page_makes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # A published port of 127.0.0.1 leads to another address of the container, so that is no loopback.
    dockerfile = Path(__file__).parents[2] / "examples" / "serving" / "Dockerfile"
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.+)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    options = json.loads(entrypoint)[2:]
    monkeypatch.delenv("PROVENCE_API_KEYS", raising=False)
    for more, name, is_allowed in (
        ((), "evil.example:8000", False),
        ((), "localhost:8000", True),
        ((), "127.0.0.1:8000", True),
        (("--allowed-host", "rerank.example"), "rerank.example:8000", True),
        (("--allowed-host", "*"), "evil.example:8000", True),
    ):
        patterns = invoke(monkeypatch, *options, *more)[1].allowed_hosts
        assert patterns
        assert is_accepted(name, patterns) is is_allowed


def test_keys_file_may_have_indented_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROVENCE_API_KEYS", raising=False)
    keys = tmp_path / "keys"
    keys.write_text("# ours\n  first\n\t# old:\n  #second\n")
    settings = invoke(monkeypatch, "--api-keys-file", str(keys))[1]
    assert [key.get_secret_value() for key in settings.api_keys] == ["first"]


def test_scores_are_kept_in_a_file(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.db"
    settings = invoke(monkeypatch, "--model", str(checkpoint), "--score-cache", str(path))[1]
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        body = {"query": QUERY, "documents": [PASSAGE]}
        assert client.post("/v1/prune", json=body).status_code == 200
        with sqlite3.connect(path) as connection:
            (before,) = connection.execute("SELECT count(*) FROM scores").fetchone()
            assert client.post("/v1/prune", json=body).status_code == 200
            (after,) = connection.execute("SELECT count(*) FROM scores").fetchone()
    assert before == after > 0


@pytest.mark.skipif(os.name != "posix", reason="needs modes of files")
def test_the_keys_that_workers_read_are_for_this_user_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[int, Any]] = []

    def run(*_: Any, **__: Any) -> None:
        path = Path(os.environ["PROVENCE_SERVER_SETTINGS"])
        found.append((path.stat().st_mode & 0o777, json.loads(path.read_text())["api_keys"]))

    monkeypatch.setattr("uvicorn.run", run)
    monkeypatch.setenv("PROVENCE_API_KEYS", "secret")
    for name in ("PROVENCE_SERVER_SETTINGS", "PROMETHEUS_MULTIPROC_DIR"):
        monkeypatch.setenv(name, "")  # so that what the command sets is undone
    before = os.umask(0)
    try:
        command.serve(workers=2)
    finally:
        os.umask(before)
    assert found == [(0o600, ["secret"])]


def test_settings_that_cannot_be_used_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, missing = tmp_path / "empty", tmp_path / "missing"
    empty.write_text("# nothing\n")
    for arguments, message in (
        ({"allowed_host": ["https://a.example"]}, "--allowed-host: an allowed host is a name"),
        ({"max_documents": 0}, "--max-documents must be at least 1, got 0"),
        ({"max_length": 3}, "--max-length must be at least"),
        ({"timeout": 0.0}, "--timeout must be above 0"),
        ({"backend": "tpu"}, "--backend must be 'auto', "),
        ({"backend": "onnx", "dtype": "bfloat16"}, "dtype must be one of int8, float32"),
        ({"log_level": "foo"}, "--log-level must be one of critical, error, warning, info, debug, trace"),
        ({"timeout": math.inf}, "--timeout must be a finite number, got Infinity"),
        ({"model": "http://127.0.0.1:9"}, "--model: a model on a server cannot be served again"),
        ({"score_cache": ""}, "score_cache must be the path of a file, got ''"),
        ({"model": "/no/such/folder"}, "'/no/such/folder' is neither a directory nor"),
        ({"api_keys_file": empty}, "has no key"),
        ({"api_keys_file": missing}, "cannot be read"),
    ):
        with pytest.raises(ProvenceError, match=re.escape(message)) as problem:
            command.serve(**arguments)
        assert not re.search("Value error|Input should", str(problem.value))
    monkeypatch.setenv("PROVENCE_API_KEYS", "schlüssel")
    with pytest.raises(InvalidInputError, match="must be of printable ASCII") as caught:
        command.serve()
    assert "schlüssel" not in str(caught.value)
