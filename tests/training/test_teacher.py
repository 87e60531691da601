"""Teachers against the models that they are, and from scores to examples."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer import modules as st_modules

from provence_rag import CheckpointError, InvalidInputError
from provence_rag.chunking import Span
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.model import ProvenceModel
from provence_training.cache import ContentCache
from provence_training.collator import ProvenceCollator
from provence_training.config import ScaleConfig, TeacherConfig
from provence_training.distillation import load_teacher, scaled_scores, taught_examples
from provence_training.loss import IGNORE
from provence_training.passages import Passage, Question
from provence_training.sampling import Pair
from provence_training.teacher import TeacherScores

TEXT = "the cat sat on the mat. the tea is hot. rain is cold."
SENTENCES = (Span(0, 23), Span(24, 39), Span(40, 53))


def make_pair(text: str = "what is hot", window: range = range(3), **changes: Any) -> Pair:
    passage = Passage(
        id="p", source="made", language="en", title="", text=TEXT, sentences=SENTENCES, questions=()
    )
    pair = Pair(
        question=Question(id="q", text=text, answers=()),
        query=text.upper(),
        own=passage,
        passage=passage,
        kind="own",
        window=window,
        with_title=False,
        label=1.0,
        pruning_labels=[0, 1, 0],
    )
    return replace(pair, **changes)


PAIRS = [make_pair(), make_pair("who", range(1, 3)), make_pair("the cat", range(1)), make_pair()]
WINDOWS = [TEXT, "the tea is hot. rain is cold.", "the cat sat on the mat.", TEXT]


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache.sqlite")


def teach(cache: ContentCache, kind: str, model: Path, **settings: Any) -> list[TeacherScores]:
    """Scores, which are the same when they come from the cache."""
    config = TeacherConfig(kind=kind, model=str(model), **{"precision": "float32", **settings})
    scores = load_teacher(config, cache).score(PAIRS)
    again = load_teacher(config, cache).score(PAIRS[::-1])[::-1]
    np.testing.assert_equal(again, scores)
    assert all(type(s.passage) is float for s in scores)
    return scores


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_a_cross_encoder(cache: ContentCache, joint: Path) -> None:
    scores = teach(cache, "cross-encoder", joint, batch_size=2)
    expected = CrossEncoder(str(joint)).predict(
        [(pair.question.text, text) for pair, text in zip(PAIRS, WINDOWS, strict=True)],
        activation_fn=torch.nn.Identity(),
    )
    assert [s.passage for s in scores] == pytest.approx(expected.tolist(), abs=1e-5)
    assert {s.sentences for s in scores} == {None}


def test_a_bi_encoder(cache: ContentCache, encoder: Path, tmp_path: Path) -> None:
    transformer = st_modules.Transformer(str(encoder))
    pooling = st_modules.Pooling(transformer.get_embedding_dimension(), pooling_mode="cls")
    model = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    model.save(str(tmp_path / "st"))
    scores = teach(cache, "bi-encoder", tmp_path / "st", query_prefix="who ", passage_prefix="it ")

    def embed(text: str) -> Any:
        return model.encode(text, normalize_embeddings=True)

    for pair, text, score in zip(PAIRS, WINDOWS, scores, strict=True):
        query = embed(f"who {pair.question.text}")
        assert score.passage == pytest.approx(float(query @ embed(f"it {text}")), abs=1e-5)
        each = [TEXT[SENTENCES[i].start : SENTENCES[i].end] for i in pair.window]
        assert score.sentences == pytest.approx([float(query @ embed(f"it {s}")) for s in each], abs=1e-5)


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_a_provence_checkpoint(cache: ContentCache, joint: Path) -> None:
    scores = teach(cache, "provence", joint, batch_size=2)
    model = ProvenceModel.from_pretrained(joint)
    tokenizer = PairTokenizer.from_directory(joint)
    for pair, score in zip(PAIRS, scores, strict=True):
        example = replace(pair.example(), query=pair.question.text)
        batch = ProvenceCollator.for_model(model, tokenizer)([example])
        ids = batch.pop("targets").sentence_ids[0]
        with torch.inference_mode():
            ranking, pruning = model(**batch)
        assert score.passage == pytest.approx(ranking.item(), abs=1e-5)
        keep = pruning[0, :, 1] - pruning[0, :, 0]
        expected = [keep[ids == number].mean().item() for number in range(len(pair.window))]
        assert score.sentences == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
@pytest.mark.parametrize("kind", ["cross-encoder", "provence", "late-chunking"])
def test_bfloat16_is_nearly_the_same(cache: ContentCache, joint: Path, encoder: Path, kind: str) -> None:
    model = encoder if kind == "late-chunking" else joint
    exact, rounded = (teach(cache, kind, model, precision=name) for name in ("float32", "bfloat16"))
    assert rounded != exact
    for one, other in zip(rounded, exact, strict=True):
        assert one.passage == pytest.approx(other.passage, abs=0.03)
        assert (one.sentences or []) == pytest.approx(other.sentences or [], abs=0.03)


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_what_a_provence_checkpoint_does_not_reach(cache: ContentCache, joint: Path) -> None:
    long = make_pair()
    text = TEXT + " the dog" * 60
    long = replace(
        long,
        passage=replace(long.passage, text=text, sentences=(*SENTENCES, Span(len(text) - 3, len(text)))),
        window=range(4),
    )
    (score,) = load_teacher(TeacherConfig(kind="provence", model=str(joint)), cache).score([long])
    assert [math.isnan(x) for x in score.sentences or ()] == [False, False, False, True]


@pytest.mark.parametrize("kind", ["provence", "late-chunking"])
def test_a_teacher_that_is_not_there(cache: ContentCache, tmp_path: Path, kind: str) -> None:
    with pytest.raises(CheckpointError):
        load_teacher(TeacherConfig(kind=kind, model=str(tmp_path / "none")), cache)


# Scales


def scored(count: int, language: str, shift: float) -> tuple[list[Pair], list[TeacherScores]]:
    """Right pairs with similarities around 0.8, random ones around 0.3; their sentences are 0.1 below."""
    pairs, scores = [], []
    for i in range(count):
        pair = make_pair(kind="own" if i % 2 else "random")
        pair = replace(pair, passage=replace(pair.passage, language=language))
        if i % 2:
            pair = replace(pair, question=replace(pair.question, answers=(Span(24, 39),)))
        base = (0.8 if i % 2 else 0.3) + shift
        noise = (0.1, 0.1, -0.1, -0.1, 0.0, 0.0, 0.0, 0.0)[i % 8]
        each = [base - 0.1, math.nan, base - 0.1] if not i % 2 else [base - 0.3, base - 0.1, math.nan]
        pairs.append(pair)
        scores.append(TeacherScores(base + noise, each))
    return pairs, scores


def mean(scores: list[TeacherScores], places: range) -> float:
    return float(np.mean([scores[i].passage for i in places]))


def test_right_and_random_pairs_get_their_logits() -> None:
    scale = ScaleConfig(right=3.0, random=-4.0, right_sentence=1.0, random_sentence=-4.0)
    english, japanese = scored(80, "en", 0.0), scored(80, "ja", 0.1)
    found = scaled_scores(english[0] + japanese[0], english[1] + japanese[1], scale)
    for start in (0, 80):  # each language by a line of its own
        assert mean(found, range(start + 1, start + 80, 2)) == pytest.approx(3.0)
        assert mean(found, range(start, start + 80, 2)) == pytest.approx(-4.0)
        assert found[start].sentences == pytest.approx([-4.0, math.nan, -4.0], nan_ok=True)
        assert found[start + 1].sentences == pytest.approx([-1.0, 1.0, math.nan], nan_ok=True)


def test_a_language_with_few_pairs_has_the_line_of_all() -> None:
    english, japanese = scored(200, "en", 0.0), scored(10, "ja", 0.1)
    found = scaled_scores(english[0] + japanese[0], english[1] + japanese[1], ScaleConfig())
    assert mean(found, range(201, 210, 2)) > 4
    assert mean(found, range(1, 200, 2)) == pytest.approx(3.0, abs=0.2)


def test_logits_have_a_limit() -> None:
    pairs, scores = scored(80, "en", 0.0)
    scores[0] = TeacherScores(-5.0, [9.0, math.nan, -9.0])
    found = scaled_scores(pairs, scores, ScaleConfig(limit=2.5))
    assert found[0] == (-2.5, pytest.approx([2.5, math.nan, -2.5], nan_ok=True))
    assert max(s.passage for s in found) == 2.5


def test_a_teacher_of_passages_only() -> None:
    pairs, scores = scored(80, "en", 0.0)
    found = scaled_scores(pairs, [TeacherScores(s.passage, None) for s in scores], ScaleConfig())
    assert mean(found, range(1, 80, 2)) == pytest.approx(3.0)
    assert {s.sentences for s in found} == {None}


def test_similarities_that_cannot_be_scaled() -> None:
    pairs, scores = scored(80, "en", 0.0)
    message = (
        "the teacher's similarities cannot be scaled: on average they are {} for questions with their own "
        "passages and {} with random ones. There must be pairs of both kinds (give random a share), and the "
        "teacher must tell them apart"
    )
    for chosen, expected in (
        (slice(1, None, 2), ("0.800", "nan")),
        (slice(0, None, 2), ("nan", "0.300")),
    ):
        with pytest.raises(InvalidInputError) as raised:
            scaled_scores(pairs[chosen], scores[chosen], ScaleConfig())
        assert str(raised.value) == message.format(*expected)
    with pytest.raises(InvalidInputError):
        scaled_scores(pairs, [TeacherScores(-s.passage, s.sentences) for s in scores], ScaleConfig())


# Examples


class FakeTeacher:
    def __init__(self, scores: list[TeacherScores], *, gives_logits: bool) -> None:
        self.scores = scores
        self.gives_logits = gives_logits

    def score(self, pairs: Any) -> list[TeacherScores]:
        assert len(pairs) == len(self.scores)
        return self.scores


def configured(**settings: Any) -> TeacherConfig:
    return TeacherConfig(kind="provence", model="fake", **settings)


def test_logits_are_taken_as_they_are() -> None:
    teacher = FakeTeacher(
        [TeacherScores(20.0, [1.0, math.nan]), TeacherScores(math.nan, None)], gives_logits=True
    )
    titled = replace(PAIRS[1].passage, title="A title")
    first, second = taught_examples(
        [replace(PAIRS[1], passage=titled, with_title=True), PAIRS[0]], [(teacher, configured())]
    )
    assert first.teacher_score == 20.0
    assert first.sentence_teacher_scores == pytest.approx([math.nan, 1.0, math.nan], nan_ok=True)
    assert first.pruning_labels == [IGNORE, 1, 0]
    assert (second.teacher_score, second.sentence_teacher_scores, second.label) == (None, None, 1.0)


def test_similarities_are_scaled() -> None:
    pairs, scores = scored(80, "en", 0.0)
    examples = taught_examples(pairs, [(FakeTeacher(scores, gives_logits=False), configured())])
    expected = scaled_scores(pairs, scores, ScaleConfig())
    assert [e.teacher_score for e in examples] == [s.passage for s in expected]
    scale = ScaleConfig(right=1.0)
    logits = taught_examples(pairs, [(FakeTeacher(scores, gives_logits=True), configured(scale=scale))])
    assert [e.teacher_score for e in logits] == [s.passage for s in scaled_scores(pairs, scores, scale)]


def test_of_several_teachers_the_mean_is_learned() -> None:
    japanese = make_pair(passage=replace(PAIRS[0].passage, language="ja"))
    pairs = [PAIRS[0], PAIRS[1], japanese]
    sentences = [[1.0] * len(pair.window) for pair in pairs]
    first = [TeacherScores(2.0, own) for own in sentences]
    second = [TeacherScores(4.0, [3.0] * len(pairs[0].window)), TeacherScores(math.nan, None)]
    examples = taught_examples(
        pairs,
        [
            (FakeTeacher(first, gives_logits=True), configured()),
            (FakeTeacher(second, gives_logits=True), configured(languages=("en",))),
        ],
    )
    assert [e.teacher_score for e in examples] == [3.0, 2.0, 2.0]
    assert [set(e.sentence_teacher_scores or ()) for e in examples] == [{2.0}, {1.0}, {1.0}]


def test_scores_that_came_with_the_data(caplog: pytest.LogCaptureFixture) -> None:
    question = replace(PAIRS[0].question, teacher_score=2.5)
    unknown = {"label": None, "pruning_labels": None}
    pairs = [
        make_pair(question=question, **unknown),
        make_pair(question=question, kind="bm25", label=0.0),  # the score is of another passage
        make_pair(**unknown),
    ]
    examples = taught_examples(pairs, [])
    assert [(e.teacher_score, e.label) for e in examples] == [(2.5, None), (None, 0.0)]
    assert caplog.messages == ["1 of 3 pairs left out: nothing is known of them"]
