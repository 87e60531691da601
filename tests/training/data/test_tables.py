"""Tables as text, and where their answers are."""

from __future__ import annotations

from typing import Any

import pytest

from provence_rag import InvalidInputError
from provence_training.data.passages import Passage
from provence_training.data.records import parse_record

TABLE: dict[str, Any] = {
    "id": "t1",
    "lang": "en",
    "title": "Awards",
    "header": ["Year", "Award", ""],
    "rows": [[2013, "Drama Desk", "won"], [None, None, ""], ["2014", "Tony\nAward", None]],
    "questions": [
        {"question": "Which award in 2014?", "answers": [{"row": 2}]},
        {"question": "When was the Drama Desk?", "answers": [{"row": 0, "column": 0}]},
        {
            "question": "Was the Drama Desk won?",
            "answers": [{"row": 0, "column": 2}, {"row": 2, "column": 2}],
        },
        {"question": "Who?", "answers": []},
        {"question": "How many?", "answers": None},
    ],
}


def parse(**changes: Any) -> Passage:
    (passage,) = parse_record({**TABLE, **changes}, source="made", default_id="made-0")
    return passage


def test_a_row_is_a_line() -> None:
    passage = parse()
    assert passage.text == "Year: 2013; Award: Drama Desk; won\nYear: 2014; Award: Tony Award"
    assert (passage.id, passage.title, passage.language) == ("t1", "Awards", "en")
    answers = [
        None if q.answers is None else [passage.text[a.start : a.end] for a in q.answers]
        for q in passage.questions
    ]
    rows = passage.text.split("\n")
    assert answers == [[rows[1]], ["2013"], ["won", rows[1]], [], None]
    assert "".join(passage.text[s.start : s.end] for s in passage.sentences) == passage.text.replace("\n", "")


def answered(row: Any = 0, **cell: Any) -> dict[str, Any]:
    return {"questions": [{"question": "What?", "answers": [{"row": row, **cell}]}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"header": "Year"}, "header: must be a list, got str 'Year'"),
        ({"header": [["Year"]]}, "header[0]: must be a string or a number, got list ['Year']"),
        ({"rows": [["2013"]]}, "rows[0]: must have 3 cells as the header has, got 1"),
        (answered(3), "questions[0].answers[0].row: must be the index of one of the 3 rows, got 3"),
        (answered(1), "questions[0].answers[0].row: must be a row that is not empty, got 1"),
        (
            answered(column=-1),
            "questions[0].answers[0].column: must be the index of one of the 3 columns, got -1",
        ),
        ({"questions": [{"question": "What?"}]}, "questions[0].answers: is missing"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        parse(**changes)
    assert str(raised.value) == message
