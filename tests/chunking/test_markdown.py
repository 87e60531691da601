from __future__ import annotations

import pytest

from provence_rag.chunking import EnglishChunker, JapaneseChunker, MarkdownChunker, heading_level

DOCUMENT = """\
# Title of it

Some prose. It has two
sentences.
## Part
- One item. With two sentences.
  It goes on here
* Another
  1. Nested one. Done.

| Name | Age |
|:-----|----:|
| Foo. Bar. | 12 |
| Baz | 13 |
Text below.

```python
print("a. b")

print("c")
```
Behind. The end.

Underlined
----------
Last."""

SENTENCES = [
    "# Title of it",
    "Some prose.",
    "It has two\nsentences.",
    "## Part",
    "- One item.",
    "With two sentences.",
    "It goes on here",
    "* Another",
    "1. Nested one.",
    "Done.",
    "| Name | Age |\n|:-----|----:|",
    "| Foo. Bar. | 12 |",
    "| Baz | 13 |",
    "Text below.",
    '```python\nprint("a. b")\n\nprint("c")\n```',
    "Behind.",
    "The end.",
    "Underlined\n----------",
    "Last.",
]


def cut(text: str) -> list[str]:
    return [sentence for sentence, _ in MarkdownChunker(EnglishChunker()).chunk(text)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_document(newline: str) -> None:
    expected = [sentence.replace("\n", newline) for sentence in SENTENCES]
    assert cut(DOCUMENT.replace("\n", newline)) == expected


def test_japanese_document() -> None:
    text = "# 見出し。続き\n- 項目。二文目。\n```\nコード。コード。\n```\n| 表。 | 二。 |\n本文。終わり。"
    assert [sentence for sentence, _ in MarkdownChunker(JapaneseChunker()).chunk(text)] == [
        "# 見出し。続き",
        "- 項目。",
        "二文目。",
        "```\nコード。コード。\n```",
        "| 表。 | 二。 |",
        "本文。",
        "終わり。",
    ]


def test_table_without_outer_bars() -> None:
    assert cut("Name | Age\n--- | ---\nFoo | 12\nText.") == ["Name | Age\n--- | ---", "Foo | 12", "Text."]


def test_bar_alone_is_no_table() -> None:
    assert cut("| We may share. We do not sell.") == ["| We may share.", "We do not sell."]


@pytest.mark.parametrize("fence", ["```", "~~~", "````", "``` python"])
def test_unclosed_fence_ends_at_a_blank_line(fence: str) -> None:
    assert cut(f"{fence}\na. b. c\n\nOne. Two.") == [f"{fence}\na. b. c", "One.", "Two."]


def test_fence_within_a_longer_fence() -> None:
    fence = "````\n```\nx. y\n```\n````"
    assert cut(f"{fence}\nText.") == [fence, "Text."]


def test_rule_is_a_block() -> None:
    assert cut("One.\n\n---\n\nTwo.\n* * *\nThree.") == ["One.", "---", "Two.", "* * *", "Three."]


def test_empty_item() -> None:
    assert cut("- \n- a") == ["-", "- a"]


@pytest.mark.parametrize(
    ("sentence", "level"),
    [
        ("# One", 1),
        ("###### Six ##", 6),
        ("  ## Two", 2),
        ("##", 2),
        ("Title\n===", 1),
        ("Title\r\n---", 2),
        ("####### Seven", 0),
        ("#tag", 0),
        ("No heading", 0),
        ("# One\nmore", 0),
        ("a\nb\n---", 0),
        ("- a\n---", 0),
        ("---", 0),
        ("", 0),
    ],
)
def test_heading_level(sentence: str, level: int) -> None:
    assert heading_level(sentence) == level


def test_headings_of_a_document() -> None:
    levels = {sentence: heading_level(sentence) for sentence in cut(DOCUMENT)}
    assert {sentence: level for sentence, level in levels.items() if level} == {
        "# Title of it": 1,
        "## Part": 2,
        "Underlined\n----------": 2,
    }


@pytest.mark.parametrize(
    "unit",
    [
        "```a\n\n",
        "```\n~~~\n",
        "|",
        "|-",
        "| \n",
        "- ",
        "- a\n",
        "#\n",
        "-\n",
        "*_",
        "1. ",
        "\n",
        "```` \n```\n\n",
    ],
)
def test_long_input_ends(unit: str) -> None:
    text = unit * (60_000 // len(unit))
    spans = MarkdownChunker(JapaneseChunker()).spans(text)
    assert sum(end - start for start, end in spans) <= len(text)
