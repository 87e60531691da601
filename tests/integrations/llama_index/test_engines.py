"""Real indices and engines; only the models are small."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from llama_index.core import Document, VectorStoreIndex, get_response_synthesizer
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import SentenceSplitter, SentenceWindowNodeParser
from llama_index.core.postprocessor import MetadataReplacementPostProcessor, SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import NodeWithScore

from llama_index_provence import ProvencePostprocessor
from provence_rag import Provence

QUERY = "Where do penguins live?"
BIRDS = "Penguins live in Antarctica. The market fell today. Penguins live on ice."
PRUNED = "Penguins live in Antarctica. Penguins live on ice."
CARS = "My car has new tyres. It is red."


@pytest.fixture
def documents() -> list[Document]:
    return [
        Document(id_="cars", text=CARS, metadata={"file": "cars.md"}),
        Document(id_="birds", text=BIRDS, metadata={"file": "birds.md", "tags": {"kind": ["bird"]}}),
    ]


@pytest.fixture
def index(documents: list[Document], embedding: BaseEmbedding) -> VectorStoreIndex:
    return VectorStoreIndex.from_documents(
        documents, embed_model=embedding, transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0)]
    )


@pytest.fixture
def postprocessor(model: Provence) -> ProvencePostprocessor:
    return ProvencePostprocessor(model=model, keep_retrieval_score=True)


def assert_pruned(source_nodes: list[NodeWithScore], seen_by_the_llm: str) -> None:
    (item,) = source_nodes
    assert (item.node.ref_doc_id, item.text) == ("birds", PRUNED)
    assert f"file: birds.md\ntags: {{'kind': ['bird']}}\n\n{PRUNED}\n" in seen_by_the_llm
    for unwanted in ("market", "tyres", "relevance_score", "retrieval_score", "kept_spans"):
        assert unwanted not in seen_by_the_llm


@pytest.mark.parametrize(
    "response_mode", [ResponseMode.COMPACT, ResponseMode.REFINE, ResponseMode.TREE_SUMMARIZE]
)
async def test_query_engine(
    index: VectorStoreIndex, postprocessor: ProvencePostprocessor, response_mode: ResponseMode
) -> None:
    engine = index.as_query_engine(
        llm=MockLLM(),
        similarity_top_k=2,
        node_postprocessors=[postprocessor],
        response_mode=response_mode,
    )
    for response in (engine.query(QUERY), await engine.aquery(QUERY)):
        assert_pruned(response.source_nodes, str(response))


async def test_retriever_query_engine_in_a_chain(
    index: VectorStoreIndex, postprocessor: ProvencePostprocessor
) -> None:
    retriever = index.as_retriever(similarity_top_k=2)
    engine = RetrieverQueryEngine(
        retriever,
        response_synthesizer=get_response_synthesizer(llm=MockLLM()),
        node_postprocessors=[postprocessor, SimilarityPostprocessor(similarity_cutoff=0.5)],
    )
    retrieved = {item.node_id: item.score for item in retriever.retrieve(QUERY)}
    for response in (engine.query(QUERY), await engine.aquery(QUERY)):
        assert_pruned(response.source_nodes, str(response))
        (item,) = response.source_nodes
        assert item.metadata["retrieval_score"] == pytest.approx(retrieved[item.node_id])
        assert item.score == item.metadata["relevance_score"]


def chat_engine(index: VectorStoreIndex, mode: str, postprocessor: ProvencePostprocessor) -> BaseChatEngine:
    return index.as_chat_engine(
        chat_mode=mode,
        llm=MockLLM(),
        similarity_top_k=2,
        node_postprocessors=[postprocessor],
        memory=ChatMemoryBuffer.from_defaults(token_limit=2000),
        skip_condense=True,  # the mock LLM would answer with the prompt in place of a question
    )


@pytest.mark.parametrize("mode", ["context", "condense_plus_context"])
async def test_chat_engines_with_context(
    index: VectorStoreIndex, postprocessor: ProvencePostprocessor, mode: str
) -> None:
    engine = chat_engine(index, mode, postprocessor)
    for response in (engine.chat(QUERY), await engine.achat(QUERY)):
        assert_pruned(response.source_nodes, str(response))


async def test_chat_engine_that_condenses_the_question(
    index: VectorStoreIndex, postprocessor: ProvencePostprocessor, calls: list[dict[str, Any]]
) -> None:
    engine = chat_engine(index, "condense_question", postprocessor)
    for response in (engine.chat(QUERY), await engine.achat(QUERY, chat_history=[])):
        assert_pruned(response.source_nodes, str(response))
    engine.chat("On ice as well?", chat_history=[ChatMessage(role="user", content=QUERY)])
    assert "Follow Up Message>\nOn ice as well?" in calls[-1]["query"]  # what the LLM made of it


def test_what_the_index_holds_is_not_changed(
    index: VectorStoreIndex, postprocessor: ProvencePostprocessor
) -> None:
    postprocessor.keep_empty = True
    held = list(index.docstore.docs.values())
    before = copy.deepcopy(held)
    stored = copy.deepcopy(index.storage_context.to_dict())
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=2, node_postprocessors=[postprocessor])
    first, second = engine.query(QUERY), engine.query(QUERY)
    assert len(first.source_nodes) == 2
    assert held == before
    assert index.storage_context.to_dict() == stored
    assert second.source_nodes == first.source_nodes


def test_nothing_kept_is_an_empty_response(
    index: VectorStoreIndex, postprocessor: ProvencePostprocessor
) -> None:
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=2, node_postprocessors=[postprocessor])
    assert str(engine.query("What is a sonata?")) == "Empty Response"
    postprocessor.min_documents = 1
    assert len(engine.query("What is a sonata?").source_nodes) == 1


def sentences(text: str) -> list[str]:
    return re.findall(r"[^.]+\.\s*", text)  # LlamaIndex's own splitter may look for data in the network


def test_sentence_windows_are_pruned_after_they_are_put_in(
    documents: list[Document], embedding: BaseEmbedding, postprocessor: ProvencePostprocessor
) -> None:
    index = VectorStoreIndex.from_documents(
        documents,
        embed_model=embedding,
        transformations=[SentenceWindowNodeParser(window_size=1, sentence_splitter=sentences)],
    )
    engine = index.as_query_engine(
        llm=MockLLM(),
        similarity_top_k=1,
        node_postprocessors=[MetadataReplacementPostProcessor(target_metadata_key="window"), postprocessor],
    )
    (item,) = engine.query("Penguins on ice").source_nodes
    assert item.text == "Penguins live on ice."
    assert item.metadata["window"].startswith("The market fell today.")


def test_source_nodes_are_json(index: VectorStoreIndex, postprocessor: ProvencePostprocessor) -> None:
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=2, node_postprocessors=[postprocessor])
    (item,) = engine.query(QUERY).source_nodes
    for text in (item.to_json(), item.model_dump_json()):
        data = json.loads(text)
        assert NodeWithScore.from_dict({**data, "node": type(item.node).from_dict(data["node"])}) == item


def test_a_pruned_node_is_a_fastapi_response(
    index: VectorStoreIndex, postprocessor: ProvencePostprocessor
) -> None:
    app = FastAPI()
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=2, node_postprocessors=[postprocessor])

    @app.get("/search")
    async def search(query: str) -> list[NodeWithScore]:
        response = await engine.aquery(query)
        return response.source_nodes

    reply = TestClient(app).get("/search", params={"query": QUERY})
    assert reply.status_code == 200
    (item,) = reply.json()
    metadata = item["node"]["extra_info"]  # FastAPI writes LlamaIndex's alias of the field
    assert item["node"]["text"] == PRUNED
    assert item["score"] == metadata["relevance_score"]
    assert metadata["provence"]["kept_spans"] == [[0, 28], [52, 73]]
