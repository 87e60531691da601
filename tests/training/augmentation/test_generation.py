"""Which pages are made."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest

from provence_rag import InvalidInputError
from provence_training.augmentation import FORMS, AugmentedPage, Wordings, augment
from provence_training.data import load_passages
from provence_training.data.passages import Passage


def test_pages_are_training_data(passages: list[Passage]) -> None:
    pages = list(augment(passages, count=60))
    assert len(pages) == 60
    for page, read in zip(pages, load_passages([page.to_record() for page in pages]), strict=True):
        assert (read.id, read.text, read.language, read.title) == (page.id, page.text, page.language, "")
        assert [(q.text, q.answers) for q in read.questions] == [(q.text, q.answers) for q in page.questions]
        assert 1 <= len(page.questions) <= 3
    assert len({page.id for page in pages}) == 60
    assert len({question["id"] for page in pages for question in page.to_record()["questions"]}) > 60


def test_the_seed_decides(passages: list[Passage]) -> None:
    first = list(augment(passages, count=20, seed=1))
    assert list(augment(passages, count=20, seed=1)) == first
    assert list(augment(passages, count=30, seed=1))[:20] == first
    others = list(augment(passages, count=20, seed=2))
    assert not {page.text for page in others} & {page.text for page in first if len(page.text) > 200}
    assert not {page.id for page in others} & {page.id for page in first}


def test_pages_are_made_as_they_are_asked_for(passages: list[Passage]) -> None:
    assert len(list(islice(augment(passages, count=10**12), 3))) == 3


def test_forms_come_in_their_shares(passages: list[Passage]) -> None:
    pages = augment(passages, count=1000, forms=["records", "list"], languages=["en"])
    made = Counter(page.form for page in pages)
    assert 16 / 20 - 0.05 < made["records"] / 1000 < 16 / 20 + 0.05
    assert made.keys() == {"records", "list"}


def test_languages_come_as_often_as_they_have_passages(passages: list[Passage]) -> None:
    made = Counter(page.language for page in augment(passages, count=400))
    assert 5 / 8 - 0.08 < made["en"] / 400 < 5 / 8 + 0.08
    assert {page.language for page in augment(passages, count=9, languages=["ja", "ja"])} == {"ja"}
    assert "glued" not in {page.form for page in augment(passages, count=300, languages=["ja"])}


def reworded(page: AugmentedPage) -> list[bool]:
    return [question.reworded for question in page.questions]


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0.0, 0.0), (0.5, 0.4, 0.6), (1.0, 1.0, 1.0)])
def test_a_share_of_the_entries_is_asked_in_other_words(
    passages: list[Passage], share: float, low: float, high: float
) -> None:
    pages = augment(passages, count=150, forms=["faq", "records"], paraphrase=share)
    found = [flag for page in pages for flag in reworded(page)]
    assert low <= sum(found) / len(found) <= high


def test_either_the_page_or_the_query_has_the_other_words() -> None:
    question = {"question": "Weather?", "answers": [{"start": 6, "end": 11}]}
    passages = load_passages([{"text": "It is sunny today.", "lang": "en", "questions": [question]}])
    settings: dict[str, Any] = {"count": 40, "forms": ["faq"], "paraphrase": 1.0}
    pages = list(augment(passages, wordings=Wordings({"Weather?": ["Is it raining?"]}), **settings))
    found = {(page.questions[0].text, "Weather?" in page.text, "raining" in page.text) for page in pages}
    assert found == {("Weather?", False, True), ("Is it raining?", True, False)}
    assert all(flags == [True] for flags in map(reworded, pages))
    # Without other words it keeps its own, and says so.
    assert all(flags == [False] for flags in map(reworded, augment(passages, **settings)))


def test_other_words_are_those_of_no_other_entry(records: dict[str, list[dict[str, Any]]]) -> None:
    """The nearest question may be on the same page: the query must not ask for that one."""
    questions = [record["questions"][0]["question"] for record in records["en"]]
    wordings = Wordings({q: [other for other in questions if other != q] for q in questions})
    passages = load_passages(records["en"])
    for page in augment(passages, count=150, forms=["faq"], paraphrase=1.0, wordings=wordings):
        for question in page.questions:
            others = [other.text for other in page.questions if other is not question]
            assert question.text not in others
            if question.text in questions and question.reworded:
                ((start, end),) = question.answers
                elsewhere = page.text[:start] + page.text[end:]
                assert question.text not in elsewhere


PASSAGE = {
    "lang": "en",
    "text": "Tea is hot.",
    "questions": [{"question": "Which?", "answers": [{"start": 7, "end": 10}]}],
}


@pytest.mark.parametrize(
    ("records", "settings", "message"),
    [
        ([PASSAGE], {"count": 0}, "count must be an integer >= 1, got 0"),
        ([PASSAGE], {"paraphrase": 1.5}, "paraphrase must be a number between 0 and 1, got 1.5"),
        ([PASSAGE], {"forms": ["faq", "poem"]}, f"forms must be some of {', '.join(FORMS)}, got faq, poem"),
        ([PASSAGE], {"forms": []}, f"forms must be some of {', '.join(FORMS)}, got none"),
        ([PASSAGE], {"languages": ["de"]}, "languages must be some of en, ja, got de"),
        (
            [PASSAGE],
            {"languages": ["ja"]},
            "passages must have questions with marked answers in ja, got none",
        ),
        (
            [{**PASSAGE, "questions": [{"question": "Which?", "answers": None}]}],
            {},
            "passages must have questions with marked answers in en or ja, got none",
        ),
        (
            [{**PASSAGE, "lang": "ja"}],
            {"forms": ["glued"]},
            "forms must include one for each language: glued cannot be made in ja; add another form, or "
            "remove the language from languages",
        ),
    ],
)
def test_arguments_that_cannot_be_used(
    records: list[dict[str, Any]], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError) as raised:  # at once, not with the first page
        augment(load_passages(records), **{"count": 1, **settings})
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("glued", "Tea is hot."),
        ("faq", f"Tea, {'very, ' * 100}hot, is hot."),
        ("wrapped", "Tea is hot. " * 300),
    ],
)
def test_passages_that_do_not_suit_a_form(form: str, text: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        list(augment(load_passages([{**PASSAGE, "text": text}]), count=1, forms=[form]))
    assert str(raised.value) == (
        f"no page of form {form!r} in en could be made of the passages in 50 draws: remove it from forms, "
        "or add passages with short answers and several sentences"
    )
