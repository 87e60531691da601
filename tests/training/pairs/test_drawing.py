"""Which question meets which passage, and what is learned from the pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from provence_rag import InvalidInputError
from provence_rag.chunking import Span
from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.pair_encoder import PairEncoder
from provence_training.config import PairConfig
from provence_training.data.passages import Passage, Question
from provence_training.pairs.drawing import draw_pairs
from provence_training.pairs.packing import pack_passages
from provence_training.pairs.pair_set import Kind, PairSet
from provence_training.pairs.targets import IGNORE

PLAIN: dict[str, Any] = {"titles": 0.0, "keyword_queries": 0.0, "window": (12, 24)}
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


class Drawn:
    """Pairs with the passages that they are of."""

    def __init__(self, pairs: PairSet, passages: Sequence[Passage]) -> None:
        self.pairs = pairs
        self.texts = [p for p in passages if p.sentences]
        self.asked = [(p, q) for p in passages for q in p.questions]
        self.kinds = [Kind(kind).name.lower() for kind in pairs.kinds]
        self.questions = [self.asked[number][1] for number in pairs.questions]
        self.own = [self.asked[number][0] for number in pairs.questions]
        self.labels = [None if x != x else round(x, 6) for x in pairs.labels.tolist()]

    def __len__(self) -> int:
        return len(self.pairs)

    def passage(self, pair: int, window: int = 0) -> Passage | None:
        """The passage of a pair, None for junk."""
        first = self.pairs.windows[pair, window, 0]
        number = int(np.searchsorted(self.pairs.pack.passages, first, "right")) - 1
        return self.texts[number] if number < len(self.texts) else None

    def window(self, pair: int, window: int = 0) -> list[str]:
        """The sentences that are read."""
        passage = self.passage(pair, window)
        assert passage is not None
        base = self.pairs.pack.passages[self.texts.index(passage)]
        chosen = slice(*(self.pairs.windows[pair, window] - base).tolist())
        return [passage.text[s.start : s.end] for s in passage.sentences[chosen]]

    def sentence_labels(self, pair: int) -> list[int]:
        """What is learned of them."""
        return self.pairs.sentence_labels(np.array([pair]))[1].tolist()


Draw = Callable[..., Drawn]


@pytest.fixture
def encoder(tokenizer: PairTokenizer) -> PairEncoder:
    return PairEncoder(tokenizer, ProvenceConfig(max_length=512))


@pytest.fixture
def draw(encoder: PairEncoder) -> Draw:
    packed = cache(
        lambda passages, needs_passage: pack_passages(passages, encoder, needs_passage=needs_passage)
    )

    def draw(
        passages: Sequence[Passage] = PASSAGES,
        *,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
        needs_passage: frozenset[str] = frozenset(),
        guided: frozenset[str] = frozenset(),
        **settings: Any,
    ) -> Drawn:
        pack = packed(tuple(passages), needs_passage)
        config = PairConfig(**{**PLAIN, **settings})
        return Drawn(draw_pairs(pack, config, encoder, seed=seed, weights=weights, guided=guided), passages)

    return draw


# Which passage


def test_shares(draw: Draw) -> None:
    drawn = draw(count=1000, bm25=0.3, random=0.15, junk=0.05)
    assert Counter(drawn.kinds) == {"own": 500, "bm25": 300, "random": 150, "junk": 50}
    for pair, kind in enumerate(drawn.kinds):
        assert (drawn.passage(pair) is drawn.own[pair]) == (kind == "own")
        assert (drawn.passage(pair) is None) == (kind == "junk")
        assert drawn.labels[pair] == float(kind == "own")
    assert 30 < drawn.kinds[:100].count("own") < 70  # mixed


def test_by_default_every_question_meets_its_own_passage_once(draw: Draw) -> None:
    drawn = draw(bm25=0.3, random=0.2)
    own = [q.id for q, kind in zip(drawn.questions, drawn.kinds, strict=True) if kind == "own"]
    assert sorted(own) == sorted(f"q{i}" for i in range(12))
    assert Counter(drawn.kinds) == {"own": 12, "bm25": 7, "random": 5}


def test_bm25_finds_what_resembles_the_question(draw: Draw) -> None:
    special = [
        replace(PASSAGES[i], text=PASSAGES[i].text.replace("goes", "mat")) if i in (3, 7) else PASSAGES[i]
        for i in range(12)
    ]
    question = replace(PASSAGES[0].questions[0], text="mat mat mat")
    passages = [replace(PASSAGES[0], questions=(question,)), *(replace(p, questions=()) for p in special[1:])]
    drawn = draw(passages, count=200, bm25=1.0, random=0.0)
    assert {drawn.passage(pair).id for pair in range(200)} == {"a3", "a7"}


def test_a_group_is_its_own_passage_and_others(draw: Draw) -> None:
    drawn = draw(per_question=4, bm25=0.6, random=0.3, keyword_queries=0.5)
    assert len(drawn) == 48
    for start in range(0, 48, 4):
        group = slice(start, start + 4)
        assert [kind == "own" for kind in drawn.kinds[group]] == [True, False, False, False]
        assert len(set(drawn.pairs.groups[group])) == len(set(drawn.pairs.questions[group])) == 1
        assert len(set(drawn.pairs.with_keywords[group])) == 1
        met = [drawn.passage(pair).id for pair in range(start, start + 4) if drawn.kinds[pair] != "random"]
        assert len(set(met)) == len(met)
    kinds = Counter(draw(count=4000, per_question=4, bm25=0.6, random=0.3).kinds)
    assert kinds["own"] == 1000
    assert kinds["bm25"] / kinds["random"] == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {"text": PASSAGES[0].text},  # the passage itself
        {"text": PASSAGES[1].text.replace("here", "W0W")},  # has the answer, written otherwise
        {"text": PASSAGES[1].text + " Which word has 0? None."},  # has the question
        {"questions": PASSAGES[0].questions},  # answers the same question
        {"sentences": ()},
    ],
)
@pytest.mark.parametrize("kind", ["bm25", "random"])
def test_passages_that_may_answer_are_not_taken(draw: Draw, changes: dict[str, Any], kind: str) -> None:
    other = make_passage(77, **{"questions": (), **changes})
    passages = [PASSAGES[0], other, *(replace(p, questions=()) for p in PASSAGES[1:4])]
    drawn = draw(passages, count=100, **{**OWN_ONLY, kind: 1.0})
    met = {drawn.passage(pair).id for pair in range(100) if drawn.questions[pair].id == "q0"}
    assert met
    assert met <= {"a1", "a2", "a3"}


def test_passages_of_another_language_are_not_taken(draw: Draw) -> None:
    foreign = [make_passage(i, language="ja") for i in range(50, 60)]
    drawn = draw([*PASSAGES, *foreign], count=100, bm25=0.5, random=0.5)
    for pair in range(100):
        assert drawn.passage(pair).language == drawn.own[pair].language


def test_a_question_without_any_other_passage(draw: Draw, caplog: pytest.LogCaptureFixture) -> None:
    drawn = draw(PASSAGES[:1], count=10, bm25=0.3, random=0.2)
    assert drawn.kinds == ["own"] * 5
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "5 of 10 pairs left out: every other passage may answer the question"
    ]


def test_questions_that_need_their_passage_meet_other_data_sets_only(draw: Draw) -> None:
    passages = [*PASSAGES, *(make_passage(i, source="b") for i in range(20, 30))]
    drawn = draw(passages, count=200, bm25=0.3, random=0.3, needs_passage=frozenset({"a"}))
    sources = {
        (drawn.own[pair].source, drawn.passage(pair).source)
        for pair, kind in enumerate(drawn.kinds)
        if kind != "own"
    }
    assert ("a", "a") not in sources
    assert {("a", "b"), ("b", "b"), ("b", "a")} <= sources


# What is learned


def test_a_passage_that_answers(draw: Draw) -> None:
    drawn = draw(**OWN_ONLY)
    for pair, question in enumerate(drawn.questions):
        labels = drawn.sentence_labels(pair)
        kept = [s for s, label in zip(drawn.window(pair), labels, strict=True) if label == 1]
        assert kept == [f"The word is w{question.id[1:]}w."]
        assert drawn.labels[pair] == 1.0


def test_a_passage_that_does_not(draw: Draw) -> None:
    drawn = draw(count=50, bm25=0.5, random=0.25, junk=0.25)
    for pair in range(50):
        assert set(drawn.sentence_labels(pair)) == {0}
        assert drawn.labels[pair] == 0.0


def test_a_sentence_with_the_text_of_the_answer_elsewhere_is_unknown(draw: Draw) -> None:
    text = PASSAGES[0].text.replace("w0w", "word0word").replace("It goes on.", "It is Word0Word.")
    at = text.index("word0word")
    question = replace(PASSAGES[0].questions[0], answers=(Span(at, at + 9),))
    sentences, start = [], 0
    for end in (i + 1 for i, character in enumerate(text) if character == "."):
        sentences.append(Span(start, end))
        start = end + 1
    passage = replace(PASSAGES[0], text=text, sentences=tuple(sentences), questions=(question,))
    assert draw([passage], window=None, **OWN_ONLY).sentence_labels(0) == [0, IGNORE, 1, 0]


def test_windows_have_at_most_the_tokens_asked_for(draw: Draw) -> None:
    drawn = draw(count=200, bm25=0, random=1, window=(30, 40))
    sizes = np.diff(drawn.pairs.pack.sentences[drawn.pairs.windows[:, 0]], axis=1)
    assert sizes.max() <= 40
    # Another sentence does not fit, or does not exist.
    whole = {p.id: p.text for p in PASSAGES}
    longest = max(np.diff(drawn.pairs.pack.sentences))
    for pair, size in enumerate(sizes):
        assert size >= 30 - longest or " ".join(drawn.window(pair)) == whole[drawn.passage(pair).id]
    uncut = draw(**OWN_ONLY, window=None)
    assert {" ".join(uncut.window(pair)) for pair in range(12)} == set(whole.values())


def test_a_sentence_that_is_too_long_is_a_window_of_its_own(draw: Draw) -> None:
    drawn = draw(count=100, window=(1, 1), **OWN_ONLY)
    assert all(drawn.window(pair) == [f"The word is w{q.id[1:]}w."] for pair, q in enumerate(drawn.questions))


def unmarked(**changes: Any) -> list[Passage]:
    return [replace(PASSAGES[0], questions=(replace(PASSAGES[0].questions[0], answers=None, **changes),))]


def test_unmarked_evidence_is_read_whole(draw: Draw) -> None:
    for seed in range(20):
        drawn = draw(unmarked(), seed=seed, **OWN_ONLY)
        assert len(drawn.window(0)) == 4
        assert (drawn.labels, set(drawn.sentence_labels(0))) == ([1.0], {IGNORE})


def test_with_a_teacher_unmarked_evidence_is_cut_and_the_teacher_decides(draw: Draw) -> None:
    pairs = [draw(unmarked(), seed=seed, teacher=True, **OWN_ONLY) for seed in range(20)]
    assert len({tuple(drawn.window(0)) for drawn in pairs}) > 3
    for drawn in pairs:
        assert drawn.labels == ([1.0] if len(drawn.window(0)) == 4 else [None])
        assert set(drawn.sentence_labels(0)) == {IGNORE}
    assert len({drawn.labels[0] for drawn in pairs}) == 1  # all of them are parts
    assert draw(unmarked(), teacher=True, window=None, **OWN_ONLY).labels == [1.0]


def test_with_a_teacher_neighbours_of_unmarked_questions_are_not_labelled(draw: Draw) -> None:
    passages = [*unmarked(), *(replace(p, questions=()) for p in PASSAGES[1:])]
    for settings, of_neighbours in (
        ({"teacher": True}, {None}),
        ({"guided": frozenset({"a"})}, {None}),
        ({"guided": frozenset({"other"})}, {0.0}),
        ({}, {0.0}),
    ):
        drawn = draw(passages, count=40, bm25=0.5, random=0.5, **settings)
        kinds = np.array(drawn.kinds)
        labels = np.array(drawn.labels, dtype=object)
        assert set(labels[kinds == "bm25"]) == of_neighbours
        assert set(labels[kinds == "random"]) == {0.0}


def test_a_passage_known_not_to_be_relevant_may_be_cut(draw: Draw) -> None:
    pairs = [draw(unmarked(relevance=0.0), seed=seed, **OWN_ONLY) for seed in range(20)]
    assert len({tuple(drawn.window(0)) for drawn in pairs}) > 3
    assert {drawn.labels[0] for drawn in pairs} == {0.0}


def test_the_given_relevance_is_the_label(draw: Draw) -> None:
    question = replace(PASSAGES[0].questions[0], answers=(), relevance=0.7)
    drawn = draw([replace(PASSAGES[0], questions=(question,))], **OWN_ONLY)
    assert drawn.labels == [0.7]
    assert set(drawn.sentence_labels(0)) == {0}


def test_without_labels_windows_lie_anywhere(draw: Draw) -> None:
    drawn = draw(count=200, labels=False, teacher=True, **OWN_ONLY, window=(1, 1))
    assert set(drawn.labels) == {None}
    assert {label for pair in range(200) for label in drawn.sentence_labels(pair)} == {IGNORE}
    assert len({drawn.window(pair)[0].split()[0] for pair in range(200)}) == 3  # Passage, It, The


def unjudged() -> list[Passage]:
    """A question with a passage that may answer it, and one without a passage."""
    question = replace(PASSAGES[0].questions[0], answers=None, is_judged=False)
    alone = make_passage(20, text="", sentences=(), questions=(replace(question, id="alone"),))
    return [replace(PASSAGES[0], questions=(question,)), alone, *PASSAGES[1:]]


def test_questions_of_which_nothing_is_known(draw: Draw) -> None:
    ids = {q.id for q in draw(unjudged(), bm25=0.3, random=0.3).questions}
    assert ids == {f"q{i}" for i in range(1, 12)}
    drawn = draw(unjudged(), per_question=3, bm25=0.5, random=0.4, teacher=True)
    assert {q.id for q in drawn.questions} == {"alone", *(f"q{i}" for i in range(12))}
    for pair, question in enumerate(drawn.questions):
        if question.id in ("alone", "q0"):
            assert drawn.labels[pair] is None
            assert set(drawn.sentence_labels(pair)) == {IGNORE}
    alone = [kind for q, kind in zip(drawn.questions, drawn.kinds, strict=True) if q.id == "alone"]
    assert len(alone) == 3
    assert "own" not in alone


def test_questions_of_which_only_a_guide_knows(draw: Draw) -> None:
    passages = [*unjudged(), make_passage(30, source="b")]
    known = {"alone", *(f"q{i}" for i in range(12))}
    for settings, expected in (
        ({"guided": frozenset({"a"})}, {*known, "q30"}),
        ({"guided": frozenset({"b"})}, {*known, "q30"} - {"alone", "q0"}),
        ({"guided": frozenset({"a"}), "labels": False}, known),
    ):
        drawn = draw(passages, bm25=0.3, random=0.3, count=300, **settings)
        assert {q.id for q in drawn.questions} == expected


def test_another_passage_before_or_after_the_one_that_answers(draw: Draw) -> None:
    drawn = draw(count=200, joined=1.0, titles=1.0, window=(100, 120), **OWN_ONLY)
    places = set()
    joined = [pair for pair in range(200) if drawn.pairs.windows[pair, 1].any()]
    assert len(joined) > 100
    for pair in joined:
        passages = [drawn.passage(pair, window) for window in (0, 1)]
        place = [p is drawn.own[pair] for p in passages].index(True)
        places.add(place)
        assert passages[1 - place] is not drawn.own[pair]
        sentences = [s for window in (0, 1) for s in drawn.window(pair, window)]
        kept = [s for s, x in zip(sentences, drawn.sentence_labels(pair), strict=True) if x == 1]
        assert kept == [f"The word is w{drawn.questions[pair].id[1:]}w."]
        assert drawn.labels[pair] == 1.0
        assert not drawn.pairs.with_title[pair]
        assert np.diff(drawn.pairs.pack.sentences[drawn.pairs.windows[pair]], axis=1).sum() <= 120
    assert places == {0, 1}


def test_titles_and_keyword_queries(draw: Draw, tokenizer: PairTokenizer) -> None:
    for share in (0.0, 1.0):
        drawn = draw(titles=share, keyword_queries=share, **OWN_ONLY)
        rows = drawn.pairs.rows(range(len(drawn)))
        for pair, question in enumerate(drawn.questions):
            text = question.text.lower().removesuffix("?") if share else question.text
            (query, title) = tokenizer.tokenize([text, f"Title {question.id[1:]}\n"])
            assert rows.lengths[pair, 1] == len(query)
            assert rows.lengths[pair, 3:5].sum() == (len(title) if share else 0)


def test_the_same_seed_gives_the_same_pairs(draw: Draw) -> None:
    mixed: dict[str, Any] = {"titles": 0.5, "keyword_queries": 0.5, "joined": 0.5, "junk": 0.1}
    one, same, other = (draw(seed=seed, **mixed).pairs for seed in (1, 1, 2))
    for name in ("questions", "windows", "with_title", "with_keywords", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.windows, other.windows)


def test_what_is_learned_from_a_guide(encoder: PairEncoder) -> None:
    pack = pack_passages([*PASSAGES, make_passage(12, source="b")], encoder)
    config = PairConfig(bm25=0.3, random=0.3)
    pairs = draw_pairs(pack, config, encoder, seed=0, guided=frozenset({"b"}))
    rows = pairs.rows(range(len(pairs)))
    assert rows.guided.tolist() == [number == 12 for number in pairs.questions]
    assert rows.guided.any()


# Which question


def test_questions_are_drawn_by_weight(draw: Draw) -> None:
    passages = [*PASSAGES, *(make_passage(i, source="b") for i in range(12, 16))]

    def share(**settings: Any) -> float:
        return [p.source for p in draw(passages, count=2000, **settings).own].count("b") / 2000

    assert share(weights={"a": 1, "b": 3}) == pytest.approx(0.75, abs=0.03)
    assert share() == pytest.approx(4 / 16, abs=0.03)
    assert share(weights={"b": 0}) == 0


def test_no_question_comes_twice_before_all_had_a_turn(draw: Draw) -> None:
    counts = Counter(question.id for question in draw(count=36, **OWN_ONLY).questions)
    assert set(counts.values()) == {3}


def test_nothing_to_draw_from(draw: Draw) -> None:
    with pytest.raises(InvalidInputError) as raised:
        draw(PASSAGES, weights={"a": 1, "b": 2})
    assert str(raised.value) == "the source 'b' has a weight, but no questions"
    with pytest.raises(InvalidInputError) as raised:
        draw([replace(p, questions=()) for p in PASSAGES])
    assert str(raised.value) == "no question can be learned from: questions need labels, a teacher or a guide"


def test_sets_are_put_together_and_taken_apart(encoder: PairEncoder) -> None:
    pack = pack_passages(PASSAGES, encoder)
    sets = [
        draw_pairs(pack, PairConfig(per_question=size, bm25=0.4, random=0.4), encoder, seed=size)
        for size in (2, 3)
    ]
    together = PairSet.concatenated(sets)
    assert len(together) == 24 + 36
    assert Counter(np.unique(together.groups, return_counts=True)[1].tolist()) == {2: 12, 3: 12}
    is_second = np.arange(60) >= 24
    again = together.select(is_second)
    for name in ("questions", "windows", "with_title", "labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(sets[1], name))
    rows, expected = again.rows([3, 1, 7]), sets[1].rows([3, 1, 7])
    assert rows.starts.tolist() == expected.starts.tolist()
    assert rows.pruning_labels.tolist() == expected.pruning_labels.tolist()


def test_where_nothing_can_be_drawn_there_are_no_pairs(draw: Draw) -> None:
    passages = [*PASSAGES, *unmarked(is_judged=False)]
    assert len(draw(passages, weights={"a": 0})) == 0
