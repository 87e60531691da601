"""The shapes of records, and what is said of one with a mistake."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

from provence_rag import InvalidInputError
from provence_rag.chunking import Span
from provence_training.data.passages import Passage, Question, sentence_labels
from provence_training.data.records import TeacherColumn, parse_record

TEXT = "Cats sleep. Dogs bark loudly. Birds sing."
SENTENCES = ["Cats sleep.", "Dogs bark loudly.", "Birds sing."]
SPANS: dict[str, Any] = {
    "id": "p1",
    "lang": "en",
    "title": "Animals",
    "text": TEXT,
    "questions": [
        {
            "id": "q1",
            "question": "What do dogs do?",
            "answers": [{"start": 17, "end": 28, "text": "bark loudly"}],
        },
        {"id": "q2", "question": "Is this about animals?", "answers": None},
        {"question": "What do cows do?", "answers": [], "relevance": 0.2},
    ],
}
LABELLED: dict[str, Any] = {"query": "What do dogs do?", "sentences": SENTENCES, "labels": [0, 1, 0]}
GROUP: dict[str, Any] = {
    "id": "g",
    "query": "What do dogs do?",
    "texts": [TEXT, "Cows moo. They eat."],
    "context_spans": [[[0, 12], [12, 30], [30, 41]], [[0, 10], [10, 19]]],
    "context_spans_relevance": [[0, 1, 0], [0, 0]],
    "labels": [1, 0],
    "teacher_scores.big": [0.75, 0.0],
}


HALF = TeacherColumn("score")


def parse(record: Any, **settings: Any) -> list[Passage]:
    before = copy.deepcopy(record)
    passages = parse_record(record, source="zoo", default_id="zoo-7", **settings)
    assert record == before
    return passages


def texts(passage: Passage) -> list[str]:
    return [passage.text[s.start : s.end] for s in passage.sentences]


def test_answer_spans() -> None:
    (passage,) = parse(SPANS)
    assert texts(passage) == SENTENCES
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
            Question(id="p1-2", text="What do cows do?", answers=(), relevance=0.2),
        ),
    )


def test_only_text_and_questions_are_needed() -> None:
    (passage,) = parse({"text": "猫が寝る。犬がほえる。", "questions": []})
    assert (passage.id, passage.language, passage.title) == ("zoo-7", "ja", "")
    assert texts(passage) == ["猫が寝る。", "犬がほえる。"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"text": TEXT},
        {"text": TEXT, "sentences": [[0, 11], [12, 29], [30, 41]]},
        {"text": f"  {TEXT.replace('. ', '.')}  Unlabelled end."},
    ],
)
def test_labelled_sentences(changes: dict[str, Any]) -> None:
    (passage,) = parse({**LABELLED, **changes})
    assert passage.text == changes.get("text", TEXT)
    assert texts(passage) == SENTENCES
    (question,) = passage.questions
    assert question.answers == (passage.sentences[1],)
    assert sentence_labels(passage.sentences, question.answers) == [0, 1, 0]
    assert question.label == 1.0


def test_japanese_sentences_are_joined_by_nothing() -> None:
    (passage,) = parse({**LABELLED, "sentences": ["猫が寝る。", " 犬がほえる。"], "labels": [0, 0]})
    assert passage.text == "猫が寝る。犬がほえる。"
    assert passage.questions[0].label == 0.0


def test_the_same_sentence_twice() -> None:
    (passage,) = parse({**LABELLED, "sentences": ["No.", "No.", "Yes."]})
    assert passage.sentences == (Span(0, 3), Span(4, 7), Span(8, 12))


def test_unlabelled_sentences() -> None:
    (passage,) = parse({**LABELLED, "labels": None, "relevance": 0.5})
    assert passage.questions[0] == Question(id="zoo-7", text="What do dogs do?", answers=None, relevance=0.5)


OLD_NAMES = {"context_spans": "chunks_pos"}


@pytest.mark.parametrize("old", [False, True])
def test_context_relevance(old: bool) -> None:
    record = dict(GROUP)
    if old:
        record["chunks_pos"] = record.pop("context_spans")
        del record["context_spans_relevance"]
        record["relevant_chunks"] = [[1], []]
    first, second = parse(record, teacher=TeacherColumn("teacher_scores.big"))
    assert (first.id, second.id, first.text, second.text) == ("g-0", "g-1", *GROUP["texts"])
    assert texts(first) == ["Cats sleep. ", "Dogs bark loudly. ", "Birds sing."]
    (asked,) = first.questions
    assert (asked.id, asked.text, asked.answers, asked.label) == ("g-0", GROUP["query"], (Span(12, 30),), 1.0)
    assert asked.teacher_score == pytest.approx(math.log(3))
    assert (second.questions[0].answers, second.questions[0].label) == ((), 0.0)
    assert second.questions[0].teacher_score == pytest.approx(math.log(1e-4), abs=1e-3)


def test_context_relevance_without_spans() -> None:
    first, second = parse({key: GROUP[key] for key in ("query", "texts", "labels")})
    assert texts(first) == SENTENCES
    assert [p.questions[0].answers for p in (first, second)] == [None, None]
    assert [p.questions[0].label for p in (first, second)] == [1.0, 0.0]


def test_scores_may_be_logits() -> None:
    record = {**GROUP, "score": [7.5, -3]}
    passages = parse(record, teacher=TeacherColumn("score", "logit"))
    assert [p.questions[0].teacher_score for p in passages] == [7.5, -3.0]
    assert [p.questions[0].teacher_score for p in parse(record)] == [None, None]
    (labelled,) = parse({**LABELLED, "score": 2}, teacher=TeacherColumn("score", "logit"))
    assert labelled.questions[0].teacher_score == 2.0


def spans_with(**changes: Any) -> dict[str, Any]:
    """The first shape, with changes in its first question."""
    return {**SPANS, "questions": [{**SPANS["questions"][0], **changes}]}


# Questions without labels


def test_a_question_alone() -> None:
    (passage,) = parse({"lang": "ja", "question": "犬は何をする？"})
    assert (passage.text, passage.sentences, passage.language) == ("", (), "ja")
    (question,) = passage.questions
    assert (question.text, question.answers, question.label) == ("犬は何をする？", None, None)
    (passage,) = parse({"question": "What do the dogs of this village do?", "score": 0.5}, teacher=HALF)
    assert (passage.language, passage.questions[0].teacher_score) == ("en", 0.0)


@pytest.mark.parametrize("questions", [{}, {"questions": []}])
def test_titles_as_queries(questions: dict[str, Any]) -> None:
    record = {"title": " Animals ", "text": TEXT, **questions}
    (passage,) = parse(record, title_queries=True)
    (question,) = passage.questions
    assert (question.text, question.answers, question.label) == ("Animals", None, None)
    assert texts(passage) == SENTENCES
    (untitled,) = parse({**record, "title": " "}, title_queries=True)
    assert untitled.questions == ()
    (asked,) = parse(SPANS, title_queries=True)
    assert [q.id for q in asked.questions][:2] == ["q1", "q2"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([1], "the record: must be an object, got list [1]"),
        (
            {"question": "?", "context": "."},
            "the record must have one of the fields questions (answer spans), sentences (labelled "
            "sentences), texts (context relevance), rows (a table) and question (alone); it has question, "
            "context",
        ),
        (
            {"title": "Tea", "text": "Hot."},
            "the record must have one of the fields questions (answer spans), sentences (labelled "
            "sentences), texts (context relevance), rows (a table) and question (alone); it has title, text: "
            "a text without questions needs title_queries, or an empty list of them",
        ),
        ({"questions": []}, "text: is missing"),
        ({**SPANS, "text": 3}, "text: must be a string, got int 3"),
        ({**SPANS, "title": ["x"]}, "title: must be a string, got list ['x']"),
        ({**SPANS, "id": 1.5}, "id: must be a string or an integer, got float 1.5"),
        ({**SPANS, "questions": {}}, "questions: must be a list, got dict {}"),
        ({**SPANS, "questions": ["who?"]}, "questions[0]: must be an object, got str 'who?'"),
        (
            {**SPANS, "questions": [*SPANS["questions"], {"answers": []}]},
            "questions[3].question: is missing",
        ),
        (
            spans_with(question=" "),
            "questions[0].question: must be a string with more than white space, got str ' '",
        ),
        (spans_with(relevance=2), "questions[0].relevance: must be a number between 0 and 1, got int 2"),
        (spans_with(answers="bark"), "questions[0].answers: must be a list, got str 'bark'"),
        (spans_with(answers=[3]), "questions[0].answers[0]: must be an object, got int 3"),
        (spans_with(answers=[{"start": 1}]), "questions[0].answers[0].end: is missing"),
        (
            spans_with(answers=[{"start": 1, "end": 2.5}]),
            "questions[0].answers[0].end: must be an integer, got float 2.5",
        ),
        (
            spans_with(answers=[{"start": 40, "end": 99}]),
            "questions[0].answers[0]: must be a span of its text, which has 41 characters, got (40, 99)",
        ),
        (
            spans_with(answers=[{"start": 5, "end": 5}]),
            "questions[0].answers[0]: must be a span of its text, which has 41 characters, got (5, 5)",
        ),
        (
            spans_with(answers=[{"start": 16, "end": 27, "text": "bark loudly"}]),
            "questions[0].answers[0].text: is 'bark loudly', but (16, 27) is ' bark loudl': offsets must "
            "count characters",
        ),
        ({**LABELLED, "labels": [0, 1]}, "labels: must have an entry for each of the 3 sentences, got 2"),
        ({**LABELLED, "labels": [0, 1, 2]}, "labels[2]: must be 0 or 1, got int 2"),
        ({"query": "?", "sentences": ["A."]}, "labels: is missing"),
        ({**LABELLED, "sentences": 3}, "sentences: must be a list, got int 3"),
        ({**SPANS, "questions": None}, "questions: must be a list, got NoneType None"),
        (
            {**LABELLED, "sentences": ["A.", " "]},
            "sentences[1]: must be a string with more than white space, got str ' '",
        ),
        (
            {**LABELLED, "text": "Dogs bark loudly. Cats sleep."},
            "sentences[1]: must be found in text after the one before, got str 'Dogs bark loudly.'",
        ),
        (
            {**LABELLED, "text": TEXT, "sentences": [[0, 11], [10, 29]]},
            "sentences[1]: begins before the end of the span before it",
        ),
        (
            {**LABELLED, "text": TEXT, "sentences": [[0]]},
            "sentences[0]: must be [start, end], two integers, got list [0]",
        ),
        ({**GROUP, "texts": ["a", 3]}, "texts[1]: must be a string, got int 3"),
        ({**GROUP, "labels": [1]}, "labels: must have an entry for each of the 2 texts, got 1"),
        ({**GROUP, "labels": [1, "x"]}, "labels[1]: must be a number between 0 and 1, got str 'x'"),
        (
            {**GROUP, "context_spans": [[[0, 12]], [[0, 99]]], "context_spans_relevance": [[1], [0]]},
            "context_spans[1][0]: must be a span of its text, which has 19 characters, got (0, 99)",
        ),
        (
            {**GROUP, "context_spans_relevance": [[0, 1, 0], [0]]},
            "context_spans_relevance[1]: must have an entry for each of the 2 spans, got 1",
        ),
        (
            {**GROUP, "context_spans": None},
            "context_spans: is missing, but the relevance of its spans is given",
        ),
        (
            {**GROUP, "context_spans_relevance": None, "relevant_chunks": [[0], [2]]},
            "relevant_chunks[1][0]: must be the index of one of the 2 chunks, got 2",
        ),
    ],
)
def test_what_is_wrong_is_named(record: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        parse(record)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (TeacherColumn("teacher_scores.small"), "teacher_scores.small: is missing"),
        (TeacherColumn("labels", "logit"), None),
        (TeacherColumn("texts", "logit"), "texts[0]: must be a number, got str '"),
        (TeacherColumn("texts"), "texts[0]: must be a number between 0 and 1, got str '"),
    ],
)
def test_a_teacher_that_is_not_there(teacher: TeacherColumn, message: str | None) -> None:
    if message is None:
        assert len(parse(GROUP, teacher=teacher)) == 2
        return
    with pytest.raises(InvalidInputError) as raised:
        parse(GROUP, teacher=teacher)
    assert str(raised.value).startswith(message)


def test_an_unknown_language() -> None:
    with pytest.raises(InvalidInputError) as raised:
        parse({**SPANS, "lang": "xx"})
    assert str(raised.value).startswith("lang: language must be 'auto' or one of ")


def test_a_region_of_a_language_is_ignored() -> None:
    (passage,) = parse({**LABELLED, "lang": "zh-TW", "sentences": ["你好。", "再見！"], "labels": [1, 0]})
    assert (passage.language, passage.text) == ("zh", "你好。再見！")


def test_numbers_of_numpy_and_lone_surrogates_are_read() -> None:
    labels = np.array([0, 1, 0])
    (passage,) = parse({**LABELLED, "labels": [*labels], "relevance": np.float32(0.5), "id": np.int64(3)})
    assert (passage.id, passage.questions[0].answers) == ("3", (passage.sentences[1],))
    assert type(passage.questions[0].relevance) is float
    (odd,) = parse({"text": "Cats \ud800 sleep.", "questions": [{"question": "\ud800?", "answers": None}]})
    assert (odd.text, odd.questions[0].text) == ("Cats \ud800 sleep.", "\ud800?")
