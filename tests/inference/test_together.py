"""Following links, through the public API."""

from __future__ import annotations

import json

import numpy as np
import pytest

from provence_rag import Provence, PruningOptions
from provence_rag.chunking import Chunks, Link, Span
from provence_rag.inference.together import asks_how, outranked, standing_out
from provence_rag.testing import fake_provence

FAQ = "Is the pool heated?\nOnly in winter.\n\nAre dogs allowed?\nSmall ones are."


@pytest.fixture
def model() -> Provence:
    return fake_provence()


def prune(model: Provence, query: str, text: str, **options: object) -> str:
    return model.process(query, [text], options=PruningOptions(**options))[0].text  # type: ignore[arg-type]


def test_a_kept_question_takes_its_answer(model: Provence) -> None:
    assert prune(model, "pool heated", FAQ) == "Is the pool heated?\nOnly in winter."
    assert prune(model, "pool heated", FAQ, keep_together=False) == "Is the pool heated?"


def test_a_kept_answer_takes_its_question(model: Provence) -> None:
    assert prune(model, "winter", FAQ) == "Is the pool heated?\nOnly in winter."
    assert prune(model, "winter", FAQ, keep_together=False) == "Only in winter."


def test_a_needed_question_announces_nothing(model: Provence) -> None:
    text = "Why?\nBecause of winter. It was long.\n\nThe end."
    assert prune(model, "winter", text) == "Why?\nBecause of winter."


def test_a_budget_counts_linked_sentences_as_one(model: Provence) -> None:
    # Nine tokens for the first pair; the second question alone would fit beside it.
    assert prune(model, "pool heated dogs", FAQ, max_tokens=15) == "Is the pool heated?\nOnly in winter."
    assert "dogs" in prune(model, "pool heated dogs", FAQ, max_tokens=15, keep_together=False)
    assert prune(model, "pool heated dogs", FAQ, max_tokens=30) == FAQ


def test_a_budget_never_breaks_json_and_is_never_exceeded(model: Provence) -> None:
    text = json.dumps([{"river": "Tarn", "town": "Brill"}, {"river": "Moss", "town": "Alden"}])
    for max_tokens in range(1, 60):
        passage = model.process("river Tarn", [text], options=PruningOptions(max_tokens=max_tokens))[0]
        assert passage.num_kept_tokens <= max_tokens
        assert passage.is_empty or json.loads(passage.text)[0]["river"] == "Tarn"


def test_parts_of_a_sentence_have_its_links() -> None:
    spans = [Span(0, 4), Span(5, 20), Span(21, 25)]
    chunks = Chunks(
        spans, [Link(0, 1, "answer"), Link(1, 0, "needs"), Link(2, 1, "needs")], records=frozenset({2})
    )
    parts = chunks.split_into([Span(0, 4), Span(5, 12), Span(13, 20), Span(21, 25)])
    assert parts.links == [(0, 1, "answer"), (1, 0, "needs"), (2, 0, "needs"), (3, 1, "needs")]
    assert parts.records == {3}


def test_steps_are_followed_for_how_questions_only(model: Provence) -> None:
    text = "The lamp is grey.\n\n1. Unplug the lamp first.\n2. Open it.\n3. Wait.\n\nBye."
    assert (
        prune(model, "How do I unplug it first?", text) == "1. Unplug the lamp first.\n2. Open it.\n3. Wait."
    )
    assert prune(model, "unplug first", text) == "1. Unplug the lamp first."


@pytest.mark.parametrize(
    ("query", "how"),
    [
        ("How do I change the lamp?", True),
        ("how to reset", True),
        ("フィルターの掃除の手順は？", True),
        ("How long does it last?", False),
        ("How many seats are there?", False),
        ("Who invented it?", False),
    ],
)
def test_which_questions_ask_how(query: str, how: bool) -> None:
    assert asks_how(query) is how


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"threshold": 0.0}, {"ratio": 0.9}, {"max_tokens": 40}, {"min_sentences": 1}]
)
def test_json_parses_in_every_mode(model: Provence, together: bool, options: dict[str, float]) -> None:
    records = [
        {"town": town, "river": river}
        for town, river in [("Brill", "Tarn"), ("Alden", "Moss"), ("Ivel", "Ash")]
    ]
    text = json.dumps({"results": records, "total": 3})
    left = json.loads(prune(model, "Which river is in Brill?", text, keep_together=together, **options))
    assert records[0] in left["results"]


def test_nothing_kept_leaves_no_brackets(model: Provence) -> None:
    passage = model.process("unrelated words", [json.dumps([{"a": "one two"}, {"b": "three"}])])[0]
    assert passage.is_empty


def test_broken_data_is_kept_whole_and_says_so(model: Provence) -> None:
    text = '[{"town": "Brill"}, {"town": "Ald'
    passage = model.process("unrelated words", [text])[0]
    assert passage.text == text
    assert passage.kept_whole == "JSON that does not parse"
    assert passage.to_dict()["kept_whole"] == passage.provenance()["kept_whole"] == passage.kept_whole
    assert "kept_whole" not in model.process("a", ["Prose."])[0].provenance()


def test_records_far_below_the_best_are_outranked() -> None:
    scores = np.array([0.99, 0.97, 0.7, 0.5, 0.01])
    mask = outranked(scores, frozenset({0, 1, 2, 4}))
    assert mask.tolist() == [False, False, True, False, True]
    assert not outranked(np.array([0.3, 0.2]), frozenset({0, 1})).any()


def test_a_pair_that_stands_out_is_kept_below_the_floor() -> None:
    spans = [Span(number, number + 1) for number in range(6)]
    faq = Chunks(spans, [Link(question, question + 1, "answer") for question in (0, 2, 4)])
    scores = np.array([0.0001, 0.0002, 0.003, 0.0001, 0.0003, 0.0001])
    assert standing_out(scores, faq, 0.015).tolist() == [2]
    assert standing_out(scores, faq, 0.3).tolist() == []  # too unlikely
    assert standing_out(np.full(6, 0.003), faq, 0.015).tolist() == []  # none stands out
    assert standing_out(scores, Chunks(spans), 0.015).tolist() == []  # prose
