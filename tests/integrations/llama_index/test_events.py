"""What LlamaIndex's two ways of watching hear of a call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex, get_response_synthesizer
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import ImageNode, NodeWithScore

from llama_index_provence import ProvencePostprocessor
from provence_rag import CheckpointError, Provence
from provence_rag.testing import fake_provence

QUERY = "Where do penguins live?"


def run(postprocessor: ProvencePostprocessor, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
    return postprocessor.postprocess_nodes(nodes, query_str=QUERY)


@pytest.fixture
def events() -> Iterator[list[BaseEvent]]:
    """What the root dispatcher hears."""
    seen: list[BaseEvent] = []

    class Listener(BaseEventHandler):
        def handle(self, event: BaseEvent, **_: Any) -> None:
            seen.append(event)

    dispatcher = get_dispatcher()
    listener = Listener()
    dispatcher.add_event_handler(listener)
    yield seen
    dispatcher.event_handlers.remove(listener)


def reranking(events: list[BaseEvent]) -> list[BaseEvent]:
    return [event for event in events if isinstance(event, (ReRankStartEvent, ReRankEndEvent))]


@pytest.fixture
def debug() -> LlamaDebugHandler:
    return LlamaDebugHandler(print_trace_on_end=False)


def test_instrumentation_hears_start_and_end(
    model: Provence, nodes: list[NodeWithScore], events: list[BaseEvent]
) -> None:
    results = run(ProvencePostprocessor(model=model), nodes)
    start, end = reranking(events)
    assert isinstance(start, ReRankStartEvent)
    assert isinstance(end, ReRankEndEvent)
    assert (start.query, start.top_n, start.model_name) == (QUERY, 3, str(model))
    assert all(heard is given for heard, given in zip(start.nodes, nodes, strict=True))
    assert [item.score for item in start.nodes] == [0.9, 0.8, 0.7]  # not falsified afterwards
    assert end.nodes == results
    written = json.loads(end.model_dump_json())
    assert written["nodes"][0]["score"] == results[0].score


@pytest.mark.parametrize(("given", "name"), [(None, "provence-rag"), ("some/name", "some/name")])
def test_events_name_the_model(
    loads: list[dict[str, Any]],
    nodes: list[NodeWithScore],
    events: list[BaseEvent],
    given: str | None,
    name: str,
) -> None:
    run(ProvencePostprocessor(model=given, top_n=2), nodes)
    start = reranking(events)[0]
    assert isinstance(start, ReRankStartEvent)
    assert (start.model_name, start.top_n) == (name, 2)


def test_callbacks_hear_start_and_end(
    model: Provence, nodes: list[NodeWithScore], debug: LlamaDebugHandler
) -> None:
    results = run(ProvencePostprocessor(model=model, callback_manager=CallbackManager([debug])), nodes)
    ((begin, finish),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert begin.payload == {
        EventPayload.NODES: nodes,
        EventPayload.MODEL_NAME: str(model),
        EventPayload.QUERY_STR: QUERY,
        EventPayload.TOP_K: 3,
    }
    assert finish.payload == {EventPayload.NODES: results}


def test_an_engine_hands_its_callbacks_on(
    model: Provence, nodes: list[NodeWithScore], events: list[BaseEvent], debug: LlamaDebugHandler
) -> None:
    index = VectorStoreIndex([item.node for item in nodes], embed_model=MockEmbedding(embed_dim=2))
    synthesizer = get_response_synthesizer(llm=MockLLM(), callback_manager=CallbackManager([debug]))
    engine = RetrieverQueryEngine(
        index.as_retriever(similarity_top_k=3),
        response_synthesizer=synthesizer,
        node_postprocessors=[ProvencePostprocessor(model=model)],
    )
    response = engine.query(QUERY)
    ((_, finish),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert finish.payload == {EventPayload.NODES: response.source_nodes}
    (query, _) = debug.get_event_pairs(CBEventType.QUERY)[0]
    assert finish.id_ in debug._trace_map[query.id_]
    assert [type(event) for event in reranking(events)] == [ReRankStartEvent, ReRankEndEvent]


def test_a_failure_ends_the_callback_event(
    nodes: list[NodeWithScore], events: list[BaseEvent], debug: LlamaDebugHandler
) -> None:
    postprocessor = ProvencePostprocessor(
        model=fake_provence(can_rank=False), score_threshold=0.5, callback_manager=CallbackManager([debug])
    )
    with pytest.raises(CheckpointError, match="no ranking head") as error:
        run(postprocessor, nodes)
    ((_, finish),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert finish.payload == {EventPayload.EXCEPTION: error.value}
    assert [type(event) for event in reranking(events)] == [ReRankStartEvent]


def test_nothing_to_rerank_is_no_event(model: Provence, events: list[BaseEvent]) -> None:
    image = NodeWithScore(node=ImageNode(image_path="bird.png"))
    assert run(ProvencePostprocessor(model=model), [image]) == [image]
    assert run(ProvencePostprocessor(model=model), []) == []
    assert reranking(events) == []
