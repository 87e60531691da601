"""Borders that layout makes: tags, items, entries, turns, emoji, and lines that are wrapped or are not."""

from __future__ import annotations

import pytest

from provence_rag.chunking import EnglishChunker, MultilingualChunker


def cut(text: str, language: str = "auto") -> list[str]:
    return [sentence for sentence, _ in MultilingualChunker(language).chunk(text)]


@pytest.mark.parametrize(
    "pieces",
    [
        ["<p>One dog barks.</p>", "<p>two cats</p>"],
        ["<ul><li>milk</li>", "<li>eggs and ham</li></ul>", "<h2>Prices</h2>", "<p>All low.</p>"],
        ["First line<br>", "second line<BR/>", "third line"],
        ["<div class='a'>Some text</div><div></div>", "<section>More text</section>"],
        ["<tr><td>red</td><td>Hollis</td></tr>", "<tr><td>blue</td><td>Okafor</td></tr>"],
    ],
    ids=lambda pieces: pieces[0],
)
def test_block_level_tags(pieces: list[str]) -> None:
    # As in a text that is no whole HTML; of HTML, tags that hold several records are pieces of their own.
    assert [sentence for sentence, _ in EnglishChunker().chunk("".join(pieces))] == pieces


def test_block_level_tags_in_japanese() -> None:
    assert cut("日本語です<br>次の行です") == ["日本語です<br>", "次の行です"]


def test_inline_tags_belong_to_their_sentence() -> None:
    sentences = ["It is <b>bold.</b>", "Then <i>not</i>.", "Known.<sup>3</sup>", "Proved."]
    assert cut(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "text", ["<p><div>text</div></p>", "<br/>text<br/>", "a < b and c > d", "x <prefer> y"]
)
def test_tags_alone_are_no_sentence(text: str) -> None:
    assert EnglishChunker().chunk(text) == [(text, (0, len(text)))]


@pytest.mark.parametrize("glyph", list("•▪◦●■➢➤►✓✔☑❖→–—-*+\uf0b7"))
def test_bullets_in_a_column(glyph: str) -> None:
    items = [f"{glyph} a passport", f"{glyph} two photos", f"{glyph} Proof of insurance"]
    assert cut("\n".join(["You need", *items, "Bring them all."])) == ["You need", *items, "Bring them all."]


@pytest.mark.parametrize("glyph", list("•▪◦●➢✓\uf0b7"))
def test_bullets_in_a_line(glyph: str) -> None:
    items = [f"{glyph} a passport", f"{glyph} two photos", f"{glyph} 30 euros."]
    assert cut(" ".join(["You need", *items, "That is all."])) == ["You need", *items, "That is all."]


@pytest.mark.parametrize(
    ("language", "pieces"),
    [
        ("en", ["→ a coat", "→ a hat", "→ a map"]),
        ("en", ["Bring:", "→ a coat", "→ a hat"]),
        ("en", ["1) open the valve", "2) drain", "3) close"]),
        ("en", ["Open Settings → Network → Reset to begin.", "Then wait."]),
        ("en", ["See parts (a), (b) and (c) of the rule."]),
        ("en", ["Points 1) and 2) and 3) matter."]),
        ("ja", ["・上着を持参する", "・ペットは不可", "・現金で支払う"]),
        ("ja", ["持ち物：", "・上着", "・水筒", "・地図"]),
        ("ja", ["・ジョン・スミスの本", "・上着"]),
        ("ja", ["ジョン・スミスは来た。"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_what_is_a_list_in_a_line(language: str, pieces: list[str]) -> None:
    text = ("" if language == "ja" else " ").join(pieces)
    assert [piece for piece, _ in MultilingualChunker(language).chunk(text)] == pieces


@pytest.mark.parametrize(
    "markers",
    [
        ["1)", "2)", "3)"],
        ["1.", "2.", "3."],
        ["(a)", "(b)", "(c)"],
        ["i.", "ii.", "iii."],
        ["a)", "b)", "c)"],
    ],
)
def test_numbered_items_in_a_line(markers: list[str]) -> None:
    items = [
        f"{marker} open the {part}"
        for marker, part in zip(markers, ["red flap", "grey lid", "box"], strict=True)
    ]
    assert cut("Do this: " + " ".join(items)) == ["Do this:", *items]
    assert cut("\n".join(["Do this", *items])) == ["Do this", *items]


@pytest.mark.parametrize(
    "text",
    [
        "It is done by (a) and (b) alone.",
        "The ratio of A to B is 2) if odd.",
        "Go to Menu → Settings → Privacy to change it.",
        "She met him; he left; they wrote.",
        "図の①と②を見る。",
        "マイケル・ジャクソンは歌手です。",
    ],
)
def test_no_list(text: str) -> None:
    assert cut(text) == [text]


def test_dashes_after_a_colon() -> None:
    assert cut("Bring: – a towel – a lamp – two ropes. Then – at last – call us.") == [
        "Bring:",
        "– a towel",
        "– a lamp",
        "– two ropes.",
        "Then – at last – call us.",
    ]


def test_circled_numbers_and_semicolons() -> None:
    assert cut("手順：①電源を切る②カバーを外す③網を洗う") == [
        "手順：",
        "①電源を切る",
        "②カバーを外す",
        "③網を洗う",
    ]
    assert cut("Bring: the bill of sale; two photos; 30 euros.") == [
        "Bring: the bill of sale;",
        "two photos;",
        "30 euros.",
    ]


@pytest.mark.parametrize(
    "lines",
    [
        [
            "2024-05-01 12:00:01 INFO start",
            "2024-05-01 12:00:02 ERROR disk full",
            "2024-05-01 12:00:09 INFO stop",
        ],
        ["Mar 03 04:10:11 node1 cron: job done", "Mar 03 04:10:12 node1 kernel: out of memory"],
        ["[12:01:07] user joined", "[12:01:09] user left"],
        ["127.0.0.1 - - GET /a", "10.0.0.2 - - GET /b"],
        ["WARN: low battery", "ERROR: no battery"],
        ["main.c:12:5: error: expected ;", "main.c:14:1: warning: unused"],
        ["town,people,river", "alden,1203,moss", "brill,845,tarn"],
        ["TOWN;PEOPLE", "ALDEN;1203", "BRILL;845"],
        ["a\tb\tc", "d\te\tf"],
        ["name, age, city", "lee, 34, oslo", "kim, 28, rome"],
        [">> ANNA: where is it", ">> BEN: on the desk", ">> ANNA: thanks"],
        ["**Ana:** where is it", "**Luis:** on the desk", "**Ana:** thanks"],
        ["name: shop", "port: 9102", "level: warn"],
        ["host = example", "port = 80"],
        ["Ana: have you seen it", "Luis: yes", "Ana: where"],
        ["Q: is it dry", "A: no", "Q: is it red", "A: yes"],
        ["田中：資料は送りましたか", "佐藤：昨日送りました"],
        ["✅ fast", "🚀 easy", "💡 clear"],
    ],
    ids=lambda lines: lines[0],
)
def test_entries(lines: list[str]) -> None:
    assert cut("\n".join(lines)) == lines


def test_turns_in_a_line() -> None:
    turns = ["Ana: have you seen the map", "Luis: it is here", "Ana: thanks"]
    assert cut(" ".join(turns)) == turns
    assert cut("Note: see Chapter Two: The Map is there.") == ["Note: see Chapter Two: The Map is there."]


@pytest.mark.parametrize(
    "expected",
    [
        ["Battery lasts two full days 🔋", "The strap broke after a week 😢", "Box arrived dented 📦"],
        ["Great phone 👍", "camera is so so 📷", "battery dies fast 😡"],
        ["I love 🍕 and 🍔 so much."],
        ["What a great day! 🎉🎉", "Come back soon."],
        ["We had a lovely time :)", "The food was good."],
        ["I ❤️ New York and Boston.", "It is big."],
    ],
    ids=lambda expected: expected[0],
)
def test_emoji(expected: list[str]) -> None:
    assert cut(" ".join(expected)) == expected


def test_japanese_emoji() -> None:
    assert cut("とても楽しかった😊また行きたい✨おすすめです") == [
        "とても楽しかった😊",
        "また行きたい✨",
        "おすすめです",
    ]


@pytest.mark.parametrize(
    "sentences",
    [
        [
            "Members meet on the first Monday in the old school\nand bring their own chairs.",
            "The fee covers heat-\ning.",
        ],
        [
            "The machine was designed by the firm of Brown and\n"
            "Smith in the year before the war, as was that of the\nplant."
        ],
        ["これは父の\n家です。"],
        [
            "本製品の保証期間は、お買い上げの日から一年間と\nなっております。",
            "ただし、消耗品である電池および\nフィルターは保証の対象外となりますのでご注意く\nださい。",
        ],
        [
            "本公司成立于一九九八年，总部位于上海，目前拥有员\n工两千余人。",
            "公司主要生产各类电子产品，\n包括手机。",
        ],
    ],
    ids=lambda sentences: sentences[0][:12],
)
def test_wrapped_lines_are_one_sentence(sentences: list[str]) -> None:
    separator = "" if sentences[0][0] > "\u3000" else " "
    assert cut(separator.join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentence",
    [
        "西側の塔は、建て始めて四十年後に、完成は\n1881年の秋、祝典は翌年の春である。",
        "西側の塔は、建て始めてから四十年が過ぎた頃の、194\n7年に焼け、その後は再建されなかった。",
        "この町では、古くからの行事である灯籠流しと\n「夏の市」が、毎年八月の第一土曜日に開かれる。",
        "この町の寺には、広く知られる「奈良の大仏」\nを本尊とする寺院と同じ形の、小さな堂がある。",
        "この町の外れの寺には、大変古い仏像（木造）\nが三体あり、いずれも県の文化財に指定されている。",
        "この町の電力会社は、五年前から、すべての家庭に\nLEDの電球を配り、料金を下げている。",
        "この橋を設計したのは、スコットランド出身のジョン\n・スミスであり、完成後に市に渡った。",
        "この機体は、全長が十七メートル、全高は11.\n76メートル、全幅は三十五メートルである。",
        "この社の、昨年の売り上げは一台あたり約3,400ドル\nで、一昨年は、同じ機種で約3,100ドルであった。",
        "第三届全国运动会的开幕式，于二〇二四年\n3月5日在北京举行，共有两千人参加。",
    ],
    ids=lambda sentence: sentence.split("\n")[1][:8],
)
def test_wrapped_japanese_and_chinese_goes_on_before_any_character(sentence: str) -> None:
    assert cut(sentence) == [sentence]


def test_a_chinese_line_goes_on_after_a_preposition() -> None:
    assert cut("三月五日在\n北京举行") == ["三月五日在\n北京举行"]
    assert cut("二〇二四年三月五日现在\n北京市政府") == ["二〇二四年三月五日现在", "北京市政府"]


@pytest.mark.parametrize("columns", [False, True], ids=["characters", "columns"])
@pytest.mark.parametrize("length", [20, 25, 31, 38])
def test_wrapped_japanese_has_the_sentences_of_the_text(length: int, columns: bool) -> None:
    sentences = [
        "港の北にある水族館は、1971年に開館し、2004年に「海の館」として建て替えられた。",
        "設計者はジョン・スミス（英国）で、NHKの番組『町の形』でも紹介され、延べ3500人が見学した。",
        "開館時間は午前9時から午後5時までで、月曜日（祝日を除く）と12月29日から1月3日は休館する。",
        "入館料は、大人1200円、子ども600円で、65歳以上の人は「長寿券」を見せると半額になる。",
    ]
    lines = [""]
    for character in "".join(sentences):
        width = sum(2 - each.isascii() for each in lines[-1]) if columns else 2 * len(lines[-1])
        if width >= 2 * length and character not in "、。」』）・":
            lines.append("")
        lines[-1] += character
    assert ["".join(sentence.split()) for sentence in cut("\n".join(lines))] == sentences


@pytest.mark.parametrize(
    "lines",
    [
        ["Opening hours", "Monday to Friday from nine to five", "Closed on Sundays"],
        [
            "Restart of the server takes three minutes in the evening",
            "Disks are checked on Mondays",
            "Backups are kept",
        ],
        ["営業時間", "月曜から金曜", "日曜は休み"],
        ["東京都千代田区丸の内一丁目、駅前ビル", "03-1234-5678", "平日の午前9時から午後5時まで"],
        ["ほたて", "300円", "うに", "450円"],
        [
            "1971年、港の北に、小さな水族館として開館",
            "1988年、隣の土地に、新しい展示館を建設",
            "2004年、全館を建て替え",
        ],
        [
            "「ええ、そうですね、明日もきっと晴れますよ」",
            "「それなら、朝から海へ行くことにしましょう」",
            "彼女は黙っていた",
        ],
        ["「ええ、そうですね、明日もきっと晴れますよ」", "彼女は、窓の外を見ながら、笑っていた"],
        ["持ち物は、参加する人が、次のものを自分で用意", "・タオル", "・ハンカチ"],
        ["会場（屋内）", "定員（先着順）", "申し込み（電話のみ）"],
    ],
    ids=lambda lines: lines[0],
)
def test_lines_that_were_ended_on_purpose(lines: list[str]) -> None:
    assert cut("\n".join(lines)) == lines


CAPTION = (
    "hello everybody today we are baking bread which is really easy you only need a bowl now put in six "
    "hundred grams of flour and a spoon of salt and stir it with your hand don't forget to like the video "
    "and tell me where you are watching from because i read all of it"
)


def test_captions_without_punctuation() -> None:
    clauses = cut(CAPTION)
    assert " ".join(clauses) == CAPTION
    assert len(clauses) >= 4
    assert max(len(clause.split()) for clause in clauses) <= 20
    assert any(clause.startswith("now put in six hundred grams of flour") for clause in clauses)


def test_long_sentence_with_punctuation_is_not_cut() -> None:
    sentence = "The house, which " + "was built of stone and " * 10 + "stood on a hill, was sold."
    assert cut(sentence) == [sentence]


def test_japanese_captions() -> None:
    text = (
        "皆さんこんにちは今日は祖母のパンを焼きますとても簡単でボウルがあれば大丈夫ですまず粉を六百グラム入れて塩を一さじ"
        "加えて手でよく混ぜますそれから一時間休ませてください焼く温度は二百度でオーブンは先に温めておきますチャンネル登録"
        "もお願いします次の動画では兄と一緒に赤い実のジャムを作りますので楽しみにしていてください"
    )
    clauses = cut(text)
    assert "".join(clauses) == text
    assert max(map(len, clauses)) <= 80
    assert any(clause.endswith("焼きます") for clause in clauses)


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "<p>",
            "<p>a",
            "</p><br/>",
            "<td",
            "• ",
            "• a ",
            "1) a b c ",
            "1) 2) ",
            "(a) b ",
            "i. ii. ",
            "①",
            "①あああ②",
        ),
        *(
            "a: b\n",
            "a: b; ",
            ": x; y; ",
            "a,b\n",
            "Ana: hi ",
            "12:00 x\n",
            "> ",
            "🔋 ",
            "a🔋 b ",
            ":) ",
            ": – a ",
        ),
        *(
            "word ",
            "and then ",
            "です",
            "焼きます",
            "あ\n",
            "は\n",
            "end.The ",
            "end.12 In ",
            ". [1] ",
            ". . . . ",
            "z. B. ",
        ),
        *("S.Ct. 1 ", "a <sup>", "\ta", '{"a": [1, ', "- name: b\n", "x" * 50 + "\n"),
    ],
)
def test_long_input_ends(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    for language in ("en", "ja"):
        spans = MultilingualChunker(language).spans(text)
        assert sum(end - start for start, end in spans) <= len(text)
