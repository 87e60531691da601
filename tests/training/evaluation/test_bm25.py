"""Terms and scores of the BM25 that finds distractors."""

from __future__ import annotations

import numpy as np
import pytest

from provence_training.evaluation.bm25 import BM25, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat's CAT, 3 cats.", ["the", "cat", "s", "cat", "3", "cats"]),
        ("煎茶は70度", ["煎茶", "茶は", "70", "度"]),
        ("ｶﾀｶﾅ snake_case", ["カタ", "タカ", "カナ", "snake", "case"]),
        ("… !", []),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_scores_rank_shared_and_rare_terms_first() -> None:
    index = BM25(["the cat sat", "the dog sat", "the cat and the other cat", "犬がいる。"])
    assert np.argsort(-index.scores("a cat"))[:2].tolist() == [2, 0]
    assert index.scores("the dog").argmax() == 1
    assert index.scores("犬が").tolist()[:3] == [0, 0, 0]
    assert index.scores("犬が")[3] > 0


@pytest.mark.parametrize("query", ["", "unknown words", "?"])
def test_nothing_in_common(query: str) -> None:
    assert BM25(["the cat sat", "!"]).scores(query).tolist() == [0, 0]


def test_a_corpus_without_terms() -> None:
    assert BM25(["!", "?"]).scores("the cat").tolist() == [0, 0]
