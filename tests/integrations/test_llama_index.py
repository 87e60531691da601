from __future__ import annotations

import copy
import importlib
import json
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, main_thread
from typing import Any

import numpy as np
import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.schema import (
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from llama_index_provence import ProvencePostprocessor
from provence_rag import (
    CheckpointError,
    EnglishChunker,
    InvalidInputError,
    MissingExtraError,
    Provence,
    PruningOptions,
)
from provence_rag.testing import fake_provence

QUERY = "Where do penguins live?"
RELEVANT = "Penguins live in Antarctica. The market fell today. Penguins live on ice."
PARTLY = "Music was loud. Many penguins swim."
UNRELATED = "My car has new tyres. It is red."
PRUNED = "Penguins live in Antarctica. Penguins live on ice."


class Page(TextNode):
    """A user's subclass."""

    number: int = 0


@pytest.fixture
def nodes() -> list[NodeWithScore]:
    source = RelatedNodeInfo(node_id="book")
    page = Page(
        text=RELEVANT,
        id_="r",
        number=7,
        metadata={"nested": {"deep": [1]}},
        excluded_llm_metadata_keys=["nested"],
        relationships={NodeRelationship.SOURCE: source},
        embedding=[0.5, 0.5],
        start_char_idx=100,
        end_char_idx=100 + len(RELEVANT),
    )
    return [
        NodeWithScore(node=TextNode(text=UNRELATED, id_="u", metadata={"name": "Cars"}), score=0.9),
        NodeWithScore(node=TextNode(text=PARTLY, id_="p", metadata={"name": 1984}), score=0.8),
        NodeWithScore(node=page, score=0.7),
    ]


def run(postprocessor: ProvencePostprocessor, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
    return postprocessor.postprocess_nodes(nodes, query_str=QUERY)


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [item.node_id for item in nodes]


def test_best_node_first_and_without_its_unrelated_sentence(
    model: Provence, nodes: list[NodeWithScore]
) -> None:
    best, second = run(ProvencePostprocessor(model=model), nodes)
    assert (best.node_id, second.node_id) == ("r", "p")
    assert best.text == PRUNED
    assert second.text == "Many penguins swim."


def test_score_and_metadata_tell_what_was_done(model: Provence, nodes: list[NodeWithScore]) -> None:
    best = run(ProvencePostprocessor(model=model), nodes)[0]
    assert type(best.score) is float
    assert best.metadata == {
        "nested": {"deep": [1]},
        "relevance_score": best.score,
        "provence": {
            "kept_spans": [[0, 28], [52, 73]],
            "compression": pytest.approx(1 - len(PRUNED) / len(RELEVANT)),
            "original_length": len(RELEVANT),
        },
    }
    assert json.loads(json.dumps(best.metadata)) == best.metadata
    assert json.loads(best.to_json())["score"] == best.score


def test_copies_keep_everything_and_the_input_stays_as_it_was(
    model: Provence, nodes: list[NodeWithScore]
) -> None:
    before = copy.deepcopy(nodes)
    results = run(ProvencePostprocessor(model=model, keep_empty=True, keep_retrieval_score=True), nodes)
    assert nodes == before
    best = results[0].node
    assert isinstance(best, Page)
    assert best.number == 7
    assert best.source_node == RelatedNodeInfo(node_id="book")
    for result in results:
        result.metadata["provence"]["kept_spans"].append("mine")
        result.node.excluded_llm_metadata_keys.append("mine")
        result.score = 0.0
    assert nodes == before


def test_what_the_other_text_made_stale_is_cleared(model: Provence, nodes: list[NodeWithScore]) -> None:
    pruned = run(ProvencePostprocessor(model=model), nodes)[0].node
    assert (pruned.embedding, pruned.start_char_idx, pruned.end_char_idx) == (None, None, None)
    whole = run(ProvencePostprocessor(model=model, mode="off"), nodes)[0].node
    assert (whole.embedding, whole.start_char_idx) == ([0.5, 0.5], 100)


def test_new_metadata_are_out_of_sight(model: Provence, nodes: list[NodeWithScore]) -> None:
    postprocessor = ProvencePostprocessor(model=model, keep_retrieval_score=True)
    for _ in range(2):  # the second time on its own output: no key is listed twice
        nodes = run(postprocessor, nodes)
    node = nodes[0].node
    added = {"provence", "relevance_score", "retrieval_score"}
    assert sorted(node.excluded_llm_metadata_keys) == sorted(added | {"nested"})
    assert sorted(node.excluded_embed_metadata_keys) == sorted(added)
    assert node.get_content(metadata_mode=MetadataMode.LLM) == PRUNED
    assert node.get_content(metadata_mode=MetadataMode.NONE) == PRUNED


def test_retrieval_score_on_request(model: Provence, nodes: list[NodeWithScore]) -> None:
    nodes[2].score = np.float32(0.5)  # some retrievers do this
    nodes[1].score = None
    best, second = run(ProvencePostprocessor(model=model, keep_retrieval_score=True), nodes)
    assert best.metadata["retrieval_score"] == 0.5
    assert type(best.metadata["retrieval_score"]) is float
    assert "retrieval_score" not in second.metadata
    assert "retrieval_score" not in run(ProvencePostprocessor(model=model), nodes)[0].metadata


def test_top_n(model: Provence, nodes: list[NodeWithScore]) -> None:
    assert ids(run(ProvencePostprocessor(model=model, top_n=1), nodes)) == ["r"]


@pytest.mark.parametrize("top_n", [0, -1, 1.5])
def test_top_n_is_a_positive_integer(top_n: Any) -> None:
    with pytest.raises(ValidationError, match="top_n"):
        ProvencePostprocessor(top_n=top_n)
    postprocessor = ProvencePostprocessor()
    with pytest.raises(ValidationError, match="top_n"):
        postprocessor.top_n = top_n


def test_score_threshold_is_inclusive(model: Provence, nodes: list[NodeWithScore]) -> None:
    postprocessor = ProvencePostprocessor(model=model)
    score = run(postprocessor, nodes)[1].score
    assert score is not None
    postprocessor.score_threshold = score
    assert ids(run(postprocessor, nodes)) == ["r", "p"]
    postprocessor.score_threshold = score + 1e-6
    assert ids(run(postprocessor, nodes)) == ["r"]


def test_without_reranking_the_retrieval_order_stays(
    model: Provence, calls: list[dict[str, Any]], nodes: list[NodeWithScore]
) -> None:
    postprocessor = ProvencePostprocessor(model=model, rerank=False, keep_empty=True)
    results = run(postprocessor, nodes)
    assert ids(results) == ["u", "p", "r"]
    assert all(result.score == result.metadata["relevance_score"] for result in results)

    postprocessor.top_n = 2
    assert ids(run(postprocessor, nodes)) == ["u", "p"]
    assert calls[-1]["documents"] == [UNRELATED, PARTLY]  # the third is not read in vain

    postprocessor.score_threshold = results[1].score
    assert ids(run(postprocessor, nodes)) == ["p", "r"]
    postprocessor.top_n = 1
    assert ids(run(postprocessor, nodes)) == ["p"]


def test_a_node_with_nothing_left(model: Provence, nodes: list[NodeWithScore]) -> None:
    assert "u" not in ids(run(ProvencePostprocessor(model=model), nodes))
    *_, empty = run(ProvencePostprocessor(model=model, keep_empty=True), nodes)
    assert (empty.node_id, empty.text) == ("u", "")
    assert empty.metadata["provence"] == {
        "kept_spans": [],
        "compression": 1.0,
        "original_length": len(UNRELATED),
    }


def test_titles_come_from_the_metadata(
    model: Provence, calls: list[dict[str, Any]], nodes: list[NodeWithScore]
) -> None:
    run(ProvencePostprocessor(model=model, title_key="name"), nodes)
    assert calls[-1]["titles"] == ["Cars", None, None]
    run(ProvencePostprocessor(model=model), nodes)
    assert calls[-1]["titles"] == [None, None, None]


def test_the_model_reads_text_without_metadata(
    model: Provence, calls: list[dict[str, Any]], nodes: list[NodeWithScore]
) -> None:
    run(ProvencePostprocessor(model=model), nodes)
    assert calls[-1]["documents"] == [UNRELATED, PARTLY, RELEVANT]


def test_options_reach_the_model(
    model: Provence, calls: list[dict[str, Any]], nodes: list[NodeWithScore]
) -> None:
    options: dict[str, Any] = {"ratio": 0.4, "min_sentences": 1, "context_after": 2, "keep_headings": True}
    run(ProvencePostprocessor(model=model, batch_size=4, **options), nodes)
    assert calls[-1]["options"] == PruningOptions(**options)
    assert calls[-1]["batch_size"] == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": 1.5}, "threshold must be a number between 0 and 1, got 1.5"),
        ({"ratio": 0.5, "max_tokens": 9}, "ratio and max_tokens belong to different modes"),
        ({"top_k": 3}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_field_is_reported_at_construction(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ProvencePostprocessor(**fields)


def test_loading_fields_do_not_go_with_a_loaded_model(model: Provence) -> None:
    with pytest.raises(ValidationError, match="backend cannot be set on a loaded model"):
        ProvencePostprocessor(model=model, backend="onnx")


def test_documents_keep_their_media_resource(model: Provence) -> None:
    resource = MediaResource(
        text=RELEVANT, path="/tmp/birds.md", mimetype="text/markdown", embeddings={"dense": [1.0]}
    )
    image = MediaResource(url="https://example.org/bird.png")
    document = Document(id_="d", text_resource=resource, image_resource=image, embedding=[1.0])
    before = document.model_copy(deep=True)
    result = run(ProvencePostprocessor(model=model), [NodeWithScore(node=document)])[0].node
    assert document == before
    assert type(result) is Document
    assert (result.id_, result.text, result.embedding) == ("d", PRUNED, None)
    assert result.text_resource == resource.model_copy(update={"text": PRUNED, "embeddings": None})
    assert result.image_resource == image


def test_nodes_without_text_are_passed_through(
    model: Provence, loads: list[dict[str, Any]], nodes: list[NodeWithScore]
) -> None:
    image = NodeWithScore(node=ImageNode(id_="image", image_path="bird.png"), score=0.3)
    index = NodeWithScore(node=IndexNode(id_="index", index_id="other"))
    picture = NodeWithScore(node=Document(id_="picture", image_resource=MediaResource(data=b"png")))
    mixed = [image, *nodes, index, picture]
    results = run(ProvencePostprocessor(model=model, top_n=1), mixed)
    assert ids(results) == ["r", "image", "index", "picture"]
    assert results[1] is image
    assert ids(run(ProvencePostprocessor(model=model, rerank=False, keep_empty=True), mixed)) == ids(mixed)

    assert run(ProvencePostprocessor(), [image, index]) == [image, index]
    assert loads == []


def test_index_and_image_nodes_with_text_are_read(model: Provence) -> None:
    target = TextNode(text="the whole book")
    index = IndexNode(id_="index", text=RELEVANT, index_id="other", obj=target)
    image = ImageNode(id_="image", text=PARTLY, image_path="bird.png", text_embedding=[1.0])
    first, second = run(
        ProvencePostprocessor(model=model), [NodeWithScore(node=image), NodeWithScore(node=index)]
    )
    assert isinstance(first.node, IndexNode)
    assert (first.text, first.node.index_id) == (PRUNED, "other")
    assert first.node.obj is target
    assert isinstance(second.node, ImageNode)
    assert (second.node.image_path, second.node.text_embedding) == ("bird.png", None)


def test_no_nodes_need_no_model(loads: list[dict[str, Any]]) -> None:
    assert run(ProvencePostprocessor(), []) == []
    assert loads == []


def test_a_missing_query_is_refused(model: Provence, nodes: list[NodeWithScore]) -> None:
    with pytest.raises(InvalidInputError, match="query_bundle is None"):
        ProvencePostprocessor(model=model).postprocess_nodes(nodes)


@pytest.mark.parametrize("query", ["", " \n"])
def test_a_blank_query_is_refused(model: Provence, nodes: list[NodeWithScore], query: str) -> None:
    with pytest.raises(ValueError, match="query"):
        ProvencePostprocessor(model=model).postprocess_nodes(nodes, QueryBundle(query))


def test_a_model_without_ranking_head_keeps_order_and_score(nodes: list[NodeWithScore]) -> None:
    image = NodeWithScore(node=ImageNode(id_="image", image_path="bird.png"))
    postprocessor = ProvencePostprocessor(model=fake_provence(can_rank=False), keep_retrieval_score=True)
    results = run(postprocessor, [*nodes[:2], image, nodes[2]])
    assert [(item.node_id, item.score) for item in results] == [("p", 0.8), ("image", None), ("r", 0.7)]
    assert "relevance_score" not in results[0].metadata
    assert results[0].metadata["retrieval_score"] == 0.8

    postprocessor.score_threshold = 0.5
    with pytest.raises(CheckpointError, match="no ranking head"):
        run(postprocessor, nodes)


def test_a_model_without_pruning_head_only_sorts(nodes: list[NodeWithScore]) -> None:
    results = run(ProvencePostprocessor(model=fake_provence(can_prune=False)), nodes)
    assert [item.text for item in results] == [RELEVANT, PARTLY, UNRELATED]
    assert results[0].embedding == [0.5, 0.5]


def test_eight_threads_load_one_model(loads: list[dict[str, Any]], nodes: list[NodeWithScore]) -> None:
    postprocessor = ProvencePostprocessor(model="some/name", device="cpu", backend="onnx", max_length=256)
    start = Barrier(8)

    def process(_: int) -> list[str]:
        start.wait()
        return ids(run(postprocessor, nodes))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(process, range(8))) == [["r", "p"]] * 8
    assert loads == [{"name_or_path": "some/name", "device": "cpu", "backend": "onnx", "max_length": 256}]


DUPLICATES = {
    "dict": lambda p: ProvencePostprocessor.from_dict(p.to_dict()),
    "json": lambda p: ProvencePostprocessor.from_json(p.to_json()),
    "pickle": lambda p: pickle.loads(pickle.dumps(p)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES.keys())
def test_a_used_postprocessor_can_be_stored(
    loads: list[dict[str, Any]], nodes: list[NodeWithScore], duplicate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    postprocessor = ProvencePostprocessor(model="some/name", top_n=1, ratio=0.5, title_key="name")
    run(postprocessor, nodes)
    other = duplicate(postprocessor)
    assert other.to_dict() == postprocessor.to_dict()
    assert other.to_dict()["class_name"] == "ProvencePostprocessor"
    assert ids(run(other, nodes)) == ids(run(postprocessor, nodes)) == ["r"]
    assert [load["name_or_path"] for load in loads] == ["some/name"] * 2
    assert not caplog.records


@pytest.mark.parametrize("field", ["model", "cache_folder"])
def test_a_path_is_serialised_as_text(field: str) -> None:
    postprocessor = ProvencePostprocessor(**{field: Path("checkpoints/mine")})
    assert postprocessor.to_dict()[field] == "checkpoints/mine"
    assert json.loads(postprocessor.to_json())[field] == "checkpoints/mine"


@pytest.mark.parametrize("fields", [{"model": fake_provence()}, {"chunker": EnglishChunker()}])
def test_objects_do_not_vanish_from_serialised_data(fields: dict[str, Any]) -> None:
    postprocessor = ProvencePostprocessor(**fields)
    with pytest.raises(
        PydanticSerializationError, match="object cannot be serialised: give the model as a name"
    ):
        postprocessor.to_dict()


def test_what_cannot_be_pickled_is_not_dropped() -> None:
    postprocessor = ProvencePostprocessor(chunker=lambda text: [text])
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(postprocessor)
    assert postprocessor.chunker is not None


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


def test_events(model: Provence, nodes: list[NodeWithScore], events: list[BaseEvent]) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    postprocessor = ProvencePostprocessor(model=model, callback_manager=CallbackManager([debug]))
    results = run(postprocessor, nodes)

    start, end = (event for event in events if isinstance(event, (ReRankStartEvent, ReRankEndEvent)))
    assert isinstance(start, ReRankStartEvent)
    assert (start.query, start.top_n) == (QUERY, 3)
    assert [item.score for item in start.nodes] == [0.9, 0.8, 0.7]  # not falsified afterwards
    assert end.nodes == results

    begin, finish = debug.get_event_pairs(CBEventType.RERANKING)[0]
    assert begin.payload[EventPayload.QUERY_STR] == QUERY
    assert finish.payload == {EventPayload.NODES: results}


@pytest.fixture
def index(nodes: list[NodeWithScore]) -> VectorStoreIndex:
    return VectorStoreIndex([item.node for item in nodes], embed_model=MockEmbedding(embed_dim=2))


def test_query_engine(model: Provence, index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(
        llm=MockLLM(),
        similarity_top_k=3,
        node_postprocessors=[ProvencePostprocessor(model=model, top_n=3)],
    )
    for _ in range(2):  # what the index holds is not changed by the first query
        response = engine.query(QUERY)
        assert ids(response.source_nodes) == ["r", "p"]
        assert PRUNED in str(response)
        assert "market" not in str(response)
        assert "relevance_score" not in str(response)


async def test_the_event_loop_is_not_blocked(
    model: Provence, index: VectorStoreIndex, calls: list[dict[str, Any]]
) -> None:
    engine = index.as_query_engine(
        llm=MockLLM(), similarity_top_k=3, node_postprocessors=[ProvencePostprocessor(model=model)]
    )
    response = await engine.aquery(QUERY)
    assert ids(response.source_nodes) == ["r", "p"]
    assert calls[-1]["thread"] is not main_thread()


def test_without_llama_index_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_index.core", None)
    monkeypatch.delitem(sys.modules, "llama_index_provence")
    with pytest.raises(MissingExtraError, match=r"pip install 'provence-rag\[llama-index\]'"):
        importlib.import_module("llama_index_provence")
