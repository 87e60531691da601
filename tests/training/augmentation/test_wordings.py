"""Other wordings of questions."""

from __future__ import annotations

from random import Random

import pytest

from provence_training.augmentation import Wordings
from provence_training.augmentation.wordings import as_printed, keywords


@pytest.mark.parametrize(
    ("question", "language", "expected"),
    [
        ("How much is the shipping fee?", "en", "shipping fee"),
        ("Where can I get a broken pump fixed?", "en", "get broken pump fixed"),
        ("How long does it take to repair a pump's valve?", "en", "take repair pump's valve"),
        ("Is it WATERPROOF in the Rain?", "en", "WATERPROOF Rain"),
        ("What is the warranty?", "en", "What is the warranty?"),  # one word says too little
        ("Who are you?", "en", "Who are you?"),
        ("会費はいくらですか？", "ja", "会費"),
        ("デキサメタゾンの主な用途は何ですか？", "ja", "デキサメタゾン 主な用途"),
        ("当時の連合艦隊司令長官は、誰だったか?", "ja", "当時 連合艦隊司令長官"),
        ("駐車場はありますか？", "ja", "駐車場"),
        ("「こころ」の作者は誰？", "ja", "「こころ」 作者"),
        ("第一党となったのは？", "ja", "第一党となった"),
        ("何ですか？", "ja", "何ですか？"),
    ],
)
def test_keywords(question: str, language: str, expected: str) -> None:
    assert keywords(question, language) == expected


def others(question: str, language: str, wordings: Wordings | None = None) -> set[str | None]:
    wordings = wordings or Wordings()
    return {wordings.other(question, language, Random(seed)) for seed in range(100)}


@pytest.mark.parametrize(
    ("question", "language", "some"),
    [
        ("Where can I get a broken pump fixed?", "en", {"Where to get a broken pump fixed"}),
        ("how do I cancel my order", "en", {"How to cancel my order", "cancel order"}),
        ("How much does the ticket cost?", "en", {"Price of the ticket", "What does the ticket cost"}),
        ("How long does a repair take?", "en", {"Time needed for a repair", "repair take"}),
        ("When was the filter patented?", "en", {"In what year was the filter patented"}),
        ("Where are the shoes made?", "en", {"In which place are the shoes made", "shoes made"}),
        ("Who invented it all?", "en", {"Which person invented it all"}),
        ("What is the name of the author?", "en", {"What is the author called"}),
        ("What {is} this", "en", {"Which {is} this"}),
        ("会費はいくらですか？", "ja", {"会費の料金", "会費"}),
        ("館長は誰？", "ja", {"館長の人物", "館長はどなたですか", "館長"}),
        ("再開されたのはどこですか", "ja", {"再開された場所", "再開されたのはどの場所ですか"}),
        ("配達日は指定できますか？", "ja", {"配達日は指定できるか教えてください", "配達日 指定"}),
        ("役職は？", "ja", {"役職とは", "役職を教えてください"}),
    ],
)
def test_other_words_for_the_same(question: str, language: str, some: set[str]) -> None:
    found = others(question, language)
    assert some <= found
    assert question not in found


@pytest.mark.parametrize(("question", "language"), [("Weather?", "en"), ("天気？", "ja")])
def test_there_may_be_no_other_words(question: str, language: str) -> None:
    assert others(question, language) == {None}


def test_the_nearest_questions_are_other_words() -> None:
    wordings = Wordings({"Weather?": ["weather", "Is it raining?"]})
    assert others("Weather?", "en", wordings) == {"Is it raining?"}  # the first differs in case only
    assert others("Rain?", "en", wordings) == {None}


def test_how_a_page_prints_a_question() -> None:
    printed = {as_printed("who made the filter", "en", Random(seed)) for seed in range(100)}
    assert printed == {"Who made the filter?", "who made the filter", "made filter"}
    printed = {as_printed("作者は誰？", "ja", Random(seed)) for seed in range(100)}
    assert printed == {"作者は誰？", "作者は誰", "作者"}
