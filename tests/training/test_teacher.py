"""The teacher's similarities against the encoder run by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from provence_rag.chunking import Span
from provence_training.data import Passage, Question
from provence_training.teacher import BiEncoderTeacher, TeacherCache

TEXT = "the cat sat on the mat. the tea is hot. rain is cold."
SENTENCES = (Span(0, 23), Span(24, 39), Span(40, 53))


def make_passage(name: str, text: str, *questions: str) -> Passage:
    return Passage(
        id=name,
        source="made",
        language="en",
        title="",
        text=text,
        sentences=SENTENCES,
        questions=tuple(Question(id=f"{i}", text=q, answers=None) for i, q in enumerate(questions)),
    )


PASSAGES = [
    make_passage("p", TEXT, "what is hot", "where sat the cat"),
    make_passage("q", "the dog", "who"),
    make_passage("r", "tea is hot. " * 20),  # more tokens than the encoder has positions
]


@pytest.fixture
def cache(encoder: Path, tmp_path: Path) -> TeacherCache:
    teacher = BiEncoderTeacher(encoder)
    directory = tmp_path / "teacher"
    directory.mkdir()
    teacher.embed(PASSAGES[:1], directory / "0.npz")
    teacher.embed(PASSAGES[1:], directory / "1.npz", tokens_per_batch=16)
    return TeacherCache(directory)


def states(encoder: Path, text: str) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Hidden states of one text, alone, and the offsets of its tokens."""
    model = AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    encoding = Tokenizer.from_file(str(encoder / "tokenizer.json")).encode(text)
    with torch.inference_mode():
        return model(input_ids=torch.tensor([encoding.ids])).last_hidden_state[0], encoding.offsets


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def test_similarities_are_those_of_pooled_tokens(encoder: Path, cache: TeacherCache) -> None:
    hidden, offsets = states(encoder, f"passage: {TEXT}")
    shift = len("passage: ")
    for i, query in enumerate(["what is hot", "where sat the cat"]):
        question = states(encoder, f"query: {query}")[0].mean(0)
        for sentences in (SENTENCES, SENTENCES[1:], SENTENCES[:1]):
            inside = [
                [j for j, (_, end) in enumerate(offsets) if s.start < end - shift <= s.end] for s in sentences
            ]
            whole, each = cache.similarities(("p", str(i)), "p", sentences)
            expected = [cosine(hidden[rows].mean(0), question) for rows in inside]
            assert each == pytest.approx(expected, abs=2e-3)  # they are stored in half precision
            everything = hidden[[j for rows in inside for j in rows]].mean(0)
            assert whole == pytest.approx(cosine(everything, question), abs=2e-3)


def test_a_question_meets_other_passages(encoder: Path, cache: TeacherCache) -> None:
    hidden, offsets = states(encoder, "passage: the dog")
    question = states(encoder, "query: what is hot")[0].mean(0)
    words = [j for j, (_, end) in enumerate(offsets) if end > len("passage: ")]
    whole, (only,) = cache.similarities(("p", "0"), "q", [Span(0, 7)])
    assert whole == pytest.approx(cosine(hidden[words].mean(0), question), abs=2e-3)
    assert only == pytest.approx(whole)


def test_what_the_encoder_cannot_reach_is_nan(cache: TeacherCache) -> None:
    whole, each = cache.similarities(("p", "0"), "r", [Span(0, 11), Span(216, 227), Span(228, 239)])
    assert not np.isnan(whole)
    assert [np.isnan(x) for x in each] == [False, True, True]
    whole, each = cache.similarities(("p", "0"), "r", [Span(228, 239)])
    assert np.isnan(whole)
    assert np.isnan(each).all()


def test_what_is_cached(cache: TeacherCache) -> None:
    assert "p" in cache
    assert "r" in cache
    assert "s" not in cache
    assert set(cache.questions) == {("p", "0"), ("p", "1"), ("q", "0")}


def test_a_file_appears_when_it_is_complete(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: object, **_: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        BiEncoderTeacher(encoder).embed(PASSAGES[:1], tmp_path / "0.npz")
    assert not list(tmp_path.glob("*.npz"))
