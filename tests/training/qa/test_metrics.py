"""Normalisation, exact match, F1 and match, with values from outside of our code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provence_training.qa.metrics import exact_match, is_no_answer, match, normalised, occurs, token_f1


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


@pytest.mark.parametrize(
    ("reply", "answer", "language"),
    [
        ("because", "US", "en"),
        ("in 1950", "5", "en"),
        ("3.5 km", "5", "en"),
        ("ha", "A-ha", "en"),
        ("Bußgeld", "Geld", "de"),
        ("anything", "The", "en"),
    ],
)
def test_a_part_of_a_word_does_not_match(reply: str, answer: str, language: str) -> None:
    assert match(reply, [answer], language) == 0.0
    assert not occurs([answer], reply, language)


@pytest.mark.parametrize(
    ("reply", "answer", "language"),
    [
        ("the U.S. army", "US", "en"),
        ("Paris's streets", "Paris", "en"),
        ("Bentz's filter-bag", "Bentz's filter", "en"),
        ("1908–1912", "1908", "en"),
        ("2,579 steps", "2579", "en"),
        ("3.5", "35", "en"),
        ("A-ha", "ha", "en"),
        ("奈良県です", "奈良", "ja"),
        ("서울입니다", "서울", "ko"),
        ("ที่กรุงเทพครับ", "กรุงเทพ", "th"),
    ],
)
def test_whole_words_match(reply: str, answer: str, language: str) -> None:
    assert match(reply, [answer], language) == 1.0
    assert occurs([answer], reply, language)


@pytest.mark.parametrize(("reply", "answer"), [("a", "A"), ("The", "the"), ("An.", "an"), ("the a", "The A")])
def test_articles_count_where_there_is_nothing_else(reply: str, answer: str) -> None:
    assert exact_match(reply, [answer], "en") == match(reply, [answer], "en") == 1.0
    assert token_f1(reply, [answer], "en") == 1.0
    assert exact_match("an hour", ["A"], "en") == match("an hour", ["A"], "en") == 0.0


@pytest.mark.parametrize(
    ("reply", "answer", "language"),
    [
        ("No answer", "No", "en"),
        ("No answer.", "answer", "en"),
        ("回答なし。", "なし", "ja"),
        ("No answer", "no answer", "en"),
    ],
)
def test_no_answer_is_never_right(reply: str, answer: str, language: str) -> None:
    figures = [figure(reply, [answer], language) for figure in (match, exact_match, token_f1)]
    assert figures == [0.0, 0.0, 0.0]


def test_an_answer_of_nothing_matches_nothing() -> None:
    assert match("anything", ["The", "..."], "en") == 0.0


@pytest.mark.parametrize(
    "reply",
    [
        "No answer",
        '"no answer."',
        "No answer in the passages",
        "回答なし。",
        " ",
        "...",
        "**No answer**",
        "No answer is given in the text.",
        "No answer\nThe text does not say.",
        "No answer. Nobody is named.",
        "No  answer (it is not there)",
        "回答なしです。",
    ],
)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_no_answer(reply: str, language: str) -> None:
    assert is_no_answer(reply, language)


@pytest.mark.parametrize(
    "reply",
    [
        "Paris",
        "There is an answer",
        "回答",
        "なし",
        "回答なしの日",
        "The",
        "No",
        "No answering machine",
        "No answer was ever given; it is Paris",
        "No, answer is Paris",
        "No answer's right but Paris",
    ],
)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_an_answer(reply: str, language: str) -> None:
    assert not is_no_answer(reply, language)


@given(st.text(), st.text(min_size=1), st.sampled_from(["en", "ja", "zh", "de"]))
def test_how_the_figures_hang_together(reply: str, answer: str, language: str) -> None:
    exact, f1 = exact_match(reply, [answer], language), token_f1(reply, [answer], language)
    assert 0.0 <= f1 <= 1.0
    assert f1 == token_f1(answer, [reply], language)
    if exact and normalised(answer, language):
        assert f1 == match(reply, [answer], language) == 1.0
