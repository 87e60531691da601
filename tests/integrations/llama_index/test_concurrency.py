"""One postprocessor, many threads and tasks."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index_provence import ProvencePostprocessor
from provence_rag import Provence

QUERY = "Where do penguins live?"


def run(postprocessor: ProvencePostprocessor, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
    return postprocessor.postprocess_nodes(nodes, query_str=QUERY)


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [item.node_id for item in nodes]


def test_eight_threads_load_one_model(loads: list[dict[str, Any]], nodes: list[NodeWithScore]) -> None:
    postprocessor = ProvencePostprocessor(model="some/name", device="cpu", backend="onnx", max_length=256)
    start = Barrier(8)

    def process(_: int) -> list[str]:
        start.wait()
        return ids(run(postprocessor, nodes))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(process, range(8))) == [["r", "p"]] * 8
    assert loads == [{"name_or_path": "some/name", "device": "cpu", "backend": "onnx", "max_length": 256}]


PLACES = {
    "Penguins": "Antarctica",
    "Camels": "deserts",
    "Gorillas": "rainforests",
    "Herons": "wetlands",
    "Marmots": "mountains",
}


@pytest.fixture
def index(embedding: BaseEmbedding) -> VectorStoreIndex:
    nodes = [
        TextNode(id_=animal, text=f"{animal} inhabit {place}. The market fell today.")
        for animal, place in PLACES.items()
    ]
    return VectorStoreIndex(nodes, embed_model=embedding)


def answer(response: Any) -> list[tuple[str, str, float | None]]:
    return [(item.node_id, item.text, item.score) for item in response.source_nodes]


def questions(count: int) -> list[str]:
    return [f"What do {animal} inhabit?" for animal in PLACES] * (count // len(PLACES))


def assert_answered(query: str, found: list[tuple[str, str, float | None]]) -> None:
    animal = query.split()[2]
    assert found[0][:2] == (animal, f"{animal} inhabit {PLACES[animal]}.")
    assert len(found) == 3


def test_eight_threads_ask_one_engine(index: VectorStoreIndex, loads: list[dict[str, Any]]) -> None:
    engine = index.as_query_engine(
        llm=MockLLM(), similarity_top_k=3, node_postprocessors=[ProvencePostprocessor(model="some/name")]
    )
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(engine.query, questions(40)))
    for query, response in zip(questions(40), responses, strict=True):
        assert_answered(query, answer(response))
        assert answer(response) == answer(engine.query(query))
    assert len(loads) == 1


async def test_fifty_tasks_ask_one_engine(index: VectorStoreIndex, loads: list[dict[str, Any]]) -> None:
    engine = index.as_query_engine(
        llm=MockLLM(), similarity_top_k=3, node_postprocessors=[ProvencePostprocessor(model="some/name")]
    )
    responses = await asyncio.gather(*(engine.aquery(query) for query in questions(50)))
    for query, response in zip(questions(50), responses, strict=True):
        assert_answered(query, answer(response))
    assert len(loads) == 1


# Chat engines of older versions call the synchronous method from their asynchronous ones.
CHATS_BESIDE_THE_LOOP = "apostprocess_nodes" in inspect.getsource(ContextChatEngine)


@pytest.mark.parametrize(
    "ask",
    [
        "aquery",
        pytest.param("achat", marks=pytest.mark.skipif(not CHATS_BESIDE_THE_LOOP, reason="an older version")),
    ],
)
async def test_the_event_loop_goes_on(
    index: VectorStoreIndex, model: Provence, heartbeat: Any, ask: str
) -> None:
    settings: dict[str, Any] = {
        "llm": MockLLM(),
        "similarity_top_k": 3,
        "node_postprocessors": [ProvencePostprocessor(model=model)],
    }
    engine = index.as_query_engine(**settings)
    chat = index.as_chat_engine(
        chat_mode="context", memory=ChatMemoryBuffer.from_defaults(token_limit=2000), **settings
    )
    query = questions(5)[0]
    async with heartbeat():
        response = await (chat.achat(query) if ask == "achat" else engine.aquery(query))
    assert_answered(query, answer(response))
