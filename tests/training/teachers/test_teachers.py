"""Teachers against the models that they are, and from scores to examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.pair_encoder import PairEncoder
from provence_rag.modeling.model import ProvenceModel
from provence_training.cache import ContentCache
from provence_training.config import PairConfig, ScaleConfig, TeacherConfig
from provence_training.data.passages import Passage, Question
from provence_training.learning.collator import Example, ProvenceCollator
from provence_training.pairs.drawing import draw_pairs
from provence_training.pairs.packing import pack_passages
from provence_training.pairs.pair_set import Kind, PairSet
from provence_training.pairs.text_pairs import TextPair
from provence_training.teachers.distillation import load_teacher, scaled_scores, teach
from provence_training.teachers.models import TeacherScores

TEXT = "the cat sat on the mat. the tea is hot. rain is cold."
SENTENCES = (Span(0, 23), Span(24, 39), Span(40, 53))


def make_pair(text: str = "what is hot", window: range = range(3), **changes: Any) -> TextPair:
    passage = Passage(
        id="p", source="made", language="en", title="", text=TEXT, sentences=SENTENCES, questions=()
    )
    pair = TextPair(
        question=text,
        question_source=passage.source,
        passage=passage,
        window=window,
        kind=Kind.OWN,
        label=0.0,
    )
    return replace(pair, **changes)


PAIRS = [make_pair(), make_pair("who", range(1, 3)), make_pair("the cat", range(1)), make_pair()]
WINDOWS = [TEXT, "the tea is hot. rain is cold.", "the cat sat on the mat.", TEXT]


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache.sqlite")


def scores_of(cache: ContentCache, kind: str, model: Path, **settings: Any) -> list[TeacherScores]:
    """Scores, which are the same when they come from the cache."""
    config = TeacherConfig(kind=kind, model=str(model), **{"precision": "float32", **settings})
    scores = load_teacher(config, cache).score(PAIRS)
    again = load_teacher(config, cache).score(PAIRS[::-1])[::-1]
    np.testing.assert_equal(again, scores)
    assert all(type(s.passage) is float for s in scores)
    return scores


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_a_cross_encoder(cache: ContentCache, joint: Path) -> None:
    scores = scores_of(cache, "cross-encoder", joint, batch_size=2)
    expected = CrossEncoder(str(joint)).predict(
        [(pair.question, text) for pair, text in zip(PAIRS, WINDOWS, strict=True)],
        activation_fn=torch.nn.Identity(),
    )
    assert [s.passage for s in scores] == pytest.approx(expected.tolist(), abs=1e-5)
    assert {s.sentences for s in scores} == {None}


def test_a_bi_encoder(cache: ContentCache, encoder: Path, tmp_path: Path) -> None:
    transformer = st_modules.Transformer(str(encoder))
    pooling = st_modules.Pooling(transformer.get_embedding_dimension(), pooling_mode="cls")
    model = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    model.save(str(tmp_path / "st"))
    scores = scores_of(cache, "bi-encoder", tmp_path / "st", query_prefix="who ", passage_prefix="it ")

    def embed(text: str) -> Any:
        return model.encode(text, normalize_embeddings=True)

    for pair, text, score in zip(PAIRS, WINDOWS, scores, strict=True):
        query = embed(f"who {pair.question}")
        assert score.passage == pytest.approx(float(query @ embed(f"it {text}")), abs=1e-5)
        each = [TEXT[SENTENCES[i].start : SENTENCES[i].end] for i in pair.window]
        assert score.sentences == pytest.approx([float(query @ embed(f"it {s}")) for s in each], abs=1e-5)


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_a_provence_checkpoint(cache: ContentCache, joint: Path) -> None:
    scores = scores_of(cache, "provence", joint, batch_size=2)
    model = ProvenceModel.from_pretrained(joint)
    tokenizer = PairTokenizer.from_directory(joint)
    for pair, score in zip(PAIRS, scores, strict=True):
        example = Example(query=pair.question, document=pair.text, sentences=pair.sentences)
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
    exact, rounded = (scores_of(cache, kind, model, precision=name) for name in ("float32", "bfloat16"))
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


def scored(count: int, language: str, shift: float) -> tuple[list[TextPair], list[TeacherScores]]:
    """Right pairs with similarities around 0.8, random ones around 0.3; their sentences are 0.1 below."""
    pairs, scores = [], []
    for i in range(count):
        pair = make_pair(kind=Kind.OWN if i % 2 else Kind.RANDOM)
        pair = replace(pair, passage=replace(pair.passage, language=language))
        if i % 2:
            pair = replace(pair, label=1.0)
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
        "passages and {} with random ones. Give random a share so that both kinds of pairs are drawn, and "
        "choose a teacher that tells them apart"
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


# Pairs


class FakeTeacher:
    """Scores a text by its length, or by its kind, and each sentence by its first letter."""

    def __init__(self, *, gives_logits: bool = True, shift: float = 0.0) -> None:
        self.gives_logits = gives_logits
        self.shift = shift
        self.pairs: list[TextPair] = []

    def score(self, pairs: Sequence[TextPair]) -> list[TeacherScores]:
        self.pairs = [*pairs]
        return [
            TeacherScores(len(pair.text) + self.shift, [ord(pair.text[s.start]) for s in pair.sentences])
            for pair in pairs
        ]


class KindTeacher(FakeTeacher):
    """Scores a text by how it was found."""

    def score(self, pairs: Sequence[TextPair]) -> list[TeacherScores]:
        return [TeacherScores(0.8 if pair.kind == Kind.OWN else 0.1, None) for pair in pairs]


def configured(**settings: Any) -> TeacherConfig:
    return TeacherConfig(kind="provence", model="fake", **settings)


def make_passages(count: int, language: str = "en") -> list[Passage]:
    """Passages of different lengths, one question each."""
    passages = []
    for i in range(count):
        text = f"the cat sat. {'the tea is hot ' * (i + 1)}. rain {language} {i}."
        ends = [j + 1 for j, character in enumerate(text) if character == "."]
        starts = [0, *(end + 1 for end in ends[:-1])]
        at = text.index(f"{language} {i}")
        answers = (Span(at, len(text) - 1),)
        question = Question(id=f"q{i}", text=f"what is {language} {i}", answers=answers, teacher_score=i / 2)
        passages.append(
            Passage(
                id=str(i),
                source="made",
                language=language,
                title="A title",
                text=text,
                sentences=tuple(map(Span, starts, ends)),
                questions=(question,),
            )
        )
    return passages


Draw = Callable[..., PairSet]


@pytest.fixture
def draw(tokenizer: PairTokenizer) -> Draw:
    encoder = PairEncoder(tokenizer, ProvenceConfig(max_length=512))

    def draw(passages: list[Passage], **settings: Any) -> PairSet:
        config = PairConfig(**{"window": (10, 60), "titles": 0.5, "teacher": True, **settings})
        return draw_pairs(pack_passages(passages, encoder), config, encoder, seed=0)

    return draw


def test_logits_are_learned_where_they_belong(draw: Draw) -> None:
    passages = make_passages(12)
    teacher = FakeTeacher()
    drawn = draw(passages, count=60, bm25=0.3, random=0.2, junk=0.1, joined=0.3)
    pairs = teach(drawn, passages, [(teacher, configured())])
    assert len(pairs) == len(drawn)  # of the others there are labels
    is_alone = pairs.windows[:, 1, 0] == pairs.windows[:, 1, 1]
    is_scored = is_alone & (pairs.kinds != Kind.JUNK)
    assert 0 < is_scored.sum() < is_alone.sum() < 60
    np.testing.assert_array_equal(np.isnan(pairs.teacher_scores), ~is_scored)
    assert pairs.teacher_scores[is_scored].tolist() == [len(pair.text) for pair in teacher.pairs]
    rows = pairs.rows(range(60))
    expected = iter([ord(pair.text[s.start]) for pair in teacher.pairs for s in pair.sentences])
    for row, score in zip(rows.sentence_rows.tolist(), rows.sentence_teacher_scores.tolist(), strict=True):
        assert (score == next(expected)) if is_scored[row] else score != score
    for pair, number, kind in zip(
        teacher.pairs, pairs.questions[is_scored], pairs.kinds[is_scored], strict=True
    ):
        assert pair.question == f"what is en {number}"
        assert (pair.passage is passages[number]) == (kind == Kind.OWN)


@pytest.mark.parametrize("right", [3.0, 9.0])
def test_similarities_are_scaled(draw: Draw, right: float) -> None:
    passages = make_passages(40)
    drawn = draw(passages, random=0.5, bm25=0.0, labels=False)
    # A scale that is given is used for logits too.
    gives_logits, config = (
        (False, configured()) if right == 3.0 else (True, configured(scale=ScaleConfig(right=9.0)))
    )
    pairs = teach(drawn, passages, [(KindTeacher(gives_logits=gives_logits), config)])
    own = pairs.kinds == Kind.OWN
    assert own.sum() == (~own).sum() == 40
    assert pairs.teacher_scores[own] == pytest.approx(min(right, ScaleConfig().limit))
    assert pairs.teacher_scores[~own] == pytest.approx(-4.0)


def test_similarities_tell_nothing_of_questions_that_lean_on_their_passage(draw: Draw) -> None:
    reviews = [replace(passage, source="reviews") for passage in make_passages(8, "ja")]
    passages = [*make_passages(8), *reviews]
    drawn = draw(passages, random=0.5, bm25=0.0)
    for gives_logits in (True, False):
        teacher = KindTeacher(gives_logits=gives_logits)
        pairs = teach(drawn, passages, [(teacher, configured())], needs_passage=frozenset({"reviews"}))
        unknown = (pairs.questions >= 8) & (not gives_logits)
        np.testing.assert_array_equal(np.isnan(pairs.teacher_scores), unknown)


def test_of_several_teachers_the_mean_is_learned(draw: Draw) -> None:
    passages = [*make_passages(6), *make_passages(6, "ja")]
    drawn = draw(passages, count=40, bm25=0.2, random=0.2, labels=False)
    first, second = FakeTeacher(), FakeTeacher(shift=4.0)
    pairs = teach(drawn, passages, [(first, configured()), (second, configured(languages=("en",)))])
    expected = [len(p.text) + 2.0 * (p.passage.language == "en") for p in first.pairs]
    assert pairs.teacher_scores.tolist() == expected
    assert {p.passage.language for p in second.pairs} == {"en"}


def test_a_teacher_of_another_language_scores_nothing(draw: Draw, caplog: pytest.LogCaptureFixture) -> None:
    passages = make_passages(8)
    drawn = draw(passages, random=0.5, bm25=0.0)
    first, second = ((KindTeacher(gives_logits=False), configured(languages=(x,))) for x in ("en", "ja"))
    pairs = teach(drawn, passages, [first, second])
    assert caplog.messages[-1:] == [f"teacher fake scores none of {len(drawn)} pairs"]
    np.testing.assert_array_equal(pairs.teacher_scores, teach(drawn, passages, [first]).teacher_scores)


def test_scores_that_came_with_the_data(draw: Draw, caplog: pytest.LogCaptureFixture) -> None:
    passages = make_passages(8)
    drawn = draw(passages, bm25=0.5, random=0.0, labels=False)
    pairs = teach(drawn, passages, [])
    assert (pairs.kinds == Kind.OWN).all()  # the scores are of no other passages
    assert pairs.teacher_scores.tolist() == [number / 2 for number in pairs.questions]
    assert caplog.messages[-1:] == ["8 of 16 pairs left out, which have no label or score"]
