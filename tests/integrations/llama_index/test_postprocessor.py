"""Which nodes come back, in which order, and what the fields do."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle
from pydantic import ValidationError

from llama_index_provence import ProvencePostprocessor
from provence_rag import CheckpointError, InvalidInputError, MissingExtraError, Provence, PruningOptions
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


def test_best_node_first_and_without_its_unrelated_sentence(
    model: Provence, nodes: list[NodeWithScore]
) -> None:
    best, second = run(ProvencePostprocessor(model=model), nodes)
    assert (best.node_id, second.node_id) == ("r", "p")
    assert best.text == PRUNED
    assert second.text == "Many penguins swim."


def test_top_n(model: Provence, nodes: list[NodeWithScore]) -> None:
    assert ids(run(ProvencePostprocessor(model=model, top_n=1), nodes)) == ["r"]


def test_fields_may_be_changed_between_calls(model: Provence, nodes: list[NodeWithScore]) -> None:
    postprocessor = ProvencePostprocessor(model=model, keep_empty=True)
    scores = {item.node_id: item.score for item in run(postprocessor, nodes)}
    for top_n, expected in ((1, ["r"]), (2, ["r", "p"]), (None, ["r", "p", "u"])):
        postprocessor.top_n = top_n
        results = run(postprocessor, nodes)
        assert ids(results) == expected
        assert {item.node_id: item.score for item in results}.items() <= scores.items()


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


def test_no_nodes_need_no_model(loads: list[dict[str, Any]]) -> None:
    assert run(ProvencePostprocessor(), []) == []
    assert loads == []


def test_a_missing_query_is_refused(model: Provence, nodes: list[NodeWithScore]) -> None:
    with pytest.raises(InvalidInputError, match="query_bundle is None"):
        ProvencePostprocessor(model=model).postprocess_nodes(nodes)


def test_a_node_without_its_wrapper_is_refused(model: Provence, nodes: list[NodeWithScore]) -> None:
    with pytest.raises(InvalidInputError, match=r"got a TextNode: wrap it, as in NodeWithScore\(node=node\)"):
        run(ProvencePostprocessor(model=model), [nodes[0], nodes[1].node])


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


def test_without_llama_index_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_index.core", None)
    monkeypatch.delitem(sys.modules, "llama_index_provence")
    with pytest.raises(MissingExtraError, match=r"pip install .*\[llama-index\]'"):
        importlib.import_module("llama_index_provence")
