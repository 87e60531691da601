from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from provence_rag.chunking import MultilingualChunker, detect_language
from provence_rag.chunking.english import PUNKT_LANGUAGES
from provence_rag.errors import InvalidInputError
from provence_rag.languages import LANGUAGES

PROSE = {
    "en": "The government said on Monday that the new rules would come into force in the autumn.",
    "de": "Die Regierung hat am Montag mitgeteilt, dass die neuen Regeln im Herbst in Kraft treten.",
    "fr": "Le gouvernement a annoncé lundi que les nouvelles règles entreraient en vigueur à l'automne.",
    "es": "El gobierno anunció el lunes que las nuevas normas entrarán en vigor en el otoño.",
    "it": "Il governo ha annunciato lunedì che le nuove regole entreranno in vigore in autunno.",
    "pt": "O governo anunciou na segunda-feira que as novas regras entrarão em vigor no outono.",
    "nl": "De regering heeft maandag meegedeeld dat de nieuwe regels in de herfst van kracht worden.",
    "pl": "Rząd ogłosił w poniedziałek, że nowe przepisy wejdą w życie jesienią tego roku.",
    "tr": "Hükümet pazartesi günü yeni kuralların sonbaharda yürürlüğe gireceğini açıkladı.",
    "ru": "Правительство сообщило в понедельник, что новые правила вступят в силу осенью.",
    "el": "Η κυβέρνηση ανακοίνωσε τη Δευτέρα ότι οι νέοι κανόνες θα τεθούν σε ισχύ το φθινόπωρο.",
    "ja": "政府は月曜日、新しい規則が秋に発効すると発表した。",
    "zh": "政府星期一宣布，新规定将于秋季生效。",
    "ko": "정부는 월요일에 새로운 규칙이 가을에 시행된다고 발표했다.",
    "hu": "A kormány hétfőn bejelentette, hogy az új szabályok ősszel lépnek hatályba az országban.",
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """One token a word, one an unknown character."""
    result = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    result.pre_tokenizer = pre_tokenizers.Whitespace()
    return result


@pytest.mark.parametrize("language", PROSE)
def test_detect_language(language: str) -> None:
    assert detect_language(PROSE[language]) == language
    assert detect_language(PROSE[language] * 100) == language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        (" \n", "en"),
        ("12345 !?", "en"),
        ("Kurzer Text", "en"),
        ("\x00\ud800\udfff", "en"),
        ("\ud800" * 50 + PROSE["de"], "de"),
        ("日本", "zh"),
        ("Python は便利", "ja"),
        ("PyTorch 2.0 を使った LLM の fine-tuning。", "ja"),
        ("The Japanese word for Tokyo (東京, とうきょう) is the name of the capital.", "en"),
        ("百度是一家公司，日本品牌“の”字很常见，大家都知道这个字的意思。", "zh"),
        ("ｶﾀｶﾅ ﾀﾞｹ", "ja"),
        ("\U0001f600" * 100, "en"),
        ("\u16a0\u16a1\u16a2" * 30, "en"),
    ],
)
def test_detect_language_of_odd_text(text: str, language: str) -> None:
    assert detect_language(text) == language


def test_detection_leaves_the_global_seed_alone() -> None:
    from langdetect import DetectorFactory

    detect_language(PROSE["de"])
    assert DetectorFactory.seed is None


def test_detection_is_deterministic() -> None:
    text = "Coca Cola 500 ml, Pepsi 330 ml, Fanta Orange 1.5 l, Sprite Zero, Bonaqua, Schweppes"
    assert len({detect_language(text) for _ in range(20)}) == 1


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (
            "auto",
            "Dr. A met Mr. B. It was in the U.S. in May.",
            ["Dr. A met Mr. B.", "It was in the U.S. in May."],
        ),
        ("auto", "今日は晴れ。明日は雨。", ["今日は晴れ。", "明日は雨。"]),
        ("zh", "你好。再见！", ["你好。", "再见！"]),
        ("zh-TW", "你好。再見！", ["你好。", "再見！"]),
        ("ko", "안녕하세요. 반갑습니다! 네.", ["안녕하세요.", "반갑습니다!", "네."]),
        ("de", "Am 3. Mai kam er. Gut.", ["Am 3. Mai kam er.", "Gut."]),
        ("DE_at", "Am 3. Mai kam er. Gut.", ["Am 3. Mai kam er.", "Gut."]),
        ("auto", PROSE["hu"] + " " + PROSE["hu"], [PROSE["hu"]] * 2),
        ("auto", "# 見出し。次\n本文。続き。", ["# 見出し。次", "本文。", "続き。"]),
        ("en", "# A. B\n- One. Two.\n", ["# A. B", "- One.", "Two."]),
    ],
)
def test_sentences(language: str, text: str, expected: list[str]) -> None:
    chunker = MultilingualChunker(language)
    assert [sentence for sentence, _ in chunker.chunk(text)] == expected
    assert MultilingualChunker().chunk_text(text, language) == chunker.chunk(text)


def test_auto_in_chunk_text_is_the_chunkers_own_language() -> None:
    assert MultilingualChunker("ja").chunk_text("a、b。c") == [("a、b。", (0, 4)), ("c", (4, 5))]


def test_every_language_that_can_be_detected_can_be_given() -> None:
    from langdetect.detector_factory import PROFILES_DIRECTORY

    detected = {path.name.partition("-")[0] for path in Path(PROFILES_DIRECTORY).iterdir()}
    assert sorted(LANGUAGES) == list(LANGUAGES) == sorted(detected | PUNKT_LANGUAGES.keys())
    for language in LANGUAGES:
        assert MultilingualChunker(language).chunk("One word.") == [("One word.", (0, 9))]


@pytest.mark.parametrize("language", ["xx", "", "english", None])
def test_unknown_language(language: Any) -> None:
    message = rf"^language must be 'auto' or one of af, ar, .*, vi, zh, got {language!r}$"
    with pytest.raises(InvalidInputError, match=message):
        MultilingualChunker(language)


def test_long_sentences_are_split(tokenizer: Tokenizer) -> None:
    text = "One two three, four five. Six. \ud800 seven"
    assert MultilingualChunker("en").chunk_text(text, tokenizer=tokenizer, max_length=4) == [
        ("One two three,", (0, 14)),
        ("four five.", (15, 25)),
        ("Six.", (26, 30)),
        ("\ud800 seven", (31, 38)),
    ]


def test_truncation_of_the_tokenizer_does_not_matter(tokenizer: Tokenizer) -> None:
    text = " ".join("abcdefghij")
    expected = [(text[start : start + 3], (start, start + 3)) for start in range(0, 19, 4)]
    cutting = Tokenizer.from_str(tokenizer.to_str())
    cutting.enable_truncation(3)
    cutting.enable_padding(length=20)
    assert MultilingualChunker("en").chunk_text(text, tokenizer=cutting, max_length=2) == expected
    assert cutting.truncation is not None
    assert cutting.truncation["max_length"] == 3


def test_tokenizer_of_transformers(tokenizer: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert MultilingualChunker("en").chunk_text("a b c d", tokenizer=fast, max_length=2) == [
        ("a b", (0, 3)),
        ("c d", (4, 7)),
    ]


@pytest.mark.parametrize("value", [None, str.split])
def test_length_needs_a_tokenizer(value: Any) -> None:
    with pytest.raises(
        InvalidInputError, match=r"^max_length needs tokenizer: a tokenizers\.Tokenizer or .*, got "
    ):
        MultilingualChunker().chunk_text("a", tokenizer=value, max_length=3)


def test_length_below_one(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInputError, match=r"^max_length must be an integer >= 1, got 0$"):
        MultilingualChunker().chunk_text("a", tokenizer=tokenizer, max_length=0)
