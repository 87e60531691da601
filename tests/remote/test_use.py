"""Where a checkpoint can be named, a server can be: in the facade, in adapters, on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from provence_rag import CheckpointError, InvalidInputError, Provence, RemoteError, RemoteProvence

NOWHERE = "http://127.0.0.1:9"
QUERY = "Which filter was patented?"
TEXTS = ["The filter was patented in 1908. It is round.", "Tea is hot. It rains."]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backend", "onnx"),
        ("device", "cpu"),
        ("dtype", "int8"),
        ("max_length", 0),
        ("threads", 1),
        ("chunker", str.splitlines),
        ("revision", "main"),
        ("cache_folder", "/tmp"),
        ("local_files_only", True),
        ("token", "hf_secret"),
    ],
)
def test_how_a_checkpoint_is_loaded_is_not_said_to_a_server(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError) as error:
        Provence.from_pretrained(NOWHERE, **{name: value})
    message = (
        f"{name} cannot be set for a model on a server, which has loaded it: set it when you start the server"
    )
    assert str(error.value) == message


def test_a_checkpoint_has_no_api_key() -> None:
    with pytest.raises(InvalidInputError) as error:
        Provence.from_pretrained(api_key="secret-key")
    assert str(error.value) == (
        "api_key is for a model on a server: give its URL as name_or_path, got None "
        "(a token for the hub is token)"
    )


@pytest.mark.parametrize("name", ["engine", "backend"])
def test_what_is_on_the_server_only(fake_url: str, name: str) -> None:
    model = Provence.from_pretrained(fake_url)
    assert isinstance(model, RemoteProvence)
    message = f"^{name} is not available for a model on a server \\({fake_url}\\): load its checkpoint here$"
    with pytest.raises(InvalidInputError, match=message):
        getattr(model, name)
    with pytest.raises(InvalidInputError, match=r"^save_pretrained is not available"):
        model.save_pretrained("somewhere")


@pytest.mark.parametrize("path", ["/v1", "/v2/rerank"])
def test_the_path_of_an_api_is_not_part_of_the_url(fake_url: str, path: str) -> None:
    with pytest.raises(RemoteError, match=r"status 404: .*the URL is that of the server alone"):
        Provence.from_pretrained(f"{fake_url}{path}")


def test_files_of_a_checkpoint_are_not_looked_for_on_a_server() -> None:
    from provence_rag.hub import checkpoint_directory

    with pytest.raises(
        CheckpointError, match="is the URL of a server: what is done here needs a checkpoint's"
    ):
        checkpoint_directory(NOWHERE)


def test_a_server_with_a_key(
    serve: Callable[..., str], fake: Provence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROVENCE_API_KEY", raising=False)
    url = serve(fake, api_keys=("secret-key",))
    assert Provence.from_pretrained(url, api_key="secret-key").count_tokens("a b") == 2
    for key, problem in ((None, "needs a key"), ("another-key", "does not know this key")):
        with pytest.raises(
            RemoteError, match=f"status 401: this server {problem}.*PROVENCE_API_KEY"
        ) as error:
            Provence.from_pretrained(url, api_key=key)
        assert "another-key" not in str(error.value)


def test_langchain(fake: Provence, fake_url: str) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document

    from langchain_provence import ProvenceCompressor, ProvenceCrossEncoder

    documents = [Document(text, metadata={"title": "Filters"}) for text in TEXTS]
    results = [
        ProvenceCompressor(model=model, top_n=1, title_key="title", threshold=0.3).compress_documents(
            documents, QUERY
        )
        for model in (fake_url, fake, Provence.from_pretrained(fake_url))
    ]
    assert results[0] == results[1] == results[2]
    assert results[0][0].page_content == "The filter was patented in 1908."
    pairs = [(QUERY, text) for text in TEXTS]
    assert ProvenceCrossEncoder(model=fake_url).score(pairs) == ProvenceCrossEncoder(model=fake).score(pairs)


def test_llama_index(fake: Provence, fake_url: str) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import NodeWithScore, TextNode

    from llama_index_provence import ProvencePostprocessor

    def nodes() -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=text, id_=text[:5])) for text in TEXTS]

    remote, local = (ProvencePostprocessor(model=m, max_tokens=8) for m in (fake_url, fake))
    found = remote.postprocess_nodes(nodes(), query_str=QUERY)
    assert found == local.postprocess_nodes(nodes(), query_str=QUERY)
    assert len(found) == 1
    loaded = ProvencePostprocessor.from_dict(remote.to_dict())
    assert loaded.postprocess_nodes(nodes(), query_str=QUERY) == found


def test_adapters_refuse_at_once_what_a_server_cannot_do() -> None:
    pytest.importorskip("langchain_core")
    from langchain_provence import ProvenceCompressor

    with pytest.raises(ValueError, match="threads, chunker cannot be set for a model on a server"):
        ProvenceCompressor(model=NOWHERE, threads=1, chunker=str.splitlines)
    with pytest.raises(ValueError, match="url must be like http://host:8000"):
        ProvenceCompressor(model="http://")
    with pytest.raises(TypeError, match=r"^api_key is no field.*PROVENCE_API_KEY") as error:
        ProvenceCompressor(model=NOWHERE, api_key="secret-key")
    assert "secret-key" not in str(error.value)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from provence_rag.cli import main; main()", *arguments]
    return subprocess.run(command, input=TEXTS[0], capture_output=True, text=True, check=False)


def test_the_command_line(fake: Provence, fake_url: str) -> None:
    done = run("prune", "-q", QUERY, "-m", fake_url, "--json")
    assert done.stderr == ""
    assert json.loads(done.stdout) == [passage.to_dict() for passage in fake.process(QUERY, TEXTS[:1])]
    done = run("rank", "-q", QUERY, "-m", fake_url, "--threads", "1")
    assert done.returncode == 2
    assert done.stderr.startswith("provence: threads cannot be set for a model on a server")


def test_a_local_model_needs_nothing_of_this() -> None:
    code = (
        "import sys; from provence_rag import Provence; Provence.from_pretrained(threads=1); "
        "print('provence_rag.remote' in sys.modules, 'fastapi' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
