"""Links between sentences that belong together, found in their layout."""

from __future__ import annotations

import pytest

from provence_rag.chunking import MultilingualChunker


def links(text: str, kind: str, language: str = "en") -> set[tuple[str, str]]:
    """The links of a kind, by the text of both ends."""
    chunks = MultilingualChunker(language).chunks(text)
    pieces = [text[start:end] for start, end in chunks.spans]
    return {(pieces[link.source], pieces[link.target]) for link in chunks.links if link.kind == kind}


@pytest.mark.parametrize(
    ("text", "question", "answer"),
    [
        ("Is it free?\nYes, it is.\n\nIs it open?\nNo.", "Is it free?", "Yes, it is."),
        ("Is it free?\n\nYes, it is.\n\nIs it open?\n\nNo.", "Is it free?", "Yes, it is."),
        ("Is it free? Yes, it is.\n\nIs it open? No.", "Is it free?", "Yes, it is."),
        ("Q: Is it free?\nA: Yes, it is.\n\nQ: Is it open?\nA: No.", "Q: Is it free?", "A: Yes, it is."),
        ("## Is it free?\n\nYes, it is.\n\n## Is it open?\n\nNo.", "## Is it free?", "Yes, it is."),
        ("**Is it free?**\n\nYes, it is.\n\n**Is it open?**\n\nNo.", "**Is it free?**", "Yes, it is."),
        (
            "<dl><dt>Is it free?</dt><dd>Yes, it is.</dd><dt>Is it open?</dt><dd>No.</dd></dl>",
            "<dt>Is it free?</dt>",
            "<dd>Yes, it is.</dd>",
        ),
        (
            "<h3>Is it free?</h3><p>Yes, it is.</p><h3>Is it open?</h3><p>No.</p>",
            "<h3>Is it free?</h3>",
            "<p>Yes, it is.</p>",
        ),
    ],
)
def test_a_question_announces_its_answer_which_needs_it(text: str, question: str, answer: str) -> None:
    announced = {pair for pair in links(text, "answer") if pair[0] == question}
    assert announced == {(question, answer)}
    assert (answer, question) in links(text, "needs")


def test_japanese_questions_need_no_question_mark() -> None:
    text = "田中：会議は何時からですか。\n佐藤：午後二時半からです。\n田中：お昼は外で食べます。"
    question, answer, _ = text.split("\n")
    assert links(text, "answer", "ja") == {(question, answer)}


def test_an_answer_ends_with_the_speakers_turn() -> None:
    text = "Ana: When does it go?\nLuis: Ten past nine. From the church.\nAna: Then tea."
    assert links(text, "answer") == {
        ("Ana: When does it go?", "Luis: Ten past nine."),
        ("Ana: When does it go?", "From the church."),
    }


def test_a_question_in_prose_announces_the_next_sentence_only() -> None:
    text = "He was tired. Where was the key? It was gone. Rain fell."
    assert links(text, "answer") == {("Where was the key?", "It was gone.")}


def test_a_long_answer_is_announced_up_to_a_length() -> None:
    sentences = [f"This is the sentence number {number} of the answer." for number in range(40)]
    text = "Why?\n" + " ".join(sentences)
    announced = {target for _, target in links(text, "answer")}
    assert announced == set(sentences[: len(announced)])
    assert 10 < len(announced) < 20
    assert {source for source, _ in links(text, "needs")} == set(sentences)


@pytest.mark.parametrize("lead_in", ["To change it:\n", "Things to do\n", "To change it:\n\n"])
def test_a_lead_in_announces_its_list(lead_in: str) -> None:
    text = f"Intro.\n\n{lead_in}1. Unplug it.\n2. Wait.\n\nThe end."
    first = lead_in.strip()
    expected = {(first, "1. Unplug it."), (first, "2. Wait.")}
    assert (links(text, "announces") == expected) or not first.endswith(":")
    assert links(text, "steps") == {("1. Unplug it.", "2. Wait."), ("2. Wait.", "1. Unplug it.")}


@pytest.mark.parametrize(
    ("language", "lead_in", "items"),
    [
        ("en", "To join you need the following documents.\n", ["- a passport", "- two photographs"]),
        ("en", "Bring these.\n\n", ["1. a lamp", "2. a rope"]),
        ("en", "The fees are given below.\n", ["• Adults pay ten euros.", "• Children pay five euros."]),
        ("de", "Sie brauchen die folgenden Unterlagen.\n", ["- einen Pass", "- zwei Fotos"]),
        ("ja", "次のものが必要です。\n", ["・身分証明書", "・顔写真", "・年会費"]),
        ("ja", "次のものを入れます。\n\n", ["・懐中電灯", "・水"]),
        ("ja", "以下の書類が必要です。\n", ["1. 身分証明書", "2. 顔写真"]),
        ("ja", "持ち物は下記のとおりです。\n", ["・水", "・帽子"]),
        ("zh", "需要的材料如下。\n", ["1. 护照", "2. 照片"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_lead_in_may_end_with_a_full_stop(language: str, lead_in: str, items: list[str]) -> None:
    text = lead_in + "\n".join(items)
    first = lead_in.strip()
    assert links(text, "announces", language) == {(first, item) for item in items}
    assert {(item, first) for item in items} <= links(text, "needs", language)


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "The shop is shut."),
        ("ja", "店は休みです。"),
        ("ja", "18歳以下の人は無料です。"),
        ("ja", "目次の頁です。"),
    ],
)
def test_a_sentence_before_a_list_is_no_lead_in(language: str, sentence: str) -> None:
    assert links(f"{sentence}\n・水\n・帽子", "announces", language) == set()


def test_a_colon_announces_the_block_below() -> None:
    text = "Run this:\n\n```\nmake all\n```\n\nThen go home."
    assert links(text, "announces") == {("Run this:", "```\nmake all\n```")}


def test_a_heading_announces_a_short_section_only() -> None:
    long = "This is one more sentence. " * 20
    text = f"# Fees\n\nTen euros.\n\n# History\n\n{long}"
    assert links(text, "announces") == {("# Fees", "Ten euros.")}


def test_rows_need_their_header_and_compete() -> None:
    text = "Cars:\n\n| car | seats |\n| --- | --- |\n| van | 9 |\n| mini | 4 |\n\nBye."
    chunks = MultilingualChunker("en").chunks(text)
    header = "| car | seats |\n| --- | --- |"
    assert links(text, "needs") == {("| van | 9 |", header), ("| mini | 4 |", header)}
    assert {text[slice(*chunks.spans[number])] for number in chunks.records} == {
        "| van | 9 |",
        "| mini | 4 |",
    }


@pytest.mark.parametrize("text", ["One. Two. Three.", "He said: go home. They went.", "", "a"])
def test_plain_prose_has_no_links(text: str) -> None:
    assert MultilingualChunker("en").chunks(text).links in ((), [])
