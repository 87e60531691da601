from __future__ import annotations

import copy
import importlib
import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from langchain_core.documents import Document
from pydantic import Field, ValidationError

from langchain_provence import ProvenceCompressor
from provence_rag import CheckpointError, MissingExtraError, Provence, PruningOptions
from provence_rag.testing import fake_provence

QUERY = "Where do penguins live?"
RELEVANT = "Penguins live in Antarctica. The market fell today. Penguins live on ice."
PARTLY = "Music was loud. Many penguins swim."
UNRELATED = "My car has new tyres. It is red."


class Page(Document):
    """A user's subclass."""

    number: int


class Stateful(Document):
    """What LangChain's embedding filters make of a document."""

    state: dict[str, Any] = Field(default_factory=dict)


def with_embeddings(documents: Any) -> list[Stateful]:
    """Like the filters: one embedding for each text, unless the first document has its own already."""
    stateful = [d if isinstance(d, Stateful) else Stateful(**d.model_dump()) for d in documents]
    if not (stateful and "embedded_doc" in stateful[0].state):
        for document in stateful:
            document.state["embedded_doc"] = [float(ord(letter)) for letter in document.page_content]
    assert all(
        len(document.state["embedded_doc"]) for document in stateful
    )  # a KeyError if only some have one
    return stateful


@pytest.fixture
def documents() -> list[Document]:
    return [
        Document(page_content=UNRELATED, id="u", metadata={"name": "Cars"}),
        Document(page_content=PARTLY, id="p", metadata={"tags": ["music"], "name": 1984}),
        Page(page_content=RELEVANT, id="r", metadata={"nested": {"deep": [1]}}, number=7),
    ]


def ids(documents: Any) -> list[str]:
    return [document.id for document in documents]


def test_best_document_first_and_without_its_unrelated_sentence(
    model: Provence, documents: list[Document]
) -> None:
    best, second = ProvenceCompressor(model=model).compress_documents(documents, QUERY)
    assert (best.id, second.id) == ("r", "p")
    assert best.page_content == "Penguins live in Antarctica. Penguins live on ice."
    assert second.page_content == "Many penguins swim."


def test_metadata_tell_what_was_done(model: Provence, documents: list[Document]) -> None:
    best = ProvenceCompressor(model=model).compress_documents(documents, QUERY)[0]
    assert type(best.metadata["relevance_score"]) is float
    assert best.metadata["provence"] == {
        "kept_spans": [[0, 28], [52, 73]],
        "compression": pytest.approx(1 - len(best.page_content) / len(RELEVANT)),
        "original_length": len(RELEVANT),
    }
    assert best.metadata["nested"] == {"deep": [1]}
    assert json.loads(json.dumps(best.metadata)) == best.metadata


def test_copies_keep_id_and_class_and_the_input_stays_as_it_was(
    model: Provence, documents: list[Document]
) -> None:
    before = copy.deepcopy(documents)
    results = ProvenceCompressor(model=model, keep_empty=True).compress_documents(documents, QUERY)
    assert documents == before
    assert not {id(result) for result in results} & {id(document) for document in documents}
    assert isinstance(results[0], Page)
    assert results[0].number == 7
    for result in results:
        result.metadata["provence"]["kept_spans"].append("mine")
    assert documents == before


def test_equal_texts_have_equal_embeddings_after_pruning(model: Provence) -> None:
    texts = ["Penguins live on ice.", "Penguins live on ice. The market fell today."]
    before = with_embeddings([Document(page_content=text) for text in texts])
    before[0].state["query_similarity_score"] = 0.5
    states = copy.deepcopy([document.state for document in before])
    results = ProvenceCompressor(model=model).compress_documents(before, QUERY)
    assert {result.page_content for result in results} == {"Penguins live on ice."}
    one, other = with_embeddings(results)
    assert one.state["embedded_doc"] == other.state["embedded_doc"]
    assert 0.5 in [result.state.get("query_similarity_score") for result in (one, other)]
    assert [document.state for document in before] == states  # each copy has a state of its own


def test_embeddings_of_whole_texts_are_kept(model: Provence) -> None:
    before = with_embeddings([Document(page_content=text) for text in (RELEVANT, PARTLY)])
    results: Any = ProvenceCompressor(model=model, mode="off").compress_documents(before, QUERY)
    assert [result.state for result in results] == [document.state for document in before]
    assert results[0].state is not before[0].state


def test_pruning_twice_describes_the_second_time(model: Provence, documents: list[Document]) -> None:
    compressor = ProvenceCompressor(model=model)
    once = compressor.compress_documents(documents, QUERY)
    twice = compressor.compress_documents(once, QUERY)
    assert twice[0].metadata["provence"]["original_length"] == len(once[0].page_content)
    assert once[0].metadata["provence"]["original_length"] == len(RELEVANT)


def test_top_n(model: Provence, documents: list[Document]) -> None:
    assert ids(ProvenceCompressor(model=model, top_n=1).compress_documents(documents, QUERY)) == ["r"]


@pytest.mark.parametrize("top_n", [0, -1, 1.5])
def test_top_n_is_a_positive_integer(top_n: Any) -> None:
    with pytest.raises(ValidationError, match="top_n"):
        ProvenceCompressor(top_n=top_n)
    compressor = ProvenceCompressor()
    with pytest.raises(ValidationError, match="top_n"):
        compressor.top_n = top_n


def test_score_threshold_is_inclusive(model: Provence, documents: list[Document]) -> None:
    scores = {
        d.id: d.metadata["relevance_score"]
        for d in ProvenceCompressor(model=model).compress_documents(documents, QUERY)
    }
    compressor = ProvenceCompressor(model=model, score_threshold=scores["p"])
    assert ids(compressor.compress_documents(documents, QUERY)) == ["r", "p"]
    compressor.score_threshold = scores["p"] + 1e-6
    assert ids(compressor.compress_documents(documents, QUERY)) == ["r"]


def test_without_reranking_the_retrieval_order_stays(
    model: Provence, calls: list[dict[str, Any]], documents: list[Document]
) -> None:
    compressor = ProvenceCompressor(model=model, rerank=False, keep_empty=True)
    results = compressor.compress_documents(documents, QUERY)
    assert ids(results) == ["u", "p", "r"]
    assert all(type(result.metadata["relevance_score"]) is float for result in results)

    compressor.top_n = 2
    assert ids(compressor.compress_documents(documents, QUERY)) == ["u", "p"]
    assert calls[-1]["documents"] == [UNRELATED, PARTLY]  # the third is not read in vain

    compressor.score_threshold = results[1].metadata["relevance_score"]
    assert ids(compressor.compress_documents(documents, QUERY)) == ["p", "r"]
    compressor.top_n = 1
    assert ids(compressor.compress_documents(documents, QUERY)) == ["p"]


def test_a_document_with_nothing_left(model: Provence, documents: list[Document]) -> None:
    assert "u" not in ids(ProvenceCompressor(model=model).compress_documents(documents, QUERY))
    *_, empty = ProvenceCompressor(model=model, keep_empty=True).compress_documents(documents, QUERY)
    assert (empty.id, empty.page_content) == ("u", "")
    assert empty.metadata["provence"] == {
        "kept_spans": [],
        "compression": 1.0,
        "original_length": len(UNRELATED),
    }


@pytest.mark.parametrize("threshold", [None, 0.0])
@pytest.mark.parametrize("rerank", [True, False])
def test_a_blank_document_takes_no_place(
    model: Provence, documents: list[Document], rerank: bool, threshold: float | None
) -> None:
    blank = Document(page_content=" \n", id="blank")
    compressor = ProvenceCompressor(
        model=model, rerank=rerank, top_n=2, mode="off", score_threshold=threshold, keep_empty=True
    )
    found = compressor.compress_documents([blank, *documents[1:]], QUERY)
    assert sorted(ids(found)) == ["p", "r"]
    assert ids(compressor.compress_documents([blank, documents[2]], QUERY)) == (
        ["r", "blank"] if rerank else ["blank", "r"]
    )


def test_a_blank_document_cannot_be_brought_back_with_text(model: Provence) -> None:
    documents = [Document(page_content=text) for text in (" \n", UNRELATED)]
    results = ProvenceCompressor(model=model, min_documents=2).compress_documents(documents, QUERY)
    assert [result.page_content for result in results] == ["My car has new tyres."]


def test_the_title_is_protected(model: Provence) -> None:
    document = Document(
        page_content="Birds of the south. The market fell today. Penguins live on ice.",
        metadata={"name": "Birds of the south."},
    )
    compressor = ProvenceCompressor(model=model, title_key="name", keep_title=True)
    assert compressor.compress_documents([document], QUERY)[0].page_content == (
        "Birds of the south. Penguins live on ice."
    )


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "ratio", "ratio": 0.4, "min_sentences": 1},
        {"max_tokens": 90, "context_before": 1, "context_after": 2, "language": "en"},
        {"threshold": 0.3, "keep_title": True, "keep_headings": True},
        {"keep_answers": 0.95},
    ],
)
def test_options_reach_the_model(
    model: Provence, calls: list[dict[str, Any]], documents: list[Document], options: dict[str, Any]
) -> None:
    ProvenceCompressor(model=model, batch_size=4, **options).compress_documents(documents, QUERY)
    assert calls[-1]["options"] == PruningOptions(**options)
    assert calls[-1]["batch_size"] == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "strict"}, "Input should be 'dynamic', 'threshold', 'ratio', 'budget' or 'off'"),
        ({"threshold": 1.5}, "threshold must be a number between 0 and 1, got 1.5"),
        ({"ratio": 0.5, "max_tokens": 9}, "ratio and max_tokens belong to different modes"),
        ({"min_sentences": -1}, "min_sentences must be an integer >= 0, got -1"),
        ({"top_k": 3}, "Extra inputs are not permitted"),
        ({"score_threshold": float("nan")}, "finite number"),
    ],
)
def test_a_wrong_field_is_reported_at_construction(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ProvenceCompressor(**fields)


def test_loading_fields_do_not_go_with_a_loaded_model(model: Provence) -> None:
    with pytest.raises(ValidationError, match="device, max_length cannot be set on a loaded model"):
        ProvenceCompressor(model=model, device="cpu", max_length=128)


def test_no_documents_need_no_model(loads: list[dict[str, Any]]) -> None:
    assert ProvenceCompressor().compress_documents([], QUERY) == []
    assert loads == []


@pytest.mark.parametrize("query", [None, "", " \n"])
def test_a_query_without_words_is_refused(model: Provence, documents: list[Document], query: Any) -> None:
    with pytest.raises(ValueError, match=r"query must be a string|query is blank"):
        ProvenceCompressor(model=model).compress_documents(documents, query)


def test_eight_threads_load_one_model(loads: list[dict[str, Any]], documents: list[Document]) -> None:
    compressor = ProvenceCompressor(model="some/name", device="cpu", backend="onnx", max_length=256)
    start = Barrier(8)

    def compress(_: int) -> list[str]:
        start.wait()
        return ids(compressor.compress_documents(documents, QUERY))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(compress, range(8))) == [["r", "p"]] * 8
    assert loads == [{"name_or_path": "some/name", "device": "cpu", "backend": "onnx", "max_length": 256}]


def test_another_model_name_loads_another_model(
    loads: list[dict[str, Any]], documents: list[Document]
) -> None:
    compressor = ProvenceCompressor(model="one")
    compressor.compress_documents(documents, QUERY)
    compressor.model_copy(update={"top_n": 1}).compress_documents(documents, QUERY)
    assert len(loads) == 1
    compressor.model = "two"
    compressor.compress_documents(documents, QUERY)
    assert [load["name_or_path"] for load in loads] == ["one", "two"]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_used_compressor_can_be_copied_and_pickled(
    loads: list[dict[str, Any]], documents: list[Document], duplicate: Any
) -> None:
    compressor = ProvenceCompressor(top_n=1, ratio=0.5)
    compressor.compress_documents(documents, QUERY)
    other = duplicate(compressor)
    assert other.model_dump() == compressor.model_dump()
    assert ids(other.compress_documents(documents, QUERY)) == ["r"]
    assert len(loads) == 2


def test_a_model_without_ranking_head_keeps_the_order(documents: list[Document]) -> None:
    documents[1].metadata["relevance_score"] = 0.25  # an earlier reranker's
    compressor = ProvenceCompressor(model=fake_provence(can_rank=False))
    second, third = compressor.compress_documents(documents, QUERY)
    assert second.metadata["relevance_score"] == 0.25
    assert "replaced" not in second.metadata["provence"]
    assert "relevance_score" not in third.metadata
    assert third.page_content == "Penguins live in Antarctica. Penguins live on ice."

    compressor.top_n = 2
    assert ids(compressor.compress_documents(documents, QUERY)) == ["p"]
    compressor.score_threshold = 0.5
    with pytest.raises(CheckpointError, match="no ranking head"):
        compressor.compress_documents(documents, QUERY)


def test_a_model_without_pruning_head_only_sorts(documents: list[Document]) -> None:
    compressor = ProvenceCompressor(model=fake_provence(can_prune=False))
    results = compressor.compress_documents(documents, QUERY)
    assert [result.page_content for result in results] == [RELEVANT, PARTLY, UNRELATED]
    assert results[0].metadata["provence"]["kept_spans"] == [[0, len(RELEVANT)]]


def test_without_langchain_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    monkeypatch.delitem(sys.modules, "langchain_provence")
    with pytest.raises(MissingExtraError, match=r"pip install .*\[langchain\]'"):
        importlib.import_module("langchain_provence")
