"""Files with answer spans and files with ranked documents."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from provence_rag import InvalidInputError
from provence_rag.chunking import Span
from provence_training.evaluation import load_topics


def passage(
    name: str, text: str, *questions: tuple[str, list[tuple[int, int]] | None], lang: str = "en"
) -> Any:
    return {
        "id": name,
        "lang": lang,
        "title": "",
        "text": text,
        "questions": [
            {
                "id": f"{name}-{i}",
                "question": question,
                "answers": None if spans is None else [{"start": a, "end": b} for a, b in spans],
            }
            for i, (question, spans) in enumerate(questions)
        ],
    }


OTTERS = "Otters sleep in rivers."
PASSAGES = [
    passage("otters", OTTERS, ("Where do otters sleep?", [(16, 22)]), ("Who sleeps?", [])),
    passage("bears", "Bears sleep in caves.", ("Is it about bears?", None)),
    passage("same", "Otters sleep. In rivers they do.", ("Where do otters sleep?", [(17, 23)])),
    passage("copy", OTTERS),
    passage("trout", "Trout live in rivers."),
    passage("german", "Otters sleep where otters sleep.", lang="de"),
]
RANKED = {
    "id": "1",
    "lang": "ja",
    "query": "どこ？",
    "ideal_grades": [1, 3, 2],
    "documents": [
        {"id": "a", "text": "犬。", "grade": None},
        {"id": "b", "text": "川。", "grade": 3},
    ],
}


def write(path: Path, records: list[Any]) -> Path:
    lines = "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


@pytest.mark.parametrize("name", ["animals.jsonl", "animals.jsonl.gz"])
def test_questions_meet_their_passage_and_the_best_others(tmp_path: Path, name: str) -> None:
    found = load_topics(write(tmp_path / name, PASSAGES), distractors=9)
    assert (found.name, found.first_stage, found.has_answers) == ("animals", "BM25", True)
    otters, bears, same = found.topics  # not the question without an answer
    # Neither its copy, nor what the same question is asked of, nor another language.
    assert otters.documents == (OTTERS, "Bears sleep in caves.", "Trout live in rivers.")
    assert (otters.grades, otters.ideal_grades) == ((1, 0, 0), (1,))
    assert otters.answers == (Span(16, 22),)
    assert otters.first_stage[0] > otters.first_stage[1] > otters.first_stage[2] >= 0
    assert bears.answers is None
    assert bears.documents[0] == "Bears sleep in caves."
    assert OTTERS not in same.documents


def test_so_many_distractors(tmp_path: Path) -> None:
    path = write(tmp_path / "animals.jsonl", PASSAGES)
    assert [len(t.documents) for t in load_topics(path, distractors=1).topics] == [2, 2, 2]
    assert [len(t.documents) for t in load_topics(path, distractors=0).topics] == [1, 1, 1]


def test_other_shapes_of_training_data(tmp_path: Path) -> None:
    records = [
        {
            "lang": "en",
            "query": "Where?",
            "sentences": ["Otters sleep.", "In rivers."],
            "labels": [0, 1],
            "relevance": 1.0,
        },
        {"lang": "en", "query": "Who?", "sentences": ["Bears."], "labels": None, "relevance": 0.9},
        {"lang": "en", "query": "What?", "sentences": ["Trout."], "labels": None, "relevance": 0.1},
    ]
    where, who = load_topics(write(tmp_path / "labels.jsonl", records)).topics
    assert (where.query, where.answers) == ("Where?", (Span(14, 24),))
    assert (who.query, who.answers) == ("Who?", None)

    datasets.Dataset.from_list(records).to_parquet(tmp_path / "labels.parquet")
    assert load_topics(tmp_path / "labels.parquet").topics == (where, who)


def test_ranked_documents(tmp_path: Path) -> None:
    found = load_topics(write(tmp_path / "web.jsonl", [RANKED]), relevant_grade=2)
    assert (found.name, found.first_stage, found.has_answers) == ("web", "given order", False)
    (topic,) = found.topics
    assert (topic.query, topic.language, topic.documents) == ("どこ？", "ja", ("犬。", "川。"))
    assert (topic.grades, topic.ideal_grades, topic.relevant_grade) == ((0, 3), (3, 2, 1), 2)
    assert topic.first_stage[0] > topic.first_stage[1]
    assert topic.answers is None


def test_a_limit_draws_the_same_questions_each_time(tmp_path: Path) -> None:
    path = write(tmp_path / "many.jsonl", [{**RANKED, "query": str(i)} for i in range(50)])
    first, second = (load_topics(path, limit=10).topics for _ in range(2))
    assert first == second
    assert len({topic.query for topic in first}) == 10
    assert len(load_topics(path, limit=99).topics) == 50


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({**RANKED, "documents": [{"id": "a", "text": "x"}]}, ":2: documents[0].grade: is missing"),
        ({**RANKED, "ideal_grades": ["much"]}, ":2: ideal_grades[0]: must be an integer, got str 'much'"),
        ({**RANKED, "documents": 3}, ":2: documents: must be a list, got int 3"),
        ({**RANKED, "lang": "xx"}, ":2: language must be 'auto' or one of "),
    ],
)
def test_a_ranked_record_that_cannot_be_used(tmp_path: Path, record: Any, message: str) -> None:
    path = write(tmp_path / "bad.jsonl", [RANKED, record])
    with pytest.raises(InvalidInputError) as raised:
        load_topics(path)
    assert str(raised.value).startswith(f"{path}{message}")


def test_no_json(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("otters\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"bad\.jsonl:1: not JSON: Expecting value"):
        load_topics(path)


@pytest.mark.parametrize("records", [[], [passage("a", "Otters.", ("Who?", []))]])
def test_nothing_to_judge(tmp_path: Path, records: list[Any]) -> None:
    path = write(tmp_path / "empty.jsonl", records)
    with pytest.raises(InvalidInputError) as raised:
        load_topics(path)
    assert str(raised.value) == (f"{path} has no question that its passage answers: nothing can be evaluated")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as raised:
        load_topics(tmp_path / "none.jsonl")
    assert str(raised.value) == f"{tmp_path / 'none.jsonl'} does not exist"
