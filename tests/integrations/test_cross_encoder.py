from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from pydantic import ValidationError

from langchain_provence import ProvenceCrossEncoder
from provence_rag import CheckpointError, InvalidInputError, Provence
from provence_rag.testing import fake_provence

QUERY = "Where do penguins live?"
RELEVANT = "Penguins live in Antarctica."
PARTLY = "Many penguins swim."
UNRELATED = "My car has new tyres."
PAIRS = [(QUERY, UNRELATED), (QUERY, RELEVANT), ("What swims?", PARTLY)]


def test_scores_are_those_of_predict_as_python_floats(model: Provence) -> None:
    scores = ProvenceCrossEncoder(model=model).score(PAIRS)
    assert scores == model.predict(PAIRS).tolist()
    assert [type(score) for score in scores] == [float] * 3
    assert json.loads(json.dumps(scores)) == scores


def test_one_pair_gives_a_list(model: Provence) -> None:
    assert len(ProvenceCrossEncoder(model=model).score([(QUERY, RELEVANT)])) == 1


def test_no_pairs_need_no_model(loads: list[dict[str, Any]]) -> None:
    assert ProvenceCrossEncoder().score([]) == []
    assert loads == []


def test_cross_encoder_reranker(model: Provence) -> None:
    encoder = ProvenceCrossEncoder(model=model)
    assert isinstance(encoder, BaseCrossEncoder)
    documents = [Document(page_content=text) for text in (UNRELATED, PARTLY, RELEVANT)]
    best = CrossEncoderReranker(model=encoder, top_n=2).compress_documents(documents, QUERY)
    assert [document.page_content for document in best] == [RELEVANT, PARTLY]


def test_the_fields_reach_the_model(
    model: Provence, loads: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_sizes = []
    predict = model.predict

    def recording(pairs: Any, **options: Any) -> Any:
        batch_sizes.append(options["batch_size"])
        return predict(pairs, **options)

    monkeypatch.setattr(model, "predict", recording)
    encoder = ProvenceCrossEncoder(model="some/name", device="cpu", backend="onnx", batch_size=2)
    for _ in range(2):
        encoder.score(PAIRS)
    assert loads == [{"name_or_path": "some/name", "device": "cpu", "backend": "onnx"}]
    assert batch_sizes == [2, 2]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_used_cross_encoder_can_be_copied_and_pickled(loads: list[dict[str, Any]], duplicate: Any) -> None:
    encoder = ProvenceCrossEncoder(model="some/name")
    scores = encoder.score(PAIRS)
    assert duplicate(encoder).score(PAIRS) == scores
    assert [load["name_or_path"] for load in loads] == ["some/name"] * 2


@pytest.mark.parametrize("fields", [{"top_n": 3}, {"batch_size": 0}, {"backend": "tensorflow"}])
def test_a_wrong_field_is_reported_at_construction(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        ProvenceCrossEncoder(**fields)


def test_loading_fields_do_not_go_with_a_loaded_model(model: Provence) -> None:
    with pytest.raises(ValidationError, match="device cannot be set on a loaded model"):
        ProvenceCrossEncoder(model=model, device="cpu")


def test_what_cannot_be_scored_is_refused(model: Provence) -> None:
    with pytest.raises(InvalidInputError, match="blank"):
        ProvenceCrossEncoder(model=model).score([(" ", RELEVANT)])
    with pytest.raises(CheckpointError, match="no ranking head"):
        ProvenceCrossEncoder(model=fake_provence(can_rank=False)).score(PAIRS)
