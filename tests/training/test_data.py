"""Records in, examples out."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provence_rag import InvalidInputError
from provence_rag.chunking import Span
from provence_training.data import Passage, Question, cut_window, load_passages, make_example, sentence_labels
from provence_training.loss import IGNORE

TEXT = "Cats sleep. Dogs bark loudly. Birds sing."
SENTENCES = ("Cats sleep.", "Dogs bark loudly.", "Birds sing.")
RECORD: dict[str, Any] = {
    "id": "p1",
    "lang": "en",
    "title": "Animals",
    "text": TEXT,
    "questions": [
        {"id": "q1", "question": "What do dogs do?", "answers": [{"start": 17, "end": 28}]},
        {"id": "q2", "question": "Is this about animals?", "answers": None},
        {"id": "q3", "question": "What do cows do?", "answers": []},
    ],
}


def write(path: Path, *lines: Any) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def make_passage(num_sentences: int = 6) -> Passage:
    texts = [f"Sentence {'x' * (3 * i)} {i}." for i in range(num_sentences)]
    starts = [sum(len(t) + 1 for t in texts[:i]) for i in range(num_sentences)]
    spans = tuple(Span(start, start + len(t)) for start, t in zip(starts, texts, strict=True))
    return Passage(
        id="p",
        source="made",
        language="en",
        title=" A title\n",
        text=" ".join(texts),
        sentences=spans,
        questions=(),
    )


# Reading


@pytest.mark.parametrize("name", ["zoo.jsonl", "zoo.jsonl.gz"])
def test_a_record(tmp_path: Path, name: str) -> None:
    (passage,) = load_passages(write(tmp_path / name, RECORD, "", "  "))
    assert passage == Passage(
        id="p1",
        source="zoo",
        language="en",
        title="Animals",
        text=TEXT,
        sentences=passage.sentences,
        questions=(
            Question(id="q1", text="What do dogs do?", answers=(Span(17, 28),)),
            Question(id="q2", text="Is this about animals?", answers=None),
            Question(id="q3", text="What do cows do?", answers=()),
        ),
    )
    assert tuple(TEXT[s.start : s.end] for s in passage.sentences) == SENTENCES


def test_sentences_follow_the_language_of_each_record(tmp_path: Path) -> None:
    japanese = {**RECORD, "lang": "ja", "text": "猫が寝る。犬がほえる。", "questions": []}
    english, other = load_passages(write(tmp_path / "a.jsonl", RECORD, japanese))
    assert len(english.sentences) == 3
    assert [other.text[s.start : s.end] for s in other.sentences] == ["猫が寝る。", "犬がほえる。"]


def test_a_line_separator_within_a_text_is_no_line_end(tmp_path: Path) -> None:
    line = json.dumps({**RECORD, "text": TEXT.replace(" ", "\u2028", 1)}, ensure_ascii=False)
    (passage,) = load_passages(write(tmp_path / "a.jsonl", line))
    assert "\u2028" in passage.text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({key: RECORD[key] for key in RECORD if key != "title"}, "there is no field 'title'"),
        ({**RECORD, "lang": "xx"}, "language must be 'auto' or one of "),
        ({**RECORD, "questions": 3}, "not iterable"),
        ([1, 2], "list indices must be integers"),
        ("{", "Expecting property name"),
        (
            {
                **RECORD,
                "questions": [{"id": "q", "question": "?", "answers": [{"start": 40, "end": 99}]}],
            },
            "question q: answer (40, 99) is outside the text",
        ),
        (
            {**RECORD, "questions": [{"id": "q", "question": "?", "answers": [{"start": 5, "end": 5}]}]},
            "question q: answer (5, 5) is outside the text",
        ),
    ],
)
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, line: Any, reason: str) -> None:
    path = write(tmp_path / "a.jsonl", RECORD, "", line)
    with pytest.raises(InvalidInputError) as raised:
        load_passages(path)
    assert str(raised.value).startswith(f"{path}:3: ")
    assert reason in str(raised.value)


# Labels


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
