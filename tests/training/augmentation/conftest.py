"""Passages to make pages from."""

from __future__ import annotations

from typing import Any

import pytest

from provence_training.data import load_passages
from provence_training.data.passages import Passage

ENGLISH = [
    (
        "Filters",
        "Melitta Bentz patented the paper filter in 1908.",
        "Who patented the paper filter?",
        "Melitta Bentz",
    ),
    ("Kettles", "A kettle boils a litre in 4 minutes.", "How long does a kettle take?", "4 minutes"),
    ("Mills", "Burr mills grind evenly & quietly.", "How do burr mills grind?", "evenly & quietly"),
    ("Shipping", "Shipping costs <5 euros> to Norway.", "How much is the shipping fee?", "<5 euros>"),
    (
        "Repairs",
        'Ask the "pump clinic" in Oslo.',
        "Where can I get a broken pump fixed?",
        '"pump clinic" in Oslo',
    ),
]
JAPANESE = [
    ("送料", "送料は全国一律で五百円です。", "送料はいくらですか？", "五百円"),
    ("返品", "商品は三十日以内に返品できます。", "返品の期限はいつですか？", "三十日以内"),
    ("修理", "修理は大阪の工房で行っています。", "修理している場所はどこですか？", "大阪の工房"),
]


def record(language: str, title: str, sentence: str, question: str, answer: str) -> dict[str, Any]:
    """A passage of three sentences, the second of which answers."""
    first, last = {
        "en": (f"Read this about {title}. ", " That is all."),
        "ja": ("ご案内です。", "以上です。"),
    }[language]
    start = len(first) + sentence.index(answer)
    answers = [{"start": start, "end": start + len(answer)}]
    return {
        "id": title,
        "lang": language,
        "title": title,
        "text": first + sentence + last,
        "questions": [{"question": question, "answers": answers}],
    }


@pytest.fixture(scope="session")
def records() -> dict[str, list[dict[str, Any]]]:
    """Records by language."""
    return {
        "en": [record("en", *row) for row in ENGLISH],
        "ja": [record("ja", *row) for row in JAPANESE],
    }


@pytest.fixture(scope="session")
def passages(records: dict[str, list[dict[str, Any]]]) -> list[Passage]:
    """Passages in English and Japanese."""
    return load_passages([*records["en"], *records["ja"]], name="shop")
