"""Which question meets which passage, and what is said of the pair."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from provence_rag import InvalidInputError
from provence_rag.chunking import Span
from provence_training.collator import Example
from provence_training.data import Passage, Question
from provence_training.loss import IGNORE
from provence_training.sampling import Mixture, PairSampler

PLAIN: dict[str, Any] = {
    "weights": {"a": 1},
    "titles": 0.0,
    "keyword_queries": 0.0,
    "window": {"en": (20, 60)},
}


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


def draw(
    count: int,
    passages: list[Passage] = PASSAGES,
    own: int = 0,
    neighbours: Any = (),
    seed: int = 0,
    **mixture: Any,
) -> list[Example]:
    sampler = PairSampler(passages, Mixture(**{**PLAIN, **mixture}), seed)
    passage = passages[own]
    return [sampler.example(passage, passage.questions[0], neighbours) for _ in range(count)]


# Examples


def test_shares() -> None:
    examples = draw(
        2000, neighbours=PASSAGES[1:3], positives=0.5, hard_negatives=0.3, window={"en": (500, 500)}
    )
    drawn = Counter(PASSAGES.index(next(p for p in PASSAGES if p.text == e.document)) for e in examples)
    assert drawn[0] / 2000 == pytest.approx(0.5, abs=0.05)
    assert (drawn[1] + drawn[2]) / 2000 == pytest.approx(0.3 + 0.2 * 2 / 11, abs=0.05)
    assert len(drawn) == 12
    for example in examples:
        assert example.label == float(example.document == PASSAGES[0].text)


def test_a_positive_is_labelled_by_its_answer() -> None:
    for example in draw(50, positives=1.0):
        assert example.label == 1.0
        kept = [
            example.document[s.start : s.end]
            for s, k in zip(example.sentences, example.pruning_labels, strict=True)
            if k
        ]
        assert kept == ["The word is w0w."]


def test_a_negative_keeps_nothing() -> None:
    for example in draw(50, positives=0.0, hard_negatives=0.0):
        assert example.label == 0.0
        assert set(example.pruning_labels) == {0}
        assert "w0w" not in example.document


def test_windows_have_the_length_asked_for() -> None:
    lengths = [len(example.document) for example in draw(200, positives=0.0, window={"en": (20, 40)})]
    assert min(lengths) >= 20
    assert max(lengths) <= 40 + max(len("Passage 10 begins."), len("The word is w10w.")) + 1


def test_unmarked_evidence_is_read_whole() -> None:
    question = replace(PASSAGES[0].questions[0], answers=None)
    passages = [replace(PASSAGES[0], questions=(question,)), *PASSAGES[1:]]
    for example in draw(50, passages, positives=1.0):
        assert (example.document, example.label, example.pruning_labels) == (PASSAGES[0].text, 1.0, None)


def test_a_passage_known_not_to_answer_is_a_negative() -> None:
    question = replace(PASSAGES[0].questions[0], answers=())
    passages = [replace(PASSAGES[0], questions=(question,)), *PASSAGES[1:]]
    for example in draw(20, passages, positives=1.0):
        assert example.label == 0.0
        assert set(example.pruning_labels) == {0}


def test_leaning_questions_say_nothing_of_the_rank_of_other_passages() -> None:
    examples = draw(100, positives=0.5, leaning=frozenset({"a"}))
    assert {example.label for example in examples} == {1.0, None}
    for example in examples:
        assert (example.label is None) == (1 not in example.pruning_labels)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "a0"},  # the passage itself
        {"text": PASSAGES[1].text.replace("here", "W0W")},  # has the answer, written otherwise
        {"questions": PASSAGES[0].questions},  # answers the same question
        {"sentences": ()},
    ],
)
def test_neighbours_that_may_answer_are_not_taken(changes: dict[str, Any]) -> None:
    examples = draw(100, neighbours=[make_passage(77, **changes)], positives=0.0, hard_negatives=1.0)
    for example in examples:
        assert "w77w" not in example.document
        assert "W0W" not in example.document


def test_random_passages_are_not_the_own_one() -> None:
    examples = draw(200, PASSAGES[:2], positives=0.0, hard_negatives=0.0, window={"en": (500, 500)})
    assert {example.document for example in examples} == {PASSAGES[1].text}


def test_without_any_other_passage_it_is_a_positive() -> None:
    (example,) = draw(1, PASSAGES[:1], positives=0.0)
    assert example.label == 1.0


def test_random_passages_have_the_language_of_the_question() -> None:
    foreign = [make_passage(i, language="ja") for i in range(50, 60)]
    examples = draw(100, [*PASSAGES, *foreign], positives=0.0, hard_negatives=0.0, window={"en": (500, 500)})
    assert {example.document for example in examples} <= {p.text for p in PASSAGES}


def test_titles_and_keyword_queries() -> None:
    for example in draw(20, positives=1.0, titles=1.0, keyword_queries=1.0):
        assert example.document.startswith("Title 0\n")
        assert example.pruning_labels[0] == IGNORE
        assert example.query == "which word has 0"
    for example in draw(20, positives=1.0):
        assert not example.document.startswith("Title")
        assert example.query == "Which word has 0?"


def test_the_same_seed_gives_the_same_examples() -> None:
    assert draw(50, seed=1) == draw(50, seed=1)
    assert draw(50, seed=1) != draw(50, seed=2)


# Questions


def test_questions_are_drawn_by_weight() -> None:
    passages = [*PASSAGES, *(make_passage(i, source="b") for i in range(4))]
    sampler = PairSampler(passages, Mixture(weights={"a": 3, "b": 1}), seed=0)
    drawn = Counter(passage.source for passage, _ in sampler.questions(2000))
    assert drawn["b"] / 2000 == pytest.approx(0.25, abs=0.03)


def test_no_question_comes_twice_before_all_had_a_turn() -> None:
    drawn = [q.id for _, q in PairSampler(PASSAGES, Mixture(weights={"a": 1}), seed=0).questions(36)]
    for turn in (drawn[:12], drawn[12:24], drawn[24:]):
        assert len(set(turn)) == 12
    assert drawn[:12] != drawn[12:24]


def test_passages_without_sentences_are_left_out() -> None:
    sampler = PairSampler([*PASSAGES, make_passage(99, sentences=())], Mixture(weights={"a": 1}), seed=0)
    assert "a99" not in {passage.id for passage, _ in sampler.questions(100)}


def test_a_data_set_without_questions_is_refused() -> None:
    with pytest.raises(InvalidInputError) as raised:
        PairSampler(PASSAGES, Mixture(weights={"a": 1, "b": 2}), seed=0)
    assert str(raised.value) == "mixture.weights names 'b', but no passage of that source has questions"
