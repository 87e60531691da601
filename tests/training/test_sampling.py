"""Which question meets which passage, and what is said of the pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from provence_rag import InvalidInputError
from provence_rag.chunking import Span
from provence_rag.inference.encoding import PairTokenizer
from provence_training.collator import Example
from provence_training.config import PairConfig
from provence_training.loss import IGNORE
from provence_training.passages import Passage, Question
from provence_training.sampling import Corpus, Pair, draw_pairs

PLAIN: dict[str, Any] = {"titles": 0.0, "keyword_queries": 0.0, "window": {"default": (20, 60)}}
OWN_ONLY: dict[str, Any] = {"bm25": 0.0, "random": 0.0}


def make_passage(number: int, source: str = "a", **changes: Any) -> Passage:
    """Four sentences; the third one answers, with a word that is in no other passage."""
    texts = [f"Passage {number} begins.", "It goes on.", f"The word is w{number}w.", "It ends here."]
    text = " ".join(texts)
    starts = [text.index(t) for t in texts]
    at = text.index(f"w{number}w")
    question = Question(
        id=f"q{number}", text=f"Which word has {number}?", answers=(Span(at, at + len(f"w{number}w")),)
    )
    passage = Passage(
        id=f"{source}{number}",
        source=source,
        language="en",
        title=f"Title {number}",
        text=text,
        sentences=tuple(Span(s, s + len(t)) for s, t in zip(starts, texts, strict=True)),
        questions=(question,),
    )
    return replace(passage, **changes)


PASSAGES = [make_passage(i) for i in range(12)]


@pytest.fixture
def draw(tokenizer: PairTokenizer) -> Callable[..., list[Pair]]:
    def draw(
        passages: Sequence[Passage] = PASSAGES,
        *,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
        leaning: frozenset[str] = frozenset(),
        **settings: Any,
    ) -> list[Pair]:
        corpus = Corpus(passages, weights or {}, leaning)
        return draw_pairs(corpus, PairConfig(**{**PLAIN, **settings}), tokenizer, seed=seed)

    return draw


Draw = Callable[..., list[Pair]]


# Which passage


def test_shares(draw: Draw) -> None:
    pairs = draw(count=1000, bm25=0.3, random=0.2)
    assert Counter(pair.kind for pair in pairs) == {"own": 500, "bm25": 300, "random": 200}
    for pair in pairs:
        assert (pair.passage is pair.own) == (pair.kind == "own")
        assert pair.label == float(pair.kind == "own")
        assert pair.question in pair.own.questions
    kinds = [pair.kind for pair in pairs[:100]]
    assert 30 < kinds.count("own") < 70  # mixed


def test_by_default_every_question_meets_its_own_passage_once(draw: Draw) -> None:
    pairs = draw(bm25=0.3, random=0.2)
    own = [pair.question.id for pair in pairs if pair.kind == "own"]
    assert sorted(own) == sorted(f"q{i}" for i in range(12))
    assert Counter(pair.kind for pair in pairs) == {"own": 12, "bm25": 7, "random": 5}


def test_bm25_finds_what_resembles_the_question(draw: Draw) -> None:
    special = [
        replace(PASSAGES[i], text=PASSAGES[i].text.replace("goes", "mat")) if i in (3, 7) else PASSAGES[i]
        for i in range(12)
    ]
    question = replace(PASSAGES[0].questions[0], text="mat mat mat")
    passages = [replace(PASSAGES[0], questions=(question,)), *(replace(p, questions=()) for p in special[1:])]
    many = [replace(make_passage(i), questions=()) for i in range(20, 50)]
    pairs = draw([*passages, *many], count=200, bm25=1.0, random=0.0)
    met = Counter(pair.passage.id for pair in pairs)
    assert {"a3", "a7"} <= set(met)
    assert len(met) <= 20
    assert "a0" not in met


def test_a_group_is_its_own_passage_and_others(draw: Draw) -> None:
    pairs = draw(per_question=4, bm25=0.6, random=0.3, keyword_queries=0.5)
    assert len(pairs) == 48
    for start in range(0, 48, 4):
        group = pairs[start : start + 4]
        assert [pair.kind == "own" for pair in group] == [True, False, False, False]
        assert len({(pair.query, pair.question.id) for pair in group}) == 1
    kinds = Counter(pair.kind for pair in draw(count=4000, per_question=4, bm25=0.6, random=0.3))
    assert kinds["own"] == 1000
    assert kinds["bm25"] / kinds["random"] == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "a0"},  # the passage itself
        {"text": PASSAGES[1].text.replace("here", "W0W")},  # has the answer, written otherwise
        {"questions": PASSAGES[0].questions},  # answers the same question
        {"sentences": ()},
    ],
)
@pytest.mark.parametrize("kind", ["bm25", "random"])
def test_passages_that_may_answer_are_not_taken(draw: Draw, changes: dict[str, Any], kind: str) -> None:
    other = make_passage(77, **{"questions": (), **changes})
    passages = [PASSAGES[0], other, *(replace(p, questions=()) for p in PASSAGES[1:4])]
    for pair in draw(passages, count=100, **{**OWN_ONLY, kind: 1.0}):
        if pair.question.id == "q0":
            assert pair.passage.text != other.text


def test_passages_of_another_language_are_not_taken(draw: Draw) -> None:
    foreign = [make_passage(i, language="ja") for i in range(50, 60)]
    for pair in draw([*PASSAGES, *foreign], count=100, bm25=0.5, random=0.5):
        assert pair.passage.language == pair.own.language


def test_a_question_without_any_other_passage(draw: Draw, caplog: pytest.LogCaptureFixture) -> None:
    pairs = draw(PASSAGES[:1], count=10, bm25=0.3, random=0.2)
    assert [pair.kind for pair in pairs] == ["own"] * 5
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["5 of 10 pairs left out: no passage lacks the answer"]


# What is learned


def kept(example: Example) -> list[str]:
    assert example.pruning_labels is not None
    return [
        example.document[s.start : s.end]
        for s, label in zip(example.sentences, example.pruning_labels, strict=True)
        if label == 1
    ]


def test_a_passage_that_answers(draw: Draw) -> None:
    for pair in draw(**OWN_ONLY):
        number = pair.question.id[1:]
        assert kept(pair.example()) == [f"The word is w{number}w."]
        assert pair.example().label == 1.0


def test_a_passage_that_does_not(draw: Draw) -> None:
    for pair in draw(count=50, bm25=0.5, random=0.5):
        assert kept(pair.example()) == []
        assert pair.example().label == 0.0
        assert f"w{pair.question.id[1:]}w" not in pair.example().document


def test_windows_have_the_length_asked_for(draw: Draw) -> None:
    lengths = [
        len(p.example().document) for p in draw(count=200, bm25=0, random=1, window={"default": (20, 40)})
    ]
    assert min(lengths) >= 20
    assert max(lengths) <= 40 + max(len("Passage 10 begins."), len("The word is w10w.")) + 1
    assert {p.example().document for p in draw(**OWN_ONLY, window=None)} == {p.text for p in PASSAGES}


def test_windows_by_language(draw: Draw) -> None:
    passages = [*PASSAGES[:4], *(make_passage(i, language="ja") for i in range(50, 54))]
    for pair in draw(passages, window={"default": (1, 1), "ja": (500, 500)}):
        assert (len(pair.window) == 4) == (pair.own.language == "ja")


def unmarked(**changes: Any) -> list[Passage]:
    return [replace(PASSAGES[0], questions=(replace(PASSAGES[0].questions[0], answers=None, **changes),))]


def test_unmarked_evidence_is_read_whole(draw: Draw) -> None:
    for seed in range(20):
        (pair,) = draw(unmarked(), seed=seed, **OWN_ONLY)
        assert pair.example().document == PASSAGES[0].text
        assert (pair.label, pair.pruning_labels) == (1.0, None)


def test_with_a_teacher_unmarked_evidence_is_cut_and_the_teacher_decides(draw: Draw) -> None:
    pairs = [draw(unmarked(), seed=seed, teacher=True, **OWN_ONLY)[0] for seed in range(20)]
    assert len({pair.window for pair in pairs}) > 3
    assert {(pair.label, pair.pruning_labels) for pair in pairs} == {(None, None)}


def test_a_passage_known_not_to_be_relevant_may_be_cut(draw: Draw) -> None:
    pairs = [draw(unmarked(relevance=0.0), seed=seed, **OWN_ONLY)[0] for seed in range(20)]
    assert len({pair.window for pair in pairs}) > 3
    assert {pair.label for pair in pairs} == {0.0}


def test_the_given_relevance_is_the_label(draw: Draw) -> None:
    question = replace(PASSAGES[0].questions[0], answers=(), relevance=0.7)
    (pair,) = draw([replace(PASSAGES[0], questions=(question,))], **OWN_ONLY)
    assert pair.label == 0.7
    assert set(pair.pruning_labels or ()) == {0}


def test_without_labels_windows_lie_anywhere(draw: Draw) -> None:
    pairs = draw(count=200, labels=False, teacher=True, **OWN_ONLY, window={"default": (1, 1)})
    assert {(pair.label, pair.pruning_labels) for pair in pairs} == {(None, None)}
    assert {pair.window[0] for pair in pairs} == {0, 1, 2, 3}


def test_leaning_questions_say_nothing_of_the_rank_of_other_passages(draw: Draw) -> None:
    pairs = draw(bm25=0.3, random=0.3, leaning=frozenset({"a"}))
    for pair in pairs:
        assert pair.label == (1.0 if pair.kind == "own" else None)
        assert (1 in (pair.pruning_labels or ())) == (pair.kind == "own")


def test_titles_and_keyword_queries(draw: Draw) -> None:
    for pair in draw(titles=1.0, keyword_queries=1.0, **OWN_ONLY):
        number = pair.question.id[1:]
        example = pair.example()
        assert example.document.startswith(f"Title {number}\n")
        assert example.pruning_labels[0] == IGNORE
        assert example.query == f"which word has {number}"
    for pair in draw(**OWN_ONLY):
        assert not pair.example().document.startswith("Title")
        assert pair.query == pair.question.text


def test_the_same_seed_gives_the_same_pairs(draw: Draw) -> None:
    mixed: dict[str, Any] = {"titles": 0.5, "keyword_queries": 0.5}
    assert draw(seed=1, **mixed) == draw(seed=1, **mixed)
    assert draw(seed=1, **mixed) != draw(seed=2, **mixed)


# Which question


def test_questions_are_drawn_by_weight(draw: Draw) -> None:
    passages = [*PASSAGES, *(make_passage(i, source="b") for i in range(4))]

    def share(**settings: Any) -> float:
        drawn = Counter(pair.own.source for pair in draw(passages, count=2000, **settings))
        return drawn["b"] / 2000

    assert share(weights={"a": 1, "b": 3}) == pytest.approx(0.75, abs=0.03)
    assert share() == pytest.approx(4 / 16, abs=0.03)
    assert share(weights={"b": 0}) == 0


def test_no_question_comes_twice_before_all_had_a_turn(draw: Draw) -> None:
    counts = Counter(pair.question.id for pair in draw(count=36, **OWN_ONLY))
    assert set(counts.values()) == {3}


def test_nothing_to_draw_from(draw: Draw) -> None:
    with pytest.raises(InvalidInputError) as raised:
        draw(PASSAGES, weights={"a": 1, "b": 2})
    assert str(raised.value) == "'b' has a weight, but no passages with questions"
    with pytest.raises(InvalidInputError) as raised:
        draw([replace(p, questions=()) for p in PASSAGES])
    assert str(raised.value) == "there is no passage with questions to draw pairs from"
