"""Structured data is cut into records, and whatever is kept of it parses."""

from __future__ import annotations

import ast
import csv
import io
import json
import time
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag.chunking import Chunks, MultilingualChunker
from provence_rag.inference.assembly import assemble
from provence_rag.inference.together import settled

CHUNKER = MultilingualChunker("en")
LONG = "The clinic opens at eight. " * 20

ROWS = [
    {"name": "Orlen", "mayor": "Voss"},
    {"name": "Brill, old", "mayor": 'the "Duke"'},
    {"name": "川", "mayor": ""},
]
NESTED = {"status": "ok", "data": {"cities": ROWS, "tags": ["a", "b"]}, "next": None}

PYTHON = '''"""Tools."""
import math, os
from pathlib import Path

LIMIT = 4; OTHER = 5


# Of a circle.
@cached
def area(radius):
    return math.pi * radius ** 2


class Stack:
    """Of items."""

    size = 3

    def push(self, item):
        if item:
            self.items.append(item)

    async def pop(self):
        return self.items.pop()


if LIMIT:
    print(area(2))
'''

YAML = """# settings
server:
  host: example.org   # the name
  tls:
    ports: [443,
      8443]
    text: |
      first: line

      second

# nightly
jobs:
- name: backup
  when: "0 3 * * *"
- name: report
  steps:
    - run: a b
    - run: c
---
other:
  key: 1
"""

JAVASCRIPT = """import { db } from './db';

// Finds a user.
export async function findUser(id) {
  if (!id) { throw new Error("none }"); }
  return db.get(id);
}

class Store extends Base {
  constructor() { super(); this.items = []; }

  add(item) {
    for (const one of [item]) {
      this.items.push(one);
    }
    return this.items.length;
  }

  clear() {
    this.items = []; // all of them, whatever they are, since nobody reads them any more
    this.dirty = true;
    this.listeners.forEach((listener) => { listener(this); });
    return this;
  }
}

const greet = (name) => {
  return `Hello ${name} {`;
};
"""


def balanced(text: str) -> None:
    for opener, closer in ("{}", "()", "[]"):
        code = text.replace('"none }"', "").replace("${name} {", "")
        assert code.count(opener) == code.count(closer)


def as_csv(delimiter: str) -> Callable[[str], None]:
    def parse(text: str) -> None:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
        assert rows[0] == ["name", "mayor"]
        assert all(len(row) == 2 for row in rows)

    return parse


def written(rows: list[dict[str, str]], delimiter: str) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, ["name", "mayor"], delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def json_between_prose(text: str) -> None:
    json.loads(text[text.index("[") : text.rindex("]") + 1])


FORMS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "JSON array": (json.dumps(ROWS, ensure_ascii=False), json.loads),
    "JSON in lines": (json.dumps(NESTED, indent=2), json.loads),
    "JSON object of objects": (json.dumps({row["name"]: row for row in ROWS}), json.loads),
    "JSON with a long text": (json.dumps({"id": 7, "text": LONG + 'She said "no".\nThen ünï.'}), json.loads),
    "JSON string": (json.dumps(LONG + 'She said "no".\n\nThen she left.'), json.loads),
    "one big record": (json.dumps([NESTED, 1]), json.loads),
    "JSON string without escapes": (json.dumps("It rained. She left. The door is open."), json.loads),
    "short JSON string": ('"Yes. No."', json.loads),
    "JSON Lines": ("\n".join(map(json.dumps, ROWS)), lambda text: list(map(json.loads, text.split("\n")))),
    "repr": (repr(NESTED), ast.literal_eval),
    "repr in lines": ("[\n  {'a': 'é', 'b': 1},\n  {'a': 'x'},\n]", ast.literal_eval),
    "repr of objects": ("[Document(id='é', text='one two'), Document(text='three')]", ast.parse),
    "repr of a text": (repr("It rained. She left. The door is open."), ast.literal_eval),
    "repr of a text with escapes": (repr('It\'s "late".\n\nThen\x1b she left. É.'), ast.literal_eval),
    "repr in double quotation marks": (repr("It's\x1b late. Then she left."), ast.literal_eval),
    "XML": (
        '<?xml version="1.0"?>\n<c a="1>0">\n <b><t>One &amp; two</t></b>\n <b><t>é</t></b>\n <n/>\n</c>',
        ElementTree.fromstring,
    ),
    "XML fragments": ("<b><t>One</t></b><b><t>Two</t></b>", lambda t: ElementTree.fromstring(f"<r>{t}</r>")),
    "XML with names of HTML": (
        "<book><title>Bridges</title><author>Kofi Osei</author><Address>Accra</Address></book>",
        ElementTree.fromstring,
    ),
    "RSS": (
        "<rss><channel><title>News</title><item><title>One</title><link>x</link></item>"
        "<item><title>Two</title><link>y</link></item></channel></rss>",
        ElementTree.fromstring,
    ),
    "Atom": (
        "<feed><title>News</title><entry><title>One</title><summary>It is.</summary></entry>"
        "<entry><title>Two</title><summary>It was.</summary></entry></feed>",
        ElementTree.fromstring,
    ),
    "configuration": (
        "<config><section name='a'><option>one</option><option>two</option></section><section name='b'>"
        "<option>three</option></section></config>",
        ElementTree.fromstring,
    ),
    "HTML": (
        "<div><h2>Fees</h2><p>It is <b>free. For all.</b> Come in.</p>text<br/><ul><li>a</li><li>b</li></ul>"
        "<table><tr><th>x</th></tr><tr><td>1</td></tr><tr><td>2</td></tr></table></div>",
        lambda text: ElementTree.fromstring(text),
    ),
    "CSV": (written(ROWS, ","), as_csv(",")),
    "TSV": (written(ROWS, "\t"), as_csv("\t")),
    "YAML": (YAML, lambda text: list(yaml.safe_load_all(text))),
    "YAML in other scripts": (
        "店舗:\n  大阪:\n    電話番号（代表）: 06\n  1号店:\n    電話: 011\nसेवा:\n  город: Орёл\n",
        yaml.safe_load,
    ),
    "OpenAPI": (
        "paths:\n  /pets/{petId}:\n    get: {summary: a}\n  /pets:\n    $ref: b\n",
        yaml.safe_load,
    ),
    "Python": (PYTHON, ast.parse),
    "JavaScript": (JAVASCRIPT, balanced),
}


def cut(text: str, chunks: Chunks, chosen: list[int]) -> str:
    """What is left of a text of which some pieces are chosen."""
    mask = np.zeros(len(chunks.spans), dtype=bool)
    mask[chosen] = True
    mask = settled(mask, chunks)
    return assemble(text, chunks.spans, mask)


@pytest.mark.parametrize("form", FORMS)
def test_any_choice_of_records_parses(form: str) -> None:
    text, parse = FORMS[form]
    parse(text)
    chunks = CHUNKER.chunks(text)
    content = [number for number in range(len(chunks.spans)) if number not in chunks.frames]
    assert len(content) > 1
    assert chunks.kept_whole is None
    generator = np.random.default_rng(0)
    choices = [[number] for number in content]
    choices += [sorted(generator.choice(content, len(content) // 2, replace=False)) for _ in range(20)]
    for chosen in choices:
        left = cut(text, chunks, chosen)
        parse(left)
        for number in chosen:
            assert text[slice(*chunks.spans[number])] in left
    assert cut(text, chunks, content) == text or cut(text, chunks, content).strip() == text.strip()
    assert cut(text, chunks, []) == ""


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=25,
)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    values=st.lists(JSON_VALUES, min_size=2, max_size=6),
    indent=st.sampled_from([None, 1]),
    dump=st.sampled_from([json.dumps, repr]),
    data=st.data(),
)
def test_any_json_and_repr_parses_after_pruning(
    values: Any, indent: int | None, dump: Any, data: Any
) -> None:
    values = {"first": values, "padding": "some more text"}
    text = json.dumps(values, indent=indent) if dump is json.dumps else repr(values)
    parse = json.loads if dump is json.dumps else ast.literal_eval
    chunks = CHUNKER.chunks(text)
    content = [number for number in range(len(chunks.spans)) if number not in chunks.frames]
    chosen = data.draw(st.lists(st.sampled_from(content), min_size=1, unique=True))
    assert set(parse(cut(text, chunks, chosen))) <= {"first", "padding"}


def test_the_records_of_a_list_are_whole() -> None:
    text = json.dumps(NESTED, ensure_ascii=False)
    pieces = [piece for piece, _ in CHUNKER.chunk(text)]
    assert pieces[:6] == [
        "{",
        '"status": "ok"',
        '"data": {',
        '"cities": [',
        json.dumps(ROWS[0]),
        json.dumps(ROWS[1]),
    ]


def test_prose_around_json_is_cut_into_sentences() -> None:
    text = f"Two calls were made. This came back:\n```json\n{json.dumps(ROWS)}\n```\nAll is well."
    chunks = CHUNKER.chunks(text)
    pieces = [text[start:end] for start, end in chunks.spans]
    assert pieces[0] == "Two calls were made."
    assert pieces[-1] == "All is well."
    left = cut(text, chunks, [pieces.index(json.dumps(ROWS[1]))])
    assert left == f"```json\n[{json.dumps(ROWS[1])}]\n```"


@pytest.mark.parametrize(
    "prose",
    [
        "[1] Smith wrote this. [2] Jones did not. Both were right in the end.",
        "Oslo, Norway, was cold.\nBergen, too, was wet.\nWe left, then, for home.",
        "Class action: the case was closed.\nImport taxes rose; export fell.",
        "He said {this} and <that> and left. 3 < 4 and 5 > 2.",
        "Ana: Have you seen it?\nLuis: It is here.\nAna: Good.",
        '"Never," she said. "Not once."',
        "'Never,' she said. 'Not once.'",
        '"It rained here.\nShe left then."',
        "'Never.' 'Not once.'",
        "1. Ana: it is here\n   - Luis: it is not\n   - Ana: it is\n2. Luis: well",
    ],
)
def test_prose_is_not_taken_for_data(prose: str) -> None:
    chunks = CHUNKER.chunks(prose)
    assert not chunks.frames
    assert not chunks.records
    assert not any(link.kind == "frame" for link in chunks.links)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"name": "Orlen", "mayor": "Voss"}, {"name": "Bri', "JSON that does not parse"),
        ("<list><item><name>Orlen</item></list>", "XML that is not well-formed"),
        (
            f"[{', '.join([repr(ROWS[0])] * 30_000)}]",
            "neither JSON nor short enough to be read as Python (at most 1,000,000 characters)",
        ),
        (
            f"[{'Document(page_content=1), ' * 50_000}]",
            "neither JSON nor short enough to be read as Python (at most 1,000,000 characters)",
        ),
    ],
    ids=["JSON", "XML", "long literal", "long repr"],
)
def test_broken_data_is_one_piece_with_the_reason(text: str, reason: str) -> None:
    chunks = CHUNKER.chunks(f" {text}\n")
    assert chunks.spans == [(1, 1 + len(text))]
    assert chunks.kept_whole == reason


@pytest.mark.parametrize(
    "text",
    [
        "<div><button>Buy</button><h2>Lamps</h2><p>They glow. They last.</p></div>",
        "<ul><li><my-price>Two</my-price></li><li>Three</li></ul>",
        "<section><h2>Fees</h2><video><track/></video></section>",
        "<context><p>It rained. She left.</p><p>It is late.</p></context>",
    ],
)
def test_well_formed_html_is_not_read_as_xml(text: str) -> None:
    assert CHUNKER.chunks(text).reading is not None


def announced(text: str) -> list[tuple[str, str]]:
    chunks = CHUNKER.chunks(text)
    pieces = [text[start:end] for start, end in chunks.spans]
    return [(pieces[a], pieces[b]) for a, b, kind in chunks.links if kind == "announces"]


def test_a_key_of_yaml_takes_what_is_in_it_unless_it_is_long_or_several_sections() -> None:
    short = "jobs:\n  backup:\n    run: |\n      pg_dump shop\n    at: 3\n  report:\n    run: mail\n"
    run = "run: |\n      pg_dump shop"
    assert announced(short) == [("report:", "run: mail"), ("backup:", run), ("backup:", "at: 3")]
    assert announced(f"jobs:\n  backup:\n    run: |\n      {LONG}\n  report:\n    run: mail\n") == [
        ("report:", "run: mail")
    ]


def test_the_head_of_a_class_takes_short_methods() -> None:
    head = 'class Stack:\n    """Of items."""'
    assert [inner[:9] for outer, inner in announced(PYTHON) if outer == head] == [
        "size = 3",
        "def push(",
        "async def",
    ]
    assert not announced(PYTHON.replace("size = 3", f"size = {'3' * 300}"))


@pytest.mark.parametrize(
    ("text", "competing"),
    [
        (
            PYTHON,
            [
                '"""Tools."""',
                "import math",
                "from pathlib",
                "LIMIT",
                "# Of a circle.",
                "size",
                "def",
                "async",
                "if",
            ],
        ),
        (JAVASCRIPT, ["import { db } from './db';", "// Finds a user.", "class Store", "const greet"]),
        (
            JAVASCRIPT.replace("all of them", "all of them, " * 10),
            [
                "import { db } from './db';",
                "// Finds a user.",
                "constructor()",
                "add(item)",
                "clear()",
                "const greet",
            ],
        ),
    ],
)
def test_statements_and_methods_compete(text: str, competing: list[str]) -> None:
    chunks = CHUNKER.chunks(text)
    records = [text[slice(*chunks.spans[number])] for number in sorted(chunks.records)]
    assert len(records) == len(competing)
    assert all(map(str.startswith, records, competing))


def test_an_import_with_braces_is_one_piece() -> None:
    text = "// Ours.\nimport {\n  a,\n} from 'a'\nimport { b } from 'b';\n"
    text += "export { c } from 'c';\nfunction f() {\n  b();\n}\n"
    pieces = [text[start:end] for start, end in CHUNKER.chunks(text).spans]
    assert pieces == [
        "// Ours.\nimport {\n  a,\n} from 'a'",
        "import { b } from 'b';",
        "export { c } from 'c';",
        "function f() {\n  b();\n}",
    ]


def test_html_is_read_without_its_tags() -> None:
    text = "<p>Salt &amp; <b>oil</b></p><script>x = '<p>'</script>"
    reading = CHUNKER.chunks(text).reading
    assert reading is not None
    assert len(reading) == len(text)
    assert reading.split() == ["Salt", "&", "oil"]


HOSTILE = {
    "JSON": "["
    + ", ".join('{"name": "Orlen", "population": 48210, "note": "a [b] {c}"}' for _ in range(1000))
    + "]",
    "brackets": "[" * 100_000,
    "nested lists": "[" * 10_000 + "]" * 10_000,
    "nested objects": '{"a": ' * 10_000 + "1" + "}" * 10_000,
    "nested repr": "[('a', " * 10_000 + ")]" * 10_000,
    "nested tags": "<div>" * 20_000 + "x" + "</div>" * 20_000,
    "open tags": "<p>a" * 40_000,
    "half tags": "<a " * 60_000 + "<p>x</p>",
    "comments": "<p>x</p>" + "<!--" * 60_000,
    "scripts": "<script>" * 30_000,
    "end tags": "<p>x</p>" + "</li>" * 40_000,
    "quotation marks": "<p title='" * 20_000,
    "nested XML": '<?xml version="1.0"?>' + "<a>" * 20_000 + "</a>" * 20_000,
    "entities": '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "cc">]><a>&b;&b;</a><a></a>',
    "a long number": "[" + "9" * 200_000 + ", {}]",
    "backslashes": '["' + "\\" * 200_000,
    "nested YAML": "".join(f"{' ' * (i % 300)}key{i}:\n" for i in range(3000)),
    "commas": "a,b\n" + "," * 200_000,
    "an open quotation": 'a,b\n1,2\n"' + "x\n" * 100_000,
    "braces": "function f() {\n" + "{\n" * 50_000,
    "operators": "import a\nx = " + "-" * 100_000 + "1\n",
    "sums": "import a\nx = " + "1+" * 50_000 + "1\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_linear_time_and_raises_nothing(name: str) -> None:
    text = HOSTILE[name]
    start = time.process_time()
    chunks = CHUNKER.chunks(text)
    assert time.process_time() - start < 5
    position = 0
    for begin, end in chunks.spans:
        assert position <= begin < end
        assert not text[position:begin].strip(" \n,")
        position = end
