"""BM25 on a tokenizer's pieces."""

from __future__ import annotations

import numpy as np
import pytest

from provence_rag.inference.encoding import PairTokenizer
from provence_training.data import Passage
from provence_training.negatives import BM25Neighbours

TEXTS = ["the cat sat", "the dog sat on the mat", "hot tea", "猫がいる。", "犬がいる。犬がいる。"]


def make_passages(texts: list[str]) -> list[Passage]:
    return [
        Passage(id=str(i), source="made", language="en", title="", text=text, sentences=(), questions=())
        for i, text in enumerate(texts)
    ]


@pytest.fixture
def neighbours(tokenizer: PairTokenizer) -> BM25Neighbours:
    return BM25Neighbours(make_passages(TEXTS), tokenizer)


@pytest.mark.parametrize(
    ("query", "best"), [("the cat", 0), ("a mat on the mat", 1), ("tea", 2), ("猫が", 3), ("犬", 4)]
)
def test_the_best_passage_comes_first(neighbours: BM25Neighbours, query: str, best: int) -> None:
    found = neighbours.search([query], k=3)
    assert found.shape == (1, 3)
    assert found[0, 0] == best


def test_a_row_for_each_query(neighbours: BM25Neighbours) -> None:
    found = neighbours.search(["tea", "the dog"], k=2)
    assert found.dtype == np.int64
    assert found[:, 0].tolist() == [2, 1]
    assert (found[0] == neighbours.search(["tea"], k=2)[0]).all()


def test_no_more_than_there_are(neighbours: BM25Neighbours) -> None:
    assert sorted(neighbours.search(["tea"], k=99)[0].tolist()) == [0, 1, 2, 3, 4]


def test_no_queries(neighbours: BM25Neighbours) -> None:
    assert neighbours.search([], k=2).shape == (0, 2)


@pytest.mark.parametrize("query", ["", "qqq"])
def test_a_query_without_known_terms_finds_anything(neighbours: BM25Neighbours, query: str) -> None:
    assert neighbours.search([query], k=2).shape == (1, 2)
