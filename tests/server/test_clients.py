"""Clients that people have already: what they send is understood, and they understand what comes back."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from provence_rag import Provence

pytestmark = [  # some of them leave their connections open
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

QUERY = "When was the tower finished?"
TEXTS = ["Tea is hot.", "The tower was finished in 1889. Cats sleep.", "The tower is high."]


@pytest.fixture(autouse=True)
def connections_end_with_their_test() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def ranked(model: Provence) -> list[tuple[int, float]]:
    return [(entry["corpus_id"], entry["score"]) for entry in model.rank(QUERY, TEXTS)]


def test_cohere(address: str, ranked: list[tuple[int, float]]) -> None:
    cohere = pytest.importorskip("cohere")
    for client in (cohere.Client("secret", base_url=address), cohere.ClientV2("secret", base_url=address)):
        answer = client.rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS, top_n=2)
        assert [(result.index, result.relevance_score) for result in answer.results] == ranked[:2]
        assert answer.meta.tokens.input_tokens > 10
        with pytest.raises(cohere.UnprocessableEntityError) as caught:
            client.rerank(model="rerank-v3.5", query=" ", documents=TEXTS)
        assert "query is blank" in caught.value.body["message"]
    with pytest.raises(cohere.UnauthorizedError):
        cohere.ClientV2("wrong", base_url=address).rerank(model="m", query=QUERY, documents=TEXTS)


async def test_cohere_asynchronously_with_pruning(address: str, ranked: list[tuple[int, float]]) -> None:
    cohere = pytest.importorskip("cohere")
    async with cohere.AsyncClientV2("secret", base_url=address) as client:
        options = {"additional_body_parameters": {"prune": True}}
        requests = [
            client.rerank(model="m", query=QUERY, documents=TEXTS, request_options=options) for _ in range(5)
        ]
        for answer in await asyncio.gather(*requests):
            assert [result.index for result in answer.results] == [index for index, _ in ranked]
            assert answer.results[0].pruned_text == "The tower was finished in 1889."


def test_langchain(address: str, ranked: list[tuple[int, float]]) -> None:
    langchain_cohere = pytest.importorskip("langchain_cohere")
    compressor = langchain_cohere.CohereRerank(
        model="rerank-v3.5", base_url=address, cohere_api_key="secret", top_n=2
    )
    documents = [Document(text, metadata={"number": number}) for number, text in enumerate(TEXTS)]
    found = compressor.compress_documents(documents, QUERY)
    assert [(d.metadata["number"], d.metadata["relevance_score"]) for d in found] == ranked[:2]


def nodes() -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text, id_=str(n)), score=0.5) for n, text in enumerate(TEXTS)]


def test_llama_index_with_the_api_of_jina(address: str, ranked: list[tuple[int, float]]) -> None:
    jina = pytest.importorskip("llama_index.postprocessor.jinaai_rerank")
    postprocessor = jina.JinaRerank(base_url=f"{address}/v1", api_key="secret", top_n=2)
    found = postprocessor.postprocess_nodes(nodes(), query_str=QUERY)
    assert [(int(node.node_id), node.score) for node in found] == ranked[:2]
    refused = jina.JinaRerank(base_url=f"{address}/v1", api_key="wrong", top_n=2)
    with pytest.raises(RuntimeError, match="this server does not know this key"):
        refused.postprocess_nodes(nodes(), query_str=QUERY)


def test_llama_index_with_the_api_of_tei(address: str, ranked: list[tuple[int, float]]) -> None:
    tei = pytest.importorskip("llama_index.postprocessor.tei_rerank")
    postprocessor = tei.TextEmbeddingInference(base_url=address, auth_token="Bearer secret", top_n=2)
    found = postprocessor.postprocess_nodes(nodes(), query_str=QUERY)
    assert [(int(node.node_id), node.score) for node in found] == ranked[:2]
