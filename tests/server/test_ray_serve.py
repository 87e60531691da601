"""The example for Ray Serve, on a real Ray on this machine."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from provence_rag import Provence, RemoteProvence

ROOT = Path(__file__).parents[2]
QUERY = "Who invented the paper coffee filter?"
TEXTS = [
    "Melitta Bentz patented the paper coffee filter in 1908. A medium grind suits most beans.",
    "Owls fly.",
]

# Ray and what it starts warn of themselves.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def serve() -> Iterator[Any]:
    """Ray Serve, listening at `serve.address`."""
    serve = pytest.importorskip("ray.serve", exc_type=ImportError)
    import ray

    ray.init(
        address="local",
        num_cpus=4,  # one each for the controller and the proxy
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        runtime_env={
            "env_vars": {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        },
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.address = f"http://127.0.0.1:{port}"
    yield serve
    serve.shutdown()
    ray.shutdown()


def test_replicas_answer_like_the_model(serve: Any) -> None:
    from examples.serving.ray_serve import Arguments, app

    # The command of the guide, with fewer replicas, and with a limit.
    guide = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^serve run examples\.serving\.ray_serve:app (.+)$", guide, re.MULTILINE)
    given = dict(word.split("=") for word in line.split())
    assert Arguments.model_validate(given).max_replicas == int(given["max_replicas"])
    fewer = {"max_replicas": "2", "threads": "1", "max_documents": "7"}
    serve.run(app(Arguments.model_validate({**given, **fewer})), name="provence")
    deployment = serve.status().applications["provence"].deployments["Provence"]
    assert deployment.replica_states == {"RUNNING": 2}

    local = Provence.from_pretrained(threads=1)
    expected = local.process(QUERY, TEXTS)
    with httpx.Client(base_url=serve.address, timeout=60) as client:
        answer = client.post("/rerank", json={"query": QUERY, "texts": TEXTS})
        assert answer.status_code == 200
        scores = {one["index"]: one["score"] for one in answer.json()}
        assert scores == pytest.approx({one.index: one.score for one in expected}, abs=1e-5)
        answer = client.post("/v1/prune", json={"query": QUERY, "documents": TEXTS})
        assert [one["text"] for one in answer.json()["results"]] == [one.text for one in expected]
        assert client.post("/v1/prune", json={"query": QUERY}).status_code == 422
        lines = client.post(
            "/v1/prune",
            json={"query": [QUERY] * 2, "documents": [TEXTS, TEXTS[:1]]},
            headers={"Accept": "application/x-ndjson"},
        ).text.splitlines()
        assert len(lines) == 2
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 421
    remote = RemoteProvence(serve.address)
    assert remote.config == local.config
    many = [*TEXTS] * 10  # in several requests
    found, there = (model.process(QUERY, many) for model in (local, remote))
    assert [one.text for one in found] == [one.text for one in there]
    assert [one.score for one in found] == pytest.approx([one.score for one in there], abs=1e-5)
