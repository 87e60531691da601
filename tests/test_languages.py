"""Questions and documents that a checkpoint cannot read."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest

from provence_rag import LanguageWarning, Provence
from provence_rag.inference import notices
from provence_rag.inference.engine import Engine
from provence_rag.inference.notices import untrained_language
from provence_rag.testing import fake_provence

TRAINED = ("en", "ja")
ModelOn = Callable[[str, int], Provence]
KOREAN = "한국의 수도는 어디입니까?"


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_warned", set())


@pytest.fixture
def model() -> Provence:
    fake = fake_provence()
    config = replace(fake.config, languages=TRAINED)
    return Provence(Engine(fake.backend, fake._engine._planner._encoder.tokenizer, config, pad_token_id=0))


@pytest.mark.parametrize(
    ("query", "language"),
    [
        (KOREAN, "ko"),
        ("भारत की राजधानी क्या है?", "hi"),
        ("ما هي عاصمة فرنسا؟", "ar"),
        ("Как называется столица Франции?", "ru"),
        ("Ποια είναι η πρωτεύουσα της Ελλάδας;", "el"),
        ("מהי בירת ישראל?", "he"),
        ("เมืองหลวงของประเทศไทยคืออะไร", "th"),
        ("iPhone 15 배터리 수명", "ko"),  # most of what it says
        ("ＡＢＣ 배터리", "ko"),
    ],
)
def test_a_language_that_the_checkpoint_was_not_trained_on(query: str, language: str) -> None:
    assert untrained_language(query, TRAINED) == language
    assert untrained_language(query, (*TRAINED, language)) is None
    assert untrained_language(query, (f"{language}-XX",)) is None
    assert untrained_language(query, ()) is None  # unknown


@pytest.mark.parametrize(
    "query",
    [
        "What is the capital of France?",
        "日本の首都はどこですか？",
        "日本首都",
        "ﾄｳｷｮｳ",
        "Wo liegt Würzburg?",  # Latin letters tell nothing
        "What does 김치 mean?",
        "김치 recipe",
        "Who wrote Война и мир in 1869?",
        "the meaning of λόγος in Greek philosophy",
        "α + β = γ · δ",
        "ΔG = ΔH − TΔS",
        "π",
        "μ",
        "42",
        "😀🎉👩‍👩‍👧",
        "→ ✓ ∑ ∫ €",
        "def f(x): return x ** 2",
        "naïve café",
        "e\u0301\u0301\u0301",
        "\ud800",
        "\U0010ffff",
    ],
)
def test_no_false_warnings(query: str) -> None:
    assert untrained_language(query, TRAINED) is None


def test_only_the_script_counts_where_it_has_several_languages() -> None:
    assert untrained_language("日本の首都はどこですか？", ("zh",)) == "ja"
    assert untrained_language("中国的首都是哪里", ("en",)) == "zh"
    assert untrained_language("中国的首都是哪里", ("ja",)) is None
    assert untrained_language("Яка столиця України і де її найбільша річка?", ("ru",)) is None


def test_one_warning_per_language_and_process(model: Provence) -> None:
    message = r"^a question is in 'ko', and the checkpoint was trained on en, ja only: scores say little"
    with pytest.warns(LanguageWarning, match=message) as caught:
        passages = model.process_batch([KOREAN, "Tokyo", KOREAN + KOREAN], [["Tokyo."]] * 3)
    assert [warning.filename for warning in caught] == [__file__]
    assert [passage.untrained_language for (passage,) in passages] == ["ko", None, "ko"]
    assert model.process(KOREAN, ["Tokyo."])[0].untrained_language == "ko"  # filters make warnings errors
    with pytest.warns(LanguageWarning, match=r"^a question is in 'hi'"):
        model.rank("भारत की राजधानी क्या है?", ["Tokyo."])


def test_where_warnings_are_errors_each_call_raises(model: Provence) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(LanguageWarning):
                model.process(KOREAN, ["Tokyo."])
        model.process("Where is Tokyo? 東京", ["Tokyo.", KOREAN])


@pytest.mark.filterwarnings("ignore::provence_rag.LanguageWarning")
def test_the_result_tells(model: Provence) -> None:
    told, other = (model.process(query, ["Tokyo."])[0] for query in (KOREAN, "Tokyo"))
    assert json.loads(told.to_json())["untrained_language"] == "ko"
    assert told.provenance()["untrained_language"] == "ko"
    assert "untrained_language" not in other.provenance()


# Text that the vocabulary lacks


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_text_that_cannot_be_read_never_outranks_what_can(model_on: ModelOn, kind: str) -> None:
    model = model_on(kind, 64)
    texts = [
        "\u1200\u1201 \u1202\u1203.",
        "the fox",
        "fox \u1200\u1201\u1202 \u1200\u1201\u1202.",
        "cat \u1200",
    ]
    passages = model.process("the fox", texts, reorder=True)
    assert {passage.index for passage in passages[:2]} == {1, 3}
    assert [passage.score for passage in passages[2:]] == [0.0, 0.0]
    assert model.process("the fox", texts)[0].score == 0.0
    assert all(passage.score for passage in passages[:2])


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_a_sentence_that_cannot_be_read_has_the_score_0(model_on: ModelOn, kind: str) -> None:
    (passage,) = model_on(kind, 64).process(
        "the fox", ["the fox sat.\n\n\u1200\u1201\u1202\u1203.\n\nthe cat sat."]
    )
    assert len(passage.sentences) == 3
    assert [sentence.score == 0.0 for sentence in passage.sentences] == [False, True, False]
    assert passage.score


def test_a_tokenizer_that_spells_everything_has_nothing_unknown(model_on: ModelOn) -> None:
    (passage,) = model_on("bytes", 64).process("the fox", ["\u1200\u1201 \u1202\u1203."])
    assert passage.score
    assert passage.sentences[0].score
