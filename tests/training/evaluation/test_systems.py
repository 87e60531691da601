"""What a model and the baselines say of topics."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from provence_rag import MissingExtraError
from provence_rag.chunking import Span
from provence_rag.testing import fake_provence
from provence_training.evaluation import EmbeddingFilter, Topic, score_with


def topic(query: str, *documents: str, language: str = "en", marked: bool = True) -> Topic:
    return Topic(
        query=query,
        language=language,
        documents=documents,
        grades=(1, *[0] * (len(documents) - 1)),
        ideal_grades=(1,),
        first_stage=tuple(float(-i) for i in range(len(documents))),
        answers=(Span(0, 1),) if marked else None,
    )


TOPICS = [
    topic("what is the cat on", "the cat sat on the mat. tea is hot.", "the dog sat."),
    topic("猫がいるは", "猫がいる。犬がいる。", language="ja"),
    topic("who is hot", "", "tea is hot. rain.", marked=False),
]


# The model


def test_a_model_reads_each_topic_in_its_language() -> None:
    model = fake_provence()
    for one, scored in zip(TOPICS, score_with(model, TOPICS), strict=True):
        expected = model.process(one.query, one.documents)
        assert scored.relevance is not None
        assert scored.relevance.tolist() == [p.logit for p in expected]
        assert scored.keep is not None
        assert [s.tolist() for s in scored.keep] == [[s.score for s in p.sentences] for p in expected]
        assert [[tuple(s) for s in own] for own in scored.sentences] == [
            [(s.start, s.end) for s in p.sentences] for p in expected
        ]


def test_a_model_with_one_head() -> None:
    ranking = score_with(fake_provence(can_prune=False), TOPICS)
    assert all(one.keep is None and one.sentences == () for one in ranking)
    pruning = score_with(fake_provence(can_rank=False), TOPICS)
    assert all(one.relevance is None and one.keep is not None for one in pruning)


# The embedding filter


@pytest.fixture
def quiet() -> Iterator[None]:
    """The library says that it makes a bi-encoder of a bare encoder."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_similarities_are_cosines_of_mean_embeddings(encoder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    model = AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()

    def embed(text: str) -> np.ndarray:
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
        mean = states.mean(0).double().numpy()
        return mean / np.linalg.norm(mean)

    found = EmbeddingFilter(encoder, query_prefix="who ", passage_prefix="tea ")(TOPICS)
    for one, scored in zip(TOPICS, found, strict=True):
        query = embed(f"who {one.query}")
        assert scored.relevance is not None
        expected = [embed(f"tea {text}") @ query for text in one.documents]
        assert scored.relevance == pytest.approx(expected, abs=1e-5)
        if one.answers is None:
            assert (scored.keep, scored.sentences) == (None, ())
            continue
        assert scored.keep is not None
        for text, spans, scores in zip(one.documents, scored.sentences, scored.keep, strict=True):
            expected = [embed(f"tea {text[s.start : s.end]}") @ query for s in spans]
            assert scores == pytest.approx(expected, abs=1e-5)
    first, second = found[0].sentences
    assert (len(first), len(second)) == (2, 1)
    assert len(found[1].sentences[0]) == 2


def test_the_filter_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[train\]'"):
        EmbeddingFilter("anything")
