"""The APIs of Cohere, Jina and text-embeddings-inference: their shapes, scores and errors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from provence_rag import Provence, PruningOptions
from provence_rag.inference.engine import Engine
from provence_rag.testing import fake_provence

from .conftest import Connect

QUERY = "When was the tower finished?"
DOCUMENTS = ["Tea is hot.", "The tower was finished in 1889. Cats sleep.", "The tower is high."]
BODY = {"query": QUERY, "documents": DOCUMENTS, "model": "rerank-v3.5"}
PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")


def body(path: str, **more: Any) -> dict[str, Any]:
    texts = {"texts": DOCUMENTS} if path == "/rerank" else {"documents": DOCUMENTS}
    return {"query": QUERY, **texts, **more}


def ranked(model: Provence) -> list[tuple[int, float]]:
    return [(entry["corpus_id"], entry["score"]) for entry in model.rank(QUERY, DOCUMENTS)]


def test_cohere(client: TestClient, model: Provence) -> None:
    answer = client.post("/v2/rerank", json={**BODY, "top_n": 2, "max_tokens_per_doc": 4096}).json()
    expected = [{"index": index, "relevance_score": score} for index, score in ranked(model)[:2]]
    assert answer["results"] == expected
    assert answer["meta"]["api_version"] == {"version": "2"}
    assert answer["meta"]["tokens"]["input_tokens"] > 10
    assert answer["id"] != client.post("/v2/rerank", json=BODY).json()["id"]


def test_jina_and_the_first_version_of_cohere_share_a_path(client: TestClient, model: Provence) -> None:
    answer = client.post("/v1/rerank", json=BODY).json()
    assert answer["results"] == [
        {"index": index, "relevance_score": score, "document": {"text": DOCUMENTS[index]}}
        for index, score in ranked(model)
    ]
    assert answer["model"] == "provence"
    assert answer["usage"]["total_tokens"] == answer["meta"]["tokens"]["input_tokens"]
    assert answer["meta"]["api_version"] == {"version": "1"}
    assert "document" not in client.post("/v1/rerank", json={**BODY, "return_documents": False}).text


def test_documents_may_be_objects(client: TestClient, model: Provence) -> None:
    documents = [{"text": text, "url": f"/{n}", "title": "Towers"} for n, text in enumerate(DOCUMENTS)]
    answer = client.post("/v1/rerank", json={**BODY, "documents": documents}).json()
    passages = model.process(QUERY, DOCUMENTS, titles=["Towers"] * 3, reorder=True)
    assert [(r["index"], r["relevance_score"]) for r in answer["results"]] == [
        (passage.index, passage.score) for passage in passages
    ]
    assert all(result["document"] == documents[result["index"]] for result in answer["results"])


def test_fields_to_rank_by(client: TestClient, model: Provence) -> None:
    documents = [{"title": "The tower", "body": "Finished in 1889."}, {"body": "Tea.", "title": "Hot"}]
    fields = {"documents": documents, "rank_fields": ["title", "body"]}
    results = client.post("/v1/rerank", json={**BODY, **fields}).json()["results"]
    expected = model.rank(QUERY, ["The tower\nFinished in 1889.", "Hot\nTea."])
    assert [(r["index"], r["relevance_score"]) for r in results] == [
        (entry["corpus_id"], entry["score"]) for entry in expected
    ]
    several = {**BODY, **fields, "rank_fields": ["title", "body", "title"] * 100, "prune": True}
    results = client.post("/v1/rerank", json=several).json()["results"]
    assert sorted(result["original_length"] for result in results) == [8, 27]  # each once
    response = client.post("/v1/rerank", json={**BODY, **fields, "rank_fields": ["author"]})
    assert response.status_code == 422
    assert response.json()["message"] == (
        "documents[0] must be a string, or an object with strings for author"
    )
    many = {**BODY, **fields, "rank_fields": ["x" * 100_000, "y" * 100]}
    assert len(client.post("/v1/rerank", json=many).json()["message"]) < 200
    wrong = client.post("/v1/rerank", json={**BODY, "documents": [1]}).json()["message"]
    assert wrong == "documents[0] must be a string or an object, got 1"


def test_fields_that_json_does_not_have(client: TestClient) -> None:
    content = '{"query": "a", "documents": [{"text": "b", "rank": 1}, {"text": "c", "rank": 1e999}]}'
    response = client.post("/v1/rerank", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["message"] == "documents[1].rank: numbers must be finite"


def test_tei(client: TestClient, model: Provence) -> None:
    request = {"query": QUERY, "texts": DOCUMENTS, "truncate": True}
    assert client.post("/rerank", json=request).json() == [
        {"index": index, "score": score} for index, score in ranked(model)
    ]
    raw = client.post("/rerank", json={**request, "raw_scores": True, "return_text": True}).json()
    passages = model.process(QUERY, DOCUMENTS, reorder=True)
    assert raw == [{"index": p.index, "score": p.logit, "text": p.document} for p in passages]


@pytest.mark.parametrize("path", PATHS)
def test_pruning(client: TestClient, model: Provence, path: str) -> None:
    def results(**more: Any) -> list[dict[str, Any]]:
        answer = client.post(path, json=body(path, **more)).json()
        found: list[dict[str, Any]] = answer if path == "/rerank" else answer["results"]
        return found

    for prune, options in (
        (True, PruningOptions()),
        ({"threshold": 0.2, "context_after": 1}, PruningOptions(threshold=0.2, context_after=1)),
    ):
        expected = model.process(QUERY, DOCUMENTS, options=options, reorder=True)
        for result, passage in zip(results(prune=prune), expected, strict=True):
            assert result["index"] == passage.index
            assert result["pruned_text"] == passage.text
            assert result["kept_spans"] == passage.kept_spans
            assert result["sentence_scores"] == [sentence.score for sentence in passage.sentences]
            assert result["sentence_spans"] == [[s.start, s.end] for s in passage.sentences]
    assert all("pruned_text" not in result for result in results(prune=False))


def test_null_is_no_pruning(client: TestClient) -> None:
    answer = client.post("/v2/rerank", json=body("/v2/rerank", prune=None)).json()
    assert answer["results"] == client.post("/v2/rerank", json=body("/v2/rerank")).json()["results"]


@pytest.mark.parametrize("path", PATHS)
def test_errors_have_the_shape_of_the_original(client: TestClient, path: str) -> None:
    response = client.post(path, json=body(path, prune={"ratio": 2}))
    assert response.status_code == 422
    message = "prune.ratio must be a number between 0 and 1, got 2.0"
    assert (
        response.json()
        == {
            "/v2/rerank": {"message": message},
            "/v1/rerank": {"message": message, "detail": message},
            "/rerank": {"error": message, "error_type": "Validation"},
        }[path]
    )
    if path != "/rerank":
        assert "top_n must be at least 1, got 0" in client.post(path, json=body(path, top_n=0)).text
    for options, problem in (
        ({"language": "xx"}, "prune.language must be"),
        ({"keep_answers": 0.999}, "prune.keep_answers=0.999"),
        ({"threshold": 0.5, "ratio": 0.5}, "prune.threshold and ratio"),
    ):
        assert problem in client.post(path, json=body(path, prune=options)).text
    assert (
        "prune must be true, false or an object of options, got 1"
        in client.post(path, json=body(path, prune=1)).text
    )
    names = {"query": 1}, {"prune": 1}, {"prune": {"ratoi": 0.5}}
    for wrong, place in zip(names, ("query", "prune", "prune.ratoi"), strict=True):
        assert f"{place} " in client.post(path, json=body(path, **wrong)).text


@pytest.mark.parametrize("path", PATHS)
def test_scores_are_in_the_unit_range(connect: Connect, path: str) -> None:
    """Also those of a checkpoint whose scores are logits, and of a text that is not read."""
    fake = fake_provence()
    config = replace(fake.config, score_activation="identity")
    engine = Engine(fake.backend, fake.engine._tokenizer, config, pad_token_id=2)
    texts = [*DOCUMENTS, " "]
    request = {"query": QUERY, "texts" if path == "/rerank" else "documents": texts}
    answer = connect(model=Provence(engine)).post(path, json=request).json()
    results = answer if path == "/rerank" else answer["results"]
    scores = {one["index"]: one["score" if path == "/rerank" else "relevance_score"] for one in results}
    expected = {entry["corpus_id"]: entry["score"] for entry in fake.rank(QUERY, texts)}
    assert scores == pytest.approx(expected)
    assert scores[3] == 0


def test_the_raw_score_of_a_text_that_is_not_read_is_finite(client: TestClient) -> None:
    ranks = client.post("/rerank", json={"query": QUERY, "texts": ["Tower.", ""], "raw_scores": True}).json()
    assert ranks[1]["index"] == 1
    assert math.isfinite(ranks[1]["score"])
    assert ranks[1]["score"] < -1e38


def test_a_checkpoint_that_only_prunes_cannot_rerank(connect: Connect) -> None:
    client = connect(model=fake_provence(can_rank=False))
    response = client.post("/rerank", json=body("/rerank"))
    assert response.status_code == 422
    assert "only prunes" in response.json()["error"]
    assert client.post("/v1/prune", json={"query": QUERY, "documents": DOCUMENTS}).status_code == 200
