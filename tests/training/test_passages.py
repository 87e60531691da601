"""Labels, windows and examples of passages."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provence_rag.chunking import Span
from provence_training.loss import IGNORE
from provence_training.passages import Passage, Question, cut_window, make_example, sentence_labels


def make_passage(num_sentences: int = 6) -> Passage:
    texts = [f"Sentence {'x' * (3 * i)} {i}." for i in range(num_sentences)]
    starts = [sum(len(t) + 1 for t in texts[:i]) for i in range(num_sentences)]
    spans = tuple(Span(start, start + len(t)) for start, t in zip(starts, texts, strict=True))
    return Passage(
        id="p",
        source="made",
        language="en",
        title=" A\n title\n",
        text=" ".join(texts),
        sentences=spans,
        questions=(),
    )


# Labels


@pytest.mark.parametrize(
    ("answers", "relevance", "label"),
    [((Span(0, 3),), None, 1.0), ((), None, 0.0), (None, None, 1.0), ((), 1.0, 1.0), (None, 0.25, 0.25)],
)
def test_the_label_of_a_question(
    answers: tuple[Span, ...] | None, relevance: float | None, label: float
) -> None:
    assert Question(id="q", text="Who?", answers=answers, relevance=relevance).label == label


@pytest.mark.parametrize(
    ("answers", "labels"),
    [
        ([], [0, 0, 0]),
        ([Span(0, 4)], [1, 0, 0]),
        ([Span(10, 11)], [1, 0, 0]),
        ([Span(11, 12)], [0, 0, 0]),  # the space between
        ([Span(10, 13)], [1, 1, 0]),
        ([Span(0, 1), Span(30, 31)], [1, 0, 1]),
        ([Span(0, 41)], [1, 1, 1]),
    ],
)
def test_sentence_labels(answers: list[Span], labels: list[int]) -> None:
    assert sentence_labels([Span(0, 11), Span(12, 29), Span(30, 41)], answers) == labels


# Windows


@given(
    labels=st.lists(st.integers(0, 1), min_size=6, max_size=6),
    characters=st.integers(1, 200),
    seed=st.integers(0, 99),
)
def test_a_window_holds_all_that_is_kept(labels: list[int], characters: int, seed: int) -> None:
    passage = make_passage(6)
    window = cut_window(passage, labels, characters, random.Random(seed))
    kept = [i for i, label in enumerate(labels) if label]
    assert window.step == 1
    assert set(kept) <= set(window) <= set(range(6))

    def length(run: range) -> int:
        return passage.sentences[run[-1]].end - passage.sentences[run[0]].start

    assert length(window) >= min(characters, len(passage.text))
    # It grows from one end or the other: without the sentence added last, it was too short.
    needed = range(kept[0], kept[-1] + 1) if kept else window[:1]
    if len(window) > len(needed):
        assert min(length(window[1:]), length(window[:-1])) < characters


def test_windows_vary() -> None:
    rng = random.Random(0)
    starts = {cut_window(make_passage(6), [0, 0, 0, 1, 0, 0], 40, rng).start for _ in range(50)}
    assert len(starts) > 1
    assert len({cut_window(make_passage(6), [0] * 6, 1, rng) for _ in range(100)}) == 6


# Examples


def test_spans_move_with_the_window() -> None:
    passage = make_passage(6)
    example = make_example("q", passage, range(2, 5), label=1.0, pruning_labels=[0, 0, 1, 0, 1, 0])
    assert example.document == passage.text[passage.sentences[2].start : passage.sentences[4].end]
    assert [example.document[s.start : s.end] for s in example.sentences] == [
        passage.text[s.start : s.end] for s in passage.sentences[2:5]
    ]
    assert (example.query, example.label, example.pruning_labels) == ("q", 1.0, [1, 0, 1])


@pytest.mark.parametrize("labels", [None, [0, 0, 1, 0, 1, 0]])
def test_a_title_is_a_sentence_that_is_not_learned_from(labels: list[int] | None) -> None:
    passage = make_passage(6)
    plain = make_example("q", passage, range(2, 5), label=None, pruning_labels=labels)
    titled = make_example("q", passage, range(2, 5), label=None, pruning_labels=labels, with_title=True)
    assert titled.document == f"A title\n{plain.document}"
    texts = [titled.document[s.start : s.end] for s in titled.sentences]
    assert texts == ["A title", *(plain.document[s.start : s.end] for s in plain.sentences)]
    assert titled.pruning_labels == (None if labels is None else [IGNORE, 1, 0, 1])


def test_a_blank_title_is_left_out() -> None:
    passage = Passage(**{**vars(make_passage(2)), "title": " \n"})
    example = make_example("q", passage, range(2), label=None, pruning_labels=None, with_title=True)
    assert example.document == passage.text
