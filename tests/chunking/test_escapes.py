"""JSON with escaped characters is cut and read as the same JSON without them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag import Provence
from provence_rag.chunking import Chunks, MultilingualChunker, detect_language

CHUNKER = MultilingualChunker()
ROWS = [
    {"city": "東京都", "mayor": "佐藤花子", "note": "首都です。"},
    {"city": "大阪市", "mayor": "鈴木一郎", "note": "川が多い😀。"},
    {"city": "Köln", "mayor": "Voss", "note": "C:\\\\u6771\n"},
]


def pieces_read(text: str, chunks: Chunks) -> list[str]:
    read = text if chunks.reading is None else chunks.reading
    assert len(read) == len(text)
    return [read[start:end].strip() for start, end in chunks.spans]


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        '{{"status": "ok", "rows": {}}}',
        "Here are the rows:\n{}\nThat is all.",
        "```json\n{}\n```",
    ],
)
def test_escaped_json_is_cut_and_read_like_plain_json(form: str) -> None:
    escaped, plain = (form.format(json.dumps(ROWS, ensure_ascii=flag)) for flag in (True, False))
    chunks = CHUNKER.chunks(escaped)
    assert pieces_read(escaped, chunks) == pieces_read(plain, CHUNKER.chunks(plain))
    assert chunks.links == CHUNKER.chunks(plain).links
    assert detect_language(escaped) == detect_language(plain)


def test_escaped_json_lines() -> None:
    escaped, plain = ("\n".join(json.dumps(row, ensure_ascii=flag) for row in ROWS) for flag in (True, False))
    assert pieces_read(escaped, CHUNKER.chunks(escaped)) == plain.splitlines()


def test_sentences_of_an_escaped_text() -> None:
    text = "猫は魚を食べる。犬は肉を食べる。鳥は種を食べる。" * 20
    escaped, plain = (json.dumps({"text": text}, ensure_ascii=flag) for flag in (True, False))
    chunks = CHUNKER.chunks(escaped)
    assert pieces_read(escaped, chunks) == pieces_read(plain, CHUNKER.chunks(plain))
    assert len(chunks.spans) == 64
    assert all(json.loads(f'"{escaped[start:end]}"') for start, end in chunks.spans[2:-2])


@settings(deadline=None, derandomize=True, max_examples=80)
@given(st.lists(st.text(min_size=8, max_size=8), min_size=6, max_size=9))
def test_any_characters(values: list[str]) -> None:
    rows = [{"value": value, "number": 1} for value in values]
    escaped, plain = (json.dumps(rows, ensure_ascii=flag) for flag in (True, False))
    chunks = CHUNKER.chunks(escaped)
    assert pieces_read(escaped, chunks) == pieces_read(plain, CHUNKER.chunks(plain))
    assert [json.loads(escaped[start:end]) for start, end in chunks.spans[1:-1]] == rows


def test_escapes_that_stand_for_nothing_stay() -> None:
    text = 'Not JSON: \\uXYZW. [{"value": "\\u6771\\u4eac"}, {"value": "a"}, {"value": "\\\\u6771"}]'
    assert pieces_read(text, CHUNKER.chunks(text)) == [
        "Not JSON: \\uXYZW.",
        "[",
        '{"value": "東京"}',
        '{"value": "a"}',
        '{"value": "\\\\u6771"}',
        "]",
    ]


def test_the_model_scores_what_is_escaped() -> None:
    model = Provence.from_pretrained()
    query = "大阪市の市長は誰ですか。"
    escaped, plain = (
        "\n".join(json.dumps(row, ensure_ascii=flag) for row in ROWS[:2]) for flag in (True, False)
    )
    found, expected = (model.process(query, [text])[0] for text in (escaped, plain))
    scores = [[sentence.score for sentence in one.sentences] for one in (found, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
    assert found.text == escaped.splitlines()[1]
    assert json.loads(model.process(query, [json.dumps(ROWS[:2])])[0].text) == ROWS[1:2]
