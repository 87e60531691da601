"""The teacher's similarities compared with running the encoder directly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from provence_rag.chunking import Span
from provence_training.cache import ContentCache
from provence_training.data.passages import Passage
from provence_training.pairs.pair_set import Kind
from provence_training.pairs.text_pairs import TextPair
from provence_training.teachers.late_chunking import LateChunkingTeacher

TEXT = "the cat sat on the mat. the tea is hot. rain is cold."
SENTENCES = (Span(0, 23), Span(24, 39), Span(40, 53))


def make_passage(name: str, text: str, *sentences: Span) -> Passage:
    return Passage(
        id=name,
        source="made",
        language="en",
        title="",
        text=text,
        sentences=sentences,
        questions=(),
    )


PASSAGES = [
    make_passage("p", TEXT, *SENTENCES),
    make_passage("q", "the dog", Span(0, 7)),
    # More tokens than the encoder has positions.
    make_passage("r", "tea is hot. " * 20, Span(0, 11), Span(216, 227), Span(228, 239)),
]


def make_pair(question: str, passage: Passage, window: range) -> TextPair:
    return TextPair(
        question=question,
        question_source=passage.source,
        passage=passage,
        window=window,
        kind=Kind.OWN,
        label=None,
    )


Score = Callable[[str, str, range], tuple[float, list[float]]]


@pytest.fixture
def score(encoder: Path, tmp_path: Path) -> Score:
    teacher = LateChunkingTeacher(encoder, ContentCache(tmp_path / "cache.sqlite"))
    passages = {p.id: p for p in PASSAGES}

    def score(question: str, passage: str, window: range) -> tuple[float, list[float]]:
        # Others before and after it, so that batches are mixed.
        pairs = [make_pair(question, passages[passage], window)]
        filler = [make_pair("who", p, range(1)) for p in PASSAGES]
        found = teacher.score([*filler, *pairs, *filler])[len(filler)]
        return found.passage, list(found.sentences or ())

    return score


def states(encoder: Path, text: str) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Hidden states of one text, alone, and the offsets of its tokens."""
    model = AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    encoding = Tokenizer.from_file(str(encoder / "tokenizer.json")).encode(text)
    with torch.inference_mode():
        return model(input_ids=torch.tensor([encoding.ids])).last_hidden_state[0], encoding.offsets


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


@pytest.mark.parametrize("query", ["what is hot", "where sat the cat"])
@pytest.mark.parametrize("window", [range(3), range(1, 3), range(1)])
def test_similarities_are_those_of_pooled_tokens(
    encoder: Path, score: Score, query: str, window: range
) -> None:
    hidden, offsets = states(encoder, f"passage: {TEXT}")
    shift = len("passage: ")
    question = states(encoder, f"query: {query}")[0].mean(0)
    inside = [
        [j for j, (_, end) in enumerate(offsets) if s.start < end - shift <= s.end]
        for s in (SENTENCES[i] for i in window)
    ]
    whole, each = score(query, "p", window)
    expected = [cosine(hidden[rows].mean(0), question) for rows in inside]
    assert each == pytest.approx(expected, abs=2e-3)  # they are stored in half precision
    everything = hidden[[j for rows in inside for j in rows]].mean(0)
    assert whole == pytest.approx(cosine(everything, question), abs=2e-3)


def test_what_the_encoder_cannot_reach_is_nan(score: Score) -> None:
    whole, each = score("what is hot", "r", range(3))
    assert not np.isnan(whole)
    assert [np.isnan(x) for x in each] == [False, True, True]
    whole, each = score("what is hot", "r", range(2, 3))
    assert np.isnan(whole)
    assert np.isnan(each).all()


def test_a_passage_is_read_once(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [make_pair("what is hot", PASSAGES[0], range(i, 3)) for i in range(3)]
    cache = ContentCache(tmp_path / "cache.sqlite")
    expected = LateChunkingTeacher(encoder, cache).score(pairs)

    def fail(*_: object) -> None:
        raise AssertionError("nothing is left to read")

    monkeypatch.setattr(LateChunkingTeacher, "_hidden_states", fail)
    other = LateChunkingTeacher(encoder, ContentCache(tmp_path / "cache.sqlite"))
    assert other.score([*pairs, pairs[0]]) == [*expected, expected[0]]
    with pytest.raises(AssertionError):
        other.score([make_pair("who", PASSAGES[0], range(1))])
    with pytest.raises(AssertionError):  # with other prefixes it is another teacher
        LateChunkingTeacher(encoder, cache, passage_prefix="").score(pairs)
