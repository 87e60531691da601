"""The facade, through its public names: what goes in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from provence_rag import InvalidInputError, PrunedPassage
from provence_rag.testing import fake_provence

QUERY = "Where do penguins live?"
DOCUMENTS = [
    "The market fell today. Penguins were not asked.",
    "Penguins live on ice. They eat fish. The weather is fine.",
    " \n",
    "ペンギンは南極にいる。天気がよい。",
]
MODEL = fake_provence()


def plain(passages: list[PrunedPassage]) -> list[dict[str, Any]]:
    return [passage.to_dict() for passage in passages]


BAD_QUERIES = [
    (None, "must be a string, got NoneType None"),
    (7, "must be a string, got int 7"),
    (b"penguins", "must be a string, got bytes b'penguins'"),
    ("", "is blank (''): a query needs words"),
    (" \n\u3000", r"is blank (' \n\u3000'): a query needs words"),
]


@pytest.mark.parametrize(("query", "message"), BAD_QUERIES)
def test_bad_queries(query: Any, message: str) -> None:
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("query", lambda: MODEL.process(query, DOCUMENTS)),
        ("query", lambda: MODEL.rank(query, [])),
        ("query", lambda: MODEL.prune(query, "a")),
        ("queries[1]", lambda: MODEL.process_batch([QUERY, query], [["a"], ["b"]])),
        ("queries[0]", lambda: MODEL.predict_with_pruning([query], ["a"])),
        ("pairs[1][0]", lambda: MODEL.predict([(QUERY, "a"), (query, "b")])),
    ]
    for name, call in calls:
        with pytest.raises(InvalidInputError, match=f"^{re.escape(f'{name} {message}')}$"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: MODEL.process(QUERY, "Penguins."),  # type: ignore[arg-type]
            "documents must be a list of strings, got str 'Penguins.': put a single one into a list",
        ),
        (
            lambda: MODEL.process(QUERY, None),  # type: ignore[arg-type]
            "documents must be a list of strings, got NoneType None",
        ),
        (
            lambda: MODEL.process(QUERY, {"a": "b"}),  # type: ignore[arg-type]
            "documents must be a list of strings, got dict {'a': 'b'}",
        ),
        (
            lambda: MODEL.process(QUERY, {"a"}),  # type: ignore[arg-type]
            "documents must be a list of strings, got set {'a'}",
        ),
        (
            lambda: MODEL.process(QUERY, ["a", None]),  # type: ignore[list-item]
            "documents[1] must be a string or a list of its sentences, got NoneType None",
        ),
        (
            lambda: MODEL.process(QUERY, [["a", 3]]),  # type: ignore[list-item]
            "documents[0][1] must be a string, got int 3",
        ),
        (
            lambda: MODEL.process(QUERY, ["b", ["a", " "]]),
            "documents[1][1] is blank (' '): leave out empty sentences",
        ),
        (
            lambda: MODEL.process(QUERY, [{"a": "b"}]),  # type: ignore[list-item]
            "documents[0] must be a string or a list of its sentences, got dict {'a': 'b'}",
        ),
        (
            lambda: MODEL.process(QUERY, [["a"]], separator=None),  # type: ignore[arg-type]
            "separator must be a string, got NoneType None",
        ),
        (
            lambda: MODEL.predict_with_pruning([QUERY], ["a"], pruning_mode="threshold", pruning_threshold=2),
            "pruning_threshold must be a number between 0 and 1, got 2",
        ),
        (
            lambda: MODEL.predict_with_pruning([QUERY], ["a"], pruning_mode="ratio"),
            "pruning_ratio must be a number between 0 and 1, got None",
        ),
        (
            lambda: MODEL.predict_with_pruning([QUERY], ["a"], max_tokens=5),
            "max_tokens=5 has no effect in mode 'dynamic': use mode='budget'",
        ),
        (
            lambda: MODEL.rank(QUERY, [["a"] * 99]),  # type: ignore[list-item]
            f"documents[0] must be a string, got list {str(['a'] * 99)[:57]}...",
        ),
        (
            lambda: MODEL.prune(QUERY, ["a"]),  # type: ignore[call-overload]
            "document must be a string, got list ['a']",
        ),
        (
            lambda: MODEL.process_batch([QUERY], ["Penguins."]),
            "documents[0] must be a list of strings, got str 'Penguins.': put a single one into a list",
        ),
        (
            lambda: MODEL.process_batch([QUERY], [["a", 3]]),  # type: ignore[list-item]
            "documents[0][1] must be a string or a list of its sentences, got int 3",
        ),
        (
            lambda: MODEL.process_batch(QUERY, [["a"]]),
            f"queries must be a list of strings, got str {QUERY!r}: put a single one into a list",
        ),
        (
            lambda: MODEL.process_batch([QUERY, QUERY], [["a"]]),
            "documents must have an entry for each of the 2 queries, got 1",
        ),
        (
            lambda: MODEL.predict_with_pruning([QUERY], ["a", "b"]),
            "documents must have an entry for each of the 1 queries, got 2",
        ),
        (
            lambda: MODEL.process(QUERY, ["a", "b"], titles=["t"]),
            "titles must have an entry for each of the 2 documents, got 1",
        ),
        (
            lambda: MODEL.process(QUERY, ["a"], titles="t"),
            "titles must be a list of strings, got str 't': put a single one into a list",
        ),
        (
            lambda: MODEL.process(QUERY, ["a", "b"], titles=[None, 3]),  # type: ignore[list-item]
            "titles[1] must be a string, got int 3",
        ),
        (
            lambda: MODEL.process_batch([QUERY], [["a"]], titles=[["t", "u"]]),
            "titles[0] must have an entry for each of the 1 documents, got 2",
        ),
        (
            lambda: MODEL.process_batch([QUERY], [["a"]], titles=[]),
            "titles must have an entry for each of the 1 queries, got 0",
        ),
        (
            lambda: MODEL.predict("ab"),  # type: ignore[call-overload]
            "pairs must be a list of (query, document) pairs, got str 'ab': put a single one into a list",
        ),
        (
            lambda: MODEL.predict([(QUERY, "a", "b")]),  # type: ignore[list-item]
            f"pairs[0] must be a (query, document) pair, got tuple {(QUERY, 'a', 'b')!r}",
        ),
        (
            lambda: MODEL.predict([QUERY, "a", "b"]),  # type: ignore[list-item]
            f"pairs[0] must be a (query, document) pair, got str {QUERY!r}",
        ),
        (
            lambda: MODEL.predict([None]),  # type: ignore[list-item]
            "pairs[0] must be a (query, document) pair, got NoneType None",
        ),
        (
            lambda: MODEL.predict([(QUERY, None)]),  # type: ignore[list-item]
            "pairs[0][1] must be a string, got NoneType None",
        ),
        (
            lambda: MODEL.process(QUERY, ["a"], options={"ratio": 0.5}),  # type: ignore[arg-type]
            "options must be a PruningOptions, got dict {'ratio': 0.5}",
        ),
        (lambda: MODEL.prune(QUERY, "a", threshold=2), "threshold must be a number between 0 and 1, got 2"),
    ],
)
def test_bad_input(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("documents", [[], ["Penguins."]])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": 0}, "top_k must be an integer >= 1, got 0"),
        ({"top_k": -1}, "top_k must be an integer >= 1, got -1"),
        ({"top_k": True}, "top_k must be an integer >= 1, got True"),
        ({"top_k": 2.0}, "top_k must be an integer >= 1, got 2.0"),
        ({"top_k": "2"}, "top_k must be an integer >= 1, got '2'"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"batch_size": 1.5}, "batch_size must be an integer >= 1, got 1.5"),
        ({"score_threshold": 1.2}, "score_threshold must be a number between 0 and 1, got 1.2"),
        ({"score_threshold": float("nan")}, "score_threshold must be a number between 0 and 1, got nan"),
        ({"min_documents": -1}, "min_documents must be an integer >= 0, got -1"),
        ({"min_documents": 3, "top_k": 2}, "min_documents=3 is more than top_k=2"),
        ({"score_threshold": "0.5"}, "score_threshold must be a number between 0 and 1, got '0.5'"),
    ],
)
def test_bad_arguments(documents: list[str], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        MODEL.process(QUERY, documents, **arguments)


def test_any_list_will_do_and_generators_are_read_once() -> None:
    expected = plain(MODEL.process(QUERY, DOCUMENTS, titles=["a", None, "", "b"]))
    titles = ["a", None, "", "b"]
    assert plain(MODEL.process(QUERY, tuple(DOCUMENTS), titles=tuple(titles))) == expected
    generators: dict[str, Any] = {"documents": iter(DOCUMENTS), "titles": (title for title in titles)}
    assert plain(MODEL.process(QUERY, **generators)) == expected
    batch: Any = (iter(group) for group in [DOCUMENTS, ["Penguins."]])
    titles_of: Any = iter([iter(titles), [None]])
    queries: Any = iter([QUERY, QUERY])
    assert plain(MODEL.process_batch(queries, batch, titles=titles_of)[0]) == expected


def test_numpy_is_welcome() -> None:
    documents: Any = np.array(DOCUMENTS)
    passages = MODEL.process(np.str_(QUERY), documents, top_k=np.int64(2), batch_size=np.int32(1))  # type: ignore[arg-type]
    assert plain(passages) == plain(MODEL.process(QUERY, DOCUMENTS, top_k=2))
    assert {type(p.document) for p in passages} == {str}
    json.dumps(plain(passages))


def test_arguments_are_not_changed() -> None:
    documents, titles = list(DOCUMENTS), [None, "Ice", "", None]
    queries, groups = [QUERY], [documents]
    MODEL.process(QUERY, documents, titles=titles, top_k=2)
    MODEL.process_batch(queries, groups, titles=[titles])
    MODEL.predict_with_pruning(queries, documents[:1])
    assert (documents, titles, queries, groups) == (DOCUMENTS, [None, "Ice", "", None], [QUERY], [DOCUMENTS])
