"""Normalisation, exact match, F1 and match, with values from outside of our code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provence_training.qa.metrics import exact_match, is_no_answer, match, normalised, token_f1


@pytest.mark.parametrize(
    ("reply", "answer", "exact", "f1"),
    [
        # From the card of the metric `squad` of Hugging Face's evaluate, which wraps the published script.
        ("1976", "1976", 1.0, 1.0),
        ("1999", "1976", 0.0, 0.0),
        ("Beyonce", "Beyoncé and Bruno Mars", 0.0, 0.0),
        ("climate change", "climate change", 1.0, 1.0),
        # By the published script's rules: case, punctuation and articles do not count; "a" in a word does.
        ("The  Denver Broncos.", "denver broncos", 1.0, 1.0),
        ("an apple a day", "Apple day", 1.0, 1.0),
        ("U.S.", "us", 1.0, 1.0),
        ("well-known", "wellknown", 1.0, 1.0),
        ("Denver", "Denver Broncos", 0.0, 2 / 3),
        ("the big big dog", "big dog dog", 0.0, 2 * 2 / (3 + 3)),
    ],
)
def test_english_as_the_script_of_squad_has_it(reply: str, answer: str, exact: float, f1: float) -> None:
    assert exact_match(reply, [answer], "en") == exact
    assert token_f1(reply, [answer], "en") == pytest.approx(f1)


def test_japanese_is_compared_by_characters() -> None:
    assert normalised("「ＡＢＣ」 １９０８年、", "ja") == list("abc1908年")
    assert exact_match("1908 年。", ["１９０８年"], "ja") == 1.0
    assert token_f1("1908年", ["1908年に開業"], "ja") == pytest.approx(2 * 5 / (5 + 8))
    assert match("答えは「奈良」です。", ["奈良"], "ja") == 1.0


def test_the_best_answer_counts() -> None:
    assert (
        token_f1("Paris", ["London", "Paris"], "en") == exact_match("Paris", ["London", "Paris"], "en") == 1.0
    )


def test_a_reply_that_says_more_matches() -> None:
    assert match("It was patented in 1908 by Melitta Bentz.", ["Melitta Bentz"], "en") == 1.0
    assert match("It was patented by Melitta.", ["Melitta Bentz"], "en") == 0.0
    assert match("It is “Paris”", ["«Paris»"], "en") == 1.0  # punctuation of all scripts


def test_an_answer_of_nothing_matches_nothing() -> None:
    assert match("anything", ["The", "..."], "en") == 0.0


@pytest.mark.parametrize(
    "reply", ["No answer", '"no answer."', "No answer in the passages", "回答なし。", " ", "..."]
)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_no_answer(reply: str, language: str) -> None:
    assert is_no_answer(reply, language)


@pytest.mark.parametrize("reply", ["Paris", "There is an answer", "回答"])
def test_an_answer(reply: str) -> None:
    assert not is_no_answer(reply, "ja" if reply == "回答" else "en")


@given(st.text(), st.text(min_size=1), st.sampled_from(["en", "ja", "zh", "de"]))
def test_how_the_figures_hang_together(reply: str, answer: str, language: str) -> None:
    exact, f1 = exact_match(reply, [answer], language), token_f1(reply, [answer], language)
    assert 0.0 <= f1 <= 1.0
    assert f1 == token_f1(answer, [reply], language)
    if exact and normalised(answer, language):
        assert f1 == match(reply, [answer], language) == 1.0
