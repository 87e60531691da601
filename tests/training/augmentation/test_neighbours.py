"""The nearest questions, compared with embeddings computed here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel

from provence_rag import InvalidInputError
from provence_training.augmentation import neighbours
from provence_training.augmentation.neighbours import nearest_questions
from provence_training.data import load_passages
from provence_training.data.passages import Passage

QUESTIONS = ["who sat", "who sat on mat", "what is hot", "where is the tea", "the dog is cold", "rain is hot"]


def asking(*questions: str, language: str = "en") -> list[Passage]:
    """A passage for each question."""
    answers = [{"start": 0, "end": 1}]
    return load_passages(
        {"text": "a b", "lang": language, "questions": [{"question": question, "answers": answers}]}
        for question in questions
    )


@pytest.fixture
def cosines(encoder: Path) -> NDArray[np.float32]:
    """Mean-pooled embeddings, shape (6, 6)."""
    model = AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    rows = []
    with torch.inference_mode():
        for question in QUESTIONS:
            ids = torch.tensor([tokenizer.encode(f"query: {question}").ids])
            rows.append(model(input_ids=ids).last_hidden_state[0].mean(0).numpy())
    vectors = np.stack([row / np.linalg.norm(row) for row in rows])
    return np.asarray(vectors @ vectors.T)


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
@pytest.mark.parametrize(("block", "k"), [(2**22, 8), (6, 2)])
def test_neighbours_lie_within_the_band(
    encoder: Path, cosines: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, block: int, k: int
) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    apart = np.sort(cosines[~np.eye(len(cosines), dtype=bool)])
    band = (float(apart[4] + apart[5]) / 2, float(apart[-4] + apart[-5]) / 2)
    expected = {}
    for i, row in enumerate(cosines):
        near = sorted((j for j in range(6) if j != i and band[0] <= row[j] <= band[1]), key=lambda j: -row[j])
        if near:
            expected[QUESTIONS[i]] = [QUESTIONS[j] for j in near[:k]]
    found = nearest_questions(
        asking(*QUESTIONS, *QUESTIONS), encoder, similarity=band, k=k, query_prefix="query: ", device="cpu"
    )
    assert found == expected
    assert len(found) > 2


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_a_question_with_other_numbers_asks_something_else(encoder: Path) -> None:
    passages = asking("who sat in 1998", "who sat in 2002", "in 1998 who sat")
    assert nearest_questions(passages, encoder, similarity=(-1, 1), device="cpu") == {
        "who sat in 1998": ["in 1998 who sat"],
        "in 1998 who sat": ["who sat in 1998"],
    }


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_questions_that_a_passage_answers_differently_ask_something_else(encoder: Path) -> None:
    spans = {"who sat": (0, 3), "who sat on mat": (2, 5), "what sat": (6, 9)}
    questions = [{"question": q, "answers": [{"start": s, "end": e}]} for q, (s, e) in spans.items()]
    passages = load_passages([{"text": "cat dog mat", "lang": "en", "questions": questions}])
    assert nearest_questions(passages, encoder, similarity=(-1, 1), device="cpu") == {
        "who sat": ["who sat on mat"],
        "who sat on mat": ["who sat"],
    }


@pytest.mark.parametrize("band", [(0.9, 0.8), (-2.0, 0.5), (0.5, 1.5), (float("nan"), 1.0)])
def test_a_band_that_is_none(band: tuple[float, float]) -> None:
    message = f"similarity must be two ascending numbers between -1 and 1, got {band[0]:g} and {band[1]:g}"
    with pytest.raises(InvalidInputError) as raised:
        nearest_questions([], "no/such-encoder", similarity=band)
    assert str(raised.value) == message


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_only_questions_that_can_be_asked_are_compared(encoder: Path) -> None:
    unmarked = {"text": "a b", "lang": "en", "questions": [{"question": "what sat", "answers": None}]}
    passages = [*asking("who sat"), *asking("who sat on mat", language="ja"), *load_passages([unmarked])]
    assert nearest_questions(passages, encoder, similarity=(-1, 1), device="cpu") == {}
