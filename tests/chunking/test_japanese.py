from __future__ import annotations

import pytest

from provence_rag.chunking import JapaneseChunker


def cut(text: str) -> list[str]:
    return [sentence for sentence, _ in JapaneseChunker().chunk(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["今日は晴れ。", "明日は雨です。", "では"],
        ["本当ですか！？", "はい！！", "ええ…。", "そうです｡", "終わり"],
        ["「明日は雨。傘がいる。」と彼は言った。", "私は黙った。"],
        ["「はい。」", "「いいえ。」", "『そう。』"],
        ["彼女は「なぜ？（本当に？）」と聞いた。", "答えはない。"],
        ["これ（正式名称。別名あり。）は古い。", "次。"],
        ["雨だ。", "（昨日も降った。）", "寒い。"],
        ["【注意！必読】読んでください。", "以上。"],
        ["面白い！（笑）", "次の文。", "脚注。[1]", "終わり。［2］", "完。"],
        ["すごい!", "明日も行く。", "いい?", "だめ!"],
        ["Yahoo!ニュースを見た。", "https://a.jp/?q=1を開く。", "a!=bである。"],
        ["なぜ？と聞かれた。", "すごい！って言った。", "とても？", "とにかく行く。"],
        ["モーニング娘。の新曲。", "けいおん！を見た。", "のちに終わる。"],
        ["古い町である。[要出典]", "人口は多い。[要検証]", "誰かが見た。[誰?]", "以上。[注 2]", "[写真]次。"],
        [
            "モーニング娘。は人気がある。",
            "モーニング娘。が歌う。",
            "はい。",
            "はじめに。",
            "は虫類だ。",
            "が、違う。",
        ],
        ["本当か？と彼は聞いた。", "すごい！と先生が叫ぶ。", "なぜ？", "と同時に鳴った。"],
        ["円周率は３．１４である．", "次の文である．", "A社もである．", "以上．"],
        ["ＡＢＣ．Ｃｏは会社である．", "1．概要"],
        ["円周率は3.14。", "Ver.2.0を使う。"],
        ["えっと…そう。", "うーん……", "「何」"],
        ["他说：“你好。”然后走了。", "今天天气很好！", "我们去公园吧？", "好的。"],
        ['他说："你好。再见。"然后走了。', "好。"],
        ["*「閉じない。", "次の文。", "また次。"],
        ["閉じるだけ。」", "次の文。）", "また次。"],
        ["（「入れ子）が壊れた。", "次。"],
    ],
    ids=lambda expected: expected[0],
)
def test_sentences(expected: list[str]) -> None:
    assert cut("".join(expected)) == expected


def test_spaces_between_sentences() -> None:
    text = "「おはよう。」　彼は言った。 そう…… 次は"
    assert cut(text) == ["「おはよう。」", "彼は言った。", "そう……", "次は"]


def test_latin_sentences_in_between() -> None:
    text = "PyTorch is good. 日本語です。Dr. Smith likes it. No. 5 is Inc. five."
    assert cut(text) == ["PyTorch is good.", "日本語です。", "Dr. Smith likes it.", "No. 5 is Inc. five."]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\u2028", "\n\n"])
def test_line_break_is_a_border_even_in_brackets(newline: str) -> None:
    lines = ["見出し", "「開いたまま", "文。", "・項目」"]
    assert cut(newline.join(lines)) == lines


def test_distant_brackets_do_not_swallow_the_text() -> None:
    sentence = "これは普通の長さの文である。"
    text = f"「{sentence * 60}」"
    assert len(cut(text)) == 60


def test_offsets_are_of_the_text() -> None:
    assert JapaneseChunker().chunk("\u3000あ。\nい") == [("あ。", (1, 3)), ("い", (4, 5))]


@pytest.mark.parametrize("text", ["", "\u3000", "\n"])
def test_white_space_has_no_sentence(text: str) -> None:
    assert JapaneseChunker().spans(text) == []


@pytest.mark.parametrize(
    "unit",
    [
        "あ",
        "。",
        "「",
        "」",
        "「」",
        "「。」",
        "あ（。）",
        "あ「",
        "(「",
        "(「)",
        "!a",
        ". ",
        "a. ",
        "「(。",
        "。[",
        "。*",
    ],
)
def test_long_input_ends(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    assert sum(end - start for start, end in JapaneseChunker().spans(text)) <= len(text)


def test_a_megabyte_ends() -> None:
    text = "吾輩は（名前はまだ無い）猫である。「どこで生れたか？」と聞く。" * 30_000
    assert len(JapaneseChunker().spans(text)) == 60_000
