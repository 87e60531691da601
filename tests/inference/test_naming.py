"""Rows that a question names."""

from __future__ import annotations

import json

import numpy as np
import pytest

from provence_rag.inference.naming import named
from provence_rag.inference.together import clearly_named

TOWNS = ["| Orlen | Petra Voss |", "| Mirefield | Ivo Lund |", "| Dunbry | Sean Okoro |"]
HOSTS = ["web-01,10.0.0.1,up", "web-02,10.0.0.2,down", "db-01,10.0.0.3,up", "db-02,10.0.0.11,up"]
CITIES = ["札幌,高橋,197万人", "仙台,田中,109万人", "横浜,山本,377万人"]


@pytest.mark.parametrize(
    ("query", "rows", "expected"),
    [
        ("Who is the mayor of Dunbry?", TOWNS, [2]),
        ("who is the mayor of DUNBRY", TOWNS, [2]),
        ("Orlen or Mirefield: which is larger?", TOWNS, [0, 1]),
        ("Who is the mayor of Brill?", TOWNS, []),
        ("Is web-02 up?", HOSTS, [1]),
        ("web-02は動いていますか", HOSTS, [1]),
        ("Which host is 10.0.0.1?", HOSTS, [0]),
        ("Which hosts are up?", HOSTS, []),
        ("札幌の市長は誰ですか？", CITIES, [0]),
        ("札幌市の人口", CITIES, [0]),
        ("Is it?", TOWNS, []),
        ("", TOWNS, []),
        ("Dunbry", [], []),
        (r"C++ (\d+) [x", ["C++, x", "a (b"], []),
    ],
)
def test_the_rows_with_the_words_that_tell_rows_apart(
    query: str, rows: list[str], expected: list[int]
) -> None:
    assert np.flatnonzero(named(query, rows)).tolist() == expected


def test_a_key_of_json_names_no_row() -> None:
    rows = [json.dumps({"town": town, "mayor": "x"}) for town in ("Orlen", "Brill", "Ald", "Zell", "Voss")]
    assert np.flatnonzero(named("mayor of the town Ald", rows)).tolist() == [2]


def test_a_named_row_needs_the_score_of_a_record_or_the_best() -> None:
    records = frozenset(range(4))
    scores = np.array([0.9, 0.2, 0.001, 0.0001])
    assert clearly_named(frozenset({1, 2}), scores, records, 0.01) == [1]
    assert clearly_named(frozenset({3}), scores, records, 0.01) == []
    assert clearly_named(frozenset({2}), np.minimum(scores, 0.001), records, 0.01) == [2]
    assert clearly_named(frozenset(), scores, records, 0.01) == []
