"""Records are what parsers of their formats read."""

from __future__ import annotations

import csv
import html.parser
import io
import json
from collections.abc import Callable
from random import Random
from xml.etree import ElementTree

import pytest
import yaml

from provence_training.augmentation import FORMS, Wordings
from provence_training.augmentation.pool import Pool
from provence_training.augmentation.record_forms import FORMATS
from provence_training.data import load_passages

Rows = list[tuple[str, str]]
PARTS = [
    *"\"'&<>|,:;#-?%@`\\{}[]*!= aé日️🙂\xa0\xad\u200b\u2028",
    "yes",
    "~",
    "null",
    "1e3",
    "]]>",
    "- ",
    ": ",
    " #",
    "<b>",
    "</td>",
]


def random_rows(rng: Random) -> Rows:
    """Texts on one line, as items have them."""
    texts = [" ".join("".join(rng.choices(PARTS, k=rng.randint(1, 8))).split()) or "x" for _ in range(8)]
    return list(zip(texts[::2], texts[1::2], strict=True))


class Table(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if data.strip() or (self.rows and self.rows[-1]):
            self.rows[-1][-1] += data if self.rows else ""


def from_html(text: str) -> Rows:
    table = Table()
    table.feed(text.replace("</tr>\n", "</tr>").removesuffix("\n</table>"))
    table.close()
    return [(row[0], row[1]) for row in table.rows]


def from_xml(text: str) -> Rows:
    return [(entry[0].text or "", entry[1].text or "") for entry in ElementTree.fromstring(text)]


def from_delimited(delimiter: str) -> Callable[[str], Rows]:
    def read(text: str) -> Rows:
        rows = [tuple(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)]
        fields, *rest = rows
        assert all(len(row) == len(fields) for row in rest)
        return [(row[-2], row[-1]) for row in rest]

    return read


def from_markdown(text: str) -> Rows:
    lines = [line.replace(r"\|", "\0").split("|") for line in text.split("\n")[2:]]
    assert all(len(cells) == 4 for cells in lines)
    return [(cells[1][1:-1].replace("\0", "|"), cells[2][1:-1].replace("\0", "|")) for cells in lines]


PARSERS: dict[str, Callable[[str], Rows]] = {
    "json": lambda text: [tuple(entry.values()) for entry in json.loads(text)],
    "jsonl": lambda text: [tuple(json.loads(line).values())[1:] for line in text.split("\n")],
    "csv": from_delimited(","),
    "tsv": from_delimited("\t"),
    "yaml": lambda text: [tuple(entry.values()) for entry in yaml.safe_load(text)],
    "html": from_html,
    "xml": from_xml,
    "markdown": from_markdown,
}


@pytest.mark.parametrize("name", PARSERS)
def test_records_parse(name: str) -> None:
    for seed in range(300):
        rng = Random(seed)
        rows = random_rows(rng)
        made = FORMATS[name](("question", "回答"), rows, rng)
        assert len(made.records) == len(rows)
        assert PARSERS[name](made.head + made.separator.join(made.records) + made.tail) == rows


def test_key_value_lines_are_the_format_without_a_parser() -> None:
    assert FORMATS.keys() - PARSERS.keys() == {"key-value"}
    made = FORMATS["key-value"](("key", "value"), [("shipping fee?", "5 euros")], Random(0))
    assert made.records == ["shipping fee: 5 euros"]


def test_line_breaks_and_control_characters_stay_out() -> None:
    text = "It is\tred\x01\tand b\x85lue \udc00."
    question = {"question": "Which\n colour\x02?", "answers": [{"start": 6, "end": 10}]}
    passages = load_passages([{"text": text, "lang": "en", "questions": [question]}])
    pool = Pool(passages, "en", Wordings(), paraphrase=0.0)
    for seed in range(40):
        page = FORMS["records"].make(pool, Random(seed))
        assert page is not None
        assert not set("\x01\x02\x85\udc00") & set(page.text)
        assert [q.text for q in page.questions] == ["Which colour?"]
        ((start, end),) = page.questions[0].answers
        assert "\n" not in page.text[start:end].replace("\n  ", "")  # YAML has two lines to a record
