"""What comes back for a node: a copy of the same kind, with the pruned text and what was done to it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)
from PIL import Image
from pydantic import ValidationError

from llama_index_provence import ProvencePostprocessor
from provence_rag import Provence
from provence_rag.testing import fake_provence

QUERY = "Where do penguins live?"
RELEVANT = "Penguins live in Antarctica. The market fell today. Penguins live on ice."
PARTLY = "Music was loud. Many penguins swim."
UNRELATED = "My car has new tyres. It is red."
PRUNED = "Penguins live in Antarctica. Penguins live on ice."


def run(postprocessor: ProvencePostprocessor, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
    return postprocessor.postprocess_nodes(nodes, query_str=QUERY)


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [item.node_id for item in nodes]


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
    assert type(best) is type(nodes[2].node) is not TextNode
    assert best.number == 7
    assert best.source_node == RelatedNodeInfo(node_id="book")
    for result in results:
        result.metadata["provence"]["kept_spans"].append("mine")
        result.node.excluded_llm_metadata_keys.append("mine")
        result.score = 0.0
    assert nodes == before


def test_a_copy_has_relationships_of_its_own(model: Provence, nodes: list[NodeWithScore]) -> None:
    best = run(ProvencePostprocessor(model=model), nodes)[0].node
    best.relationships[NodeRelationship.NEXT] = RelatedNodeInfo(node_id="mine")
    assert nodes[2].node.relationships == {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book")}


def test_the_same_node_retrieved_twice_keeps_both_scores(model: Provence) -> None:
    node = TextNode(text=RELEVANT, id_="r")
    twice = [NodeWithScore(node=node, score=0.9), NodeWithScore(node=node, score=0.2)]
    results = run(ProvencePostprocessor(model=model, keep_retrieval_score=True), twice)
    assert [item.metadata["retrieval_score"] for item in results] == [0.9, 0.2]
    assert [item.text for item in results] == [PRUNED, PRUNED]
    assert results[0].node is not results[1].node


def test_what_the_other_text_made_stale_is_cleared(model: Provence, nodes: list[NodeWithScore]) -> None:
    pruned = run(ProvencePostprocessor(model=model), nodes)[0].node
    assert (pruned.embedding, pruned.start_char_idx, pruned.end_char_idx) == (None, None, None)
    whole = run(ProvencePostprocessor(model=model, mode="off"), nodes)[0].node
    assert (whole.embedding, whole.start_char_idx) == ([0.5, 0.5], 100)


def test_templates_of_the_node_still_hold(model: Provence) -> None:
    node = TextNode(
        text=RELEVANT,
        metadata={"file": "birds.md"},
        metadata_template="<{key}={value}>",
        text_template="{metadata_str} {content}",
    )
    result = run(ProvencePostprocessor(model=model), [NodeWithScore(node=node)])[0]
    assert result.get_content(metadata_mode=MetadataMode.LLM) == f"<file=birds.md> {PRUNED}"
    assert result.get_content(metadata_mode=MetadataMode.EMBED) == f"<file=birds.md> {PRUNED}"


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


def test_chosen_metadata_keys_are_out_of_sight_and_the_callers_own_are_not(model: Provence) -> None:
    node = TextNode(text=RELEVANT, metadata={"relevance_score": "high"}, metadata_template="{key}={value}")
    postprocessor = ProvencePostprocessor(model=model, score_key="score", record_key="pruning")
    result = run(postprocessor, [NodeWithScore(node=node)])[0]
    assert result.score == result.metadata["score"]
    assert result.node.excluded_llm_metadata_keys == result.node.excluded_embed_metadata_keys
    assert sorted(result.node.excluded_llm_metadata_keys) == ["pruning", "score"]
    assert result.get_content(metadata_mode=MetadataMode.LLM) == f"relevance_score=high\n\n{PRUNED}"


def test_a_retrieval_score_that_is_replaced_stays_in_the_record(model: Provence) -> None:
    node = TextNode(text=RELEVANT, metadata={"retrieval_score": 0.1})  # from an earlier reranker
    retrieved = [NodeWithScore(node=node, score=0.9)]
    (result,) = run(ProvencePostprocessor(model=model, keep_retrieval_score=True), retrieved)
    assert result.metadata["retrieval_score"] == 0.9
    assert result.metadata["provence"]["replaced"] == {"retrieval_score": 0.1}
    (result,) = run(ProvencePostprocessor(model=model), retrieved)
    assert result.metadata["retrieval_score"] == 0.1
    with pytest.raises(ValidationError, match="score_key and record_key cannot be 'retrieval_score'"):
        ProvencePostprocessor(score_key="retrieval_score")


def test_the_hash_is_that_of_the_new_text(model: Provence, nodes: list[NodeWithScore]) -> None:
    (result, _) = run(ProvencePostprocessor(model=model), nodes)
    assert result.node.hash != nodes[2].node.hash
    assert result.node.hash == result.node.model_copy(deep=True).hash
    same = TextNode(text=PRUNED, metadata=result.metadata)
    assert result.node.hash == same.hash


def test_retrieval_score_on_request(model: Provence, nodes: list[NodeWithScore]) -> None:
    nodes[2].score = np.float32(0.5)  # some retrievers do this
    nodes[1].score = None
    best, second = run(ProvencePostprocessor(model=model, keep_retrieval_score=True), nodes)
    assert best.metadata["retrieval_score"] == 0.5
    assert type(best.metadata["retrieval_score"]) is float
    assert "retrieval_score" not in second.metadata
    assert "retrieval_score" not in run(ProvencePostprocessor(model=model), nodes)[0].metadata


def test_a_numpy_score_does_not_come_back(nodes: list[NodeWithScore]) -> None:
    nodes[2].score = np.float32(0.5)
    nodes[1].score = None
    partly, best = run(ProvencePostprocessor(model=fake_provence(can_rank=False)), nodes)
    assert (best.score, partly.score) == (0.5, None)
    assert json.loads(best.to_json())["score"] == 0.5


@pytest.mark.parametrize("kind", [Node, Document])
def test_a_media_resource_is_kept(model: Provence, kind: type[Node]) -> None:
    text = MediaResource(
        text=RELEVANT,
        path="/tmp/birds.md",
        url="https://example.org/birds.md",
        mimetype="text/markdown",
        embeddings={"dense": [1.0]},
    )
    image = MediaResource(url="https://example.org/bird.png", embeddings={"dense": [2.0]})
    node = kind(id_="d", text_resource=text, image_resource=image, embedding=[1.0])
    before = node.model_copy(deep=True)
    item = run(ProvencePostprocessor(model=model), [NodeWithScore(node=node)])[0]
    result = item.node
    assert node == before
    assert type(result) is kind
    assert (result.id_, item.get_content(), result.embedding) == ("d", PRUNED, None)
    assert result.text_resource == text.model_copy(update={"text": PRUNED, "embeddings": None})
    assert result.image_resource == image
    written = json.loads(item.model_dump_json())["node"]["text_resource"]
    assert (written["text"], written["path"]) == (PRUNED, "/tmp/birds.md")


def test_an_image_document_keeps_its_image(model: Provence, tmp_path: Path) -> None:
    path = tmp_path / "bird.png"
    Image.new("RGB", (1, 1)).save(path)
    document = ImageDocument(text=RELEVANT, image_path=str(path))
    result = run(ProvencePostprocessor(model=model), [NodeWithScore(node=document)])[0].node
    assert isinstance(result, ImageDocument)
    assert (result.text, result.image_path) == (PRUNED, str(path))


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


@pytest.mark.parametrize("text", ["", " \n"])
@pytest.mark.parametrize("kind", [TextNode, Document])
def test_a_blank_text_is_an_empty_passage(
    model: Provence, nodes: list[NodeWithScore], kind: type[BaseNode], text: str
) -> None:
    mixed = [NodeWithScore(node=kind(id_="blank", text=text), score=1.0), *nodes]
    assert ids(run(ProvencePostprocessor(model=model), mixed)) == ["r", "p"]
    blank = run(ProvencePostprocessor(model=model, rerank=False, keep_empty=True), mixed)[0]
    assert (blank.node_id, blank.get_content()) == ("blank", "")
    assert blank.metadata["provence"]["kept_spans"] == []
    assert mixed[0].get_content() == text


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
