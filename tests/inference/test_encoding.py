from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, processors

from provence_rag import CheckpointError
from provence_rag.chunking import MultilingualChunker, Span
from provence_rag.hub import BUNDLED
from provence_rag.inference.encoding import (
    PairLayout,
    PairTokenizer,
    TokenizedText,
    Unit,
    Window,
    pack_windows,
    sentence_bounds,
    split_units,
    tokenize_sentences,
)

TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(), max_size=40),  # lone surrogates as well
    st.lists(
        st.sampled_from(
            [
                "The fox. ",
                "日本の首都です。",
                "\n",
                " ",
                "sleep",
                "👍🏽",
                "\ud800",
                "\x00",
                "ｶﾞ",
                "㍿",
                "「東京。",
            ]
        )
    ).map("".join),
)
_settings = settings(deadline=None, derandomize=True)


def tokens(*offsets: tuple[int, int]) -> TokenizedText:
    return TokenizedText(np.arange(len(offsets)), np.array(offsets, dtype=np.int64).reshape(-1, 2))


def test_layouts_are_those_of_the_templates(raw_tokenizer: Tokenizer) -> None:
    layout = PairTokenizer(raw_tokenizer).layout
    pair = raw_tokenizer.encode("a", "b")
    ids = pair.ids
    before, between, after = layout.before, layout.between, layout.after
    query = raw_tokenizer.encode("a", add_special_tokens=False).ids
    passage = raw_tokenizer.encode("b", add_special_tokens=False).ids
    assert ids == [*before, *query, *between, *passage, *after]
    assert layout.num_special_tokens == len(ids) - len(query) - len(passage)
    start = len(before) + len(query) + len(between)
    assert pair.type_ids == [0] * start + [layout.passage_type] * (len(ids) - start)


def test_layout_of_three_families(tokenizer: PairTokenizer) -> None:
    assert tokenizer.layout in (
        PairLayout(before=(0,), between=(2, 2), after=(2,), passage_type=0),
        PairLayout(before=(2,), between=(3,), after=(3,), passage_type=1),
        PairLayout(before=(1,), between=(2,), after=(), passage_type=0),
    )


@pytest.mark.parametrize("passage_type", [0, 1])
def test_a_template_of_the_checkpoint(raw_tokenizer: Tokenizer, passage_type: int, tmp_path: Path) -> None:
    vocabulary = raw_tokenizer.get_vocab()
    first, last = sorted(vocabulary, key=lambda token: vocabulary[token])[:2]
    suffix = f":{passage_type}" if passage_type else ""
    tokenizer = PairTokenizer(raw_tokenizer, (first, "$A", last, first, f"$B{suffix}", f"{last}{suffix}"))
    expected = PairLayout(before=(0,), between=(1, 0), after=(1,), passage_type=passage_type)
    assert tokenizer.layout == expected
    tokenizer.save(tmp_path)  # a stock tokenizer then joins a pair in the same way
    assert PairTokenizer.from_directory(tmp_path).layout == expected
    single = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("a").ids
    assert (single[0], single[-1], single.count(1)) == (0, 1, 1)


def test_a_template_with_tokens_that_are_not_there(raw_tokenizer: Tokenizer) -> None:
    message = "tokenizer.json has no [NO] and no [NEVER], which the checkpoint puts around query and passage"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}"):
        PairTokenizer(raw_tokenizer, ("[NO]", "$A", "[NEVER]", "$B", "[NO]"))


@_settings
@given(texts=st.lists(TEXTS, max_size=3), spaced=st.booleans())
def test_sentences_are_tokenized_one_by_one(tokenizer: PairTokenizer, texts: list[str], spaced: bool) -> None:
    spans = [MultilingualChunker(language="en").spans(text) for text in texts]
    found = tokenize_sentences(tokenizer, texts, spans, spaced=spaced)
    for text, own, tokens in zip(texts, spans, found, strict=True):
        starts = [0, *(span.start for span in own[1:])]
        pieces = [text[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)][: len(own)]
        if spaced:
            pieces = [" " * (i > 0) + text[span.start : span.end] for i, span in enumerate(own)]
        expected = [part.ids.tolist() for part in tokenizer.tokenize(pieces)]
        assert tokens.ids.tolist() == [i for ids in expected for i in ids]
        assert ((tokens.offsets >= 0) & (tokens.offsets <= len(text))).all()
        # Each sentence has the tokens of its own piece and no other.
        assert np.diff(sentence_bounds(tokens, own)).tolist() == list(map(len, expected))


def test_stored_truncation_and_padding_are_switched_off(raw_tokenizer: Tokenizer) -> None:
    raw_tokenizer.enable_truncation(3)
    raw_tokenizer.enable_padding(length=64)
    tokenized = PairTokenizer(raw_tokenizer).tokenize(["The fox sleeps. " * 4, "a"])
    assert len(tokenized[0]) > 16
    assert len(tokenized[1]) < 4


@_settings
@given(texts=st.lists(TEXTS, max_size=4))
def test_ids_are_the_tokenizers_own(tokenizer: PairTokenizer, texts: list[str]) -> None:
    encodable = [re.sub("[\ud800-\udfff]", "\ufffd", text) for text in texts]
    found = tokenizer.tokenize(texts)
    for text, tokenized in zip(encodable, found, strict=True):
        expected = tokenizer._tokenizer.encode(text, add_special_tokens=False)
        assert tokenized.ids.tolist() == expected.ids
        assert list(map(tuple, tokenized.offsets.tolist())) == expected.offsets
        assert len(tokenized) == len(expected)
        assert tokenized.offsets.shape == (len(tokenized), 2)
        assert ((tokenized.offsets >= 0) & (tokenized.offsets <= len(text))).all()


@pytest.fixture
def breaking(raw_tokenizer: Tokenizer) -> PairTokenizer:
    """A tokenizer with tokens for line breaks."""
    raw_tokenizer.add_tokens([AddedToken(lines, normalized=False) for lines in ("\n\n", "\n")])
    return PairTokenizer(raw_tokenizer)


@pytest.mark.parametrize("given", ["\r\n", "\r", "\u2028", "\u2029", "\x85", "\v", "\f", " \n"])
def test_line_breaks_of_all_kinds_are_the_same_tokens(breaking: PairTokenizer, given: str) -> None:
    plain = "the fox\ncat\n\nsleep\n"
    text = plain.replace("\n", given)
    expected, found = breaking.tokenize([plain, text])
    assert found.ids.tolist() == expected.ids.tolist()
    words = [
        [t[a:b].strip() for a, b in o.tolist()]
        for t, o in zip((plain, text), (expected.offsets, found.offsets), strict=True)
    ]
    assert words[0] == words[1]
    lines = [number for number, piece in enumerate(breaking.pieces()) if piece in ("\n", "\n\n")]
    spans = found.offsets[np.isin(found.ids, lines)].tolist()
    assert [text[a:b] for a, b in spans] == [given, given * 2, given]


def test_blank_lines_are_one_token_however_many(breaking: PairTokenizer) -> None:
    few, many = breaking.tokenize(["the fox\n\ncat", "\n\nthe fox \n \n" + "\r\n" * 99 + "cat"])
    assert many.ids.tolist() == few.ids.tolist()
    assert len(breaking.tokenize(["\n" * 99])[0]) == 0


def test_other_tokenizers_read_line_breaks_as_they_do(tokenizer: PairTokenizer) -> None:
    text = "the fox \r\n\r\n\r\ncat"
    (found,) = tokenizer.tokenize([text])
    assert found.ids.tolist() == tokenizer._tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("form", ["{}", "the {} fox", "{}\n{}", "＜{}＞"])
def test_the_name_of_a_special_token_is_text(raw_tokenizer: Tokenizer, form: str) -> None:
    names = [
        name
        for name in ("<s>", "<pad>", "</s>", "[CLS]", "[PAD]", "[SEP]")
        if raw_tokenizer.token_to_id(name) is not None
    ]
    raw_tokenizer.add_special_tokens(names)
    special = {raw_tokenizer.token_to_id(name) for name in names}
    pairs = PairTokenizer(raw_tokenizer)
    for name in names:
        text = form.format(name[1:-1] if "＜" in form else name, name)
        (found,) = pairs.tokenize([text])
        assert not special & set(found.ids.tolist())
        assert found.offsets[-1, 1] == len(text)


def test_the_token_for_what_is_unknown_stays() -> None:
    """And its name, which a Unigram vocabulary has as a piece of text, is text."""
    pieces = [("<unk>", 0.0), *((piece, -5.0) for piece in "▁<unk>a")]
    raw = Tokenizer(models.Unigram(pieces, unk_id=0))
    raw.add_special_tokens(["<unk>"])
    raw.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    found = PairTokenizer(raw).tokenize(["a☃a<unk>"])[0]
    assert [PairTokenizer(raw).pieces()[i] for i in found.ids] == ["a", "<unk>", "a", *"<unk>"]


@pytest.mark.parametrize(
    "text", ["\ufdfa" * 2000, "\ufdfb\ufdfa fox", "\u0041\u0301\u0302" * 200, "㌖" * 200, "👍🏽" * 200]
)
def test_time_is_bounded_by_the_length_of_a_text(text: str) -> None:
    tokens = PairTokenizer.from_directory(BUNDLED).tokenize([text])[0]
    starts, counts = np.unique(tokens.offsets[:, 0], return_counts=True)
    assert counts.max() <= 6  # one may be shared with the next character
    assert tokens.offsets[:, 1].max() == len(text)
    assert (np.diff(tokens.offsets[:, 0]) >= 0).all()
    assert len(tokens) <= 5 * len(text) + 1
    assert starts[0] == 0


def test_what_is_unknown(raw_tokenizer: Tokenizer) -> None:
    pairs = PairTokenizer(raw_tokenizer)
    if raw_tokenizer.get_vocab_size() > 250:  # bytes spell everything
        assert pairs.unknown_id is None
    else:
        assert raw_tokenizer.id_to_token(pairs.unknown_id) in ("<unk>", "[UNK]")
        assert pairs.unknown_id in pairs.tokenize(["\u1200"])[0].ids


def test_save_and_load(tokenizer: PairTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = PairTokenizer.from_directory(tmp_path)
    assert loaded.layout == tokenizer.layout
    text = "The fox sleeps. 東京は日本の首都です。"
    assert loaded.tokenize([text])[0].ids.tolist() == tokenizer.tokenize([text])[0].ids.tolist()


def test_a_missing_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"^{re.escape(f'{tmp_path} has no tokenizer.json')}$"):
        PairTokenizer.from_directory(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "half"])
def test_a_broken_tokenizer(raw_tokenizer: Tokenizer, content: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if content == "half":
        content = raw_tokenizer.to_str()
        content = content[: len(content) // 2]
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=re.escape(f"{path} is not a tokenizer: ")):
        PairTokenizer.from_directory(tmp_path)


def test_a_tokenizer_that_knows_no_pairs() -> None:
    # Its vocabulary lacks the letters that the template is probed with, and has no token for unknown text.
    raw = Tokenizer(models.BPE({"z": 0}, []))
    with pytest.raises(CheckpointError, match="does not encode pairs: a query or a passage gets no tokens"):
        PairTokenizer(raw)


def test_a_word_with_its_space_belongs_to_its_sentence() -> None:
    # "One. Two." as ["One", ".", " Two", "."]
    bounds = sentence_bounds(tokens((0, 3), (3, 4), (4, 8), (8, 9)), [Span(0, 4), Span(5, 9)])
    assert bounds.tolist() == [0, 2, 4]


def test_white_space_tokens_belong_to_the_sentence_in_front() -> None:
    # " A. \n B. " as [" ", "A.", " ", "\n", " ", "B.", " "]
    every = tokens((0, 1), (1, 3), (3, 4), (4, 5), (5, 6), (6, 8), (8, 9))
    assert sentence_bounds(every, [Span(1, 3), Span(6, 8)]).tolist() == [0, 5, 7]


def test_line_breaks_belong_to_the_sentence_in_front() -> None:
    """In front of the first there is none, and a sentence of the caller's may begin or end with one."""
    # "\nA\n\nB\n" as ["\n", "A", "\n\n", "B", "\n"]
    every = tokens((0, 1), (1, 2), (2, 4), (4, 5), (5, 6))
    assert sentence_bounds(every, [Span(1, 2), Span(4, 5)]).tolist() == [0, 3, 5]
    assert sentence_bounds(every, [Span(0, 4), Span(4, 6)]).tolist() == [0, 3, 5]
    assert sentence_bounds(every, [Span(0, 2), Span(2, 6)]).tolist() == [0, 2, 5]


def test_line_breaks_around_an_overlong_sentence_are_no_part_of_their_own() -> None:
    # "\naaaaaaaa\n\nb" with a token for each letter
    text = "\naaaaaaaa\n\nb"
    every = tokens((0, 1), *((i, i + 1) for i in range(1, 9)), (9, 11), (11, 12))
    spans = [Span(1, 9), Span(11, 12)]
    for capacity in range(3, 10):
        units = split_units(text, every, spans, sentence_bounds(every, spans), capacity)
        assert all(unit.end - unit.start <= capacity for unit in units)
        parts = [text[every.offsets[unit.start, 0] : every.offsets[unit.end - 1, 1]] for unit in units]
        assert all(part.strip() for part in parts)


def test_tokens_of_one_character_stay_together() -> None:
    bounds = sentence_bounds(tokens((0, 1), (0, 1), (1, 2), (1, 2), (1, 2)), [Span(0, 1), Span(1, 2)])
    assert bounds.tolist() == [0, 2, 5]


def test_bounds_without_sentences_or_tokens() -> None:
    assert sentence_bounds(tokens((0, 1)), []).tolist() == [1]
    assert sentence_bounds(tokens(), []).tolist() == [0]
    assert sentence_bounds(tokens(), [Span(0, 1), Span(2, 3)]).tolist() == [0, 0, 0]


@_settings
@given(offsets=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=20), data=st.data())
def test_any_offsets_give_ascending_bounds(offsets: list[tuple[int, int]], data: st.DataObject) -> None:
    """A normaliser that reorders characters leaves offsets that are not sorted."""
    borders = sorted(data.draw(st.sets(st.integers(0, 30), min_size=2, max_size=6)))
    spans = [Span(start, end) for start, end in pairwise(borders)]
    bounds = sentence_bounds(tokens(*offsets), spans)
    assert len(bounds) == len(spans) + 1
    assert bounds[0] == 0
    assert bounds[-1] == len(offsets)
    assert (np.diff(bounds) >= 0).all()


@pytest.mark.parametrize(
    ("units", "windows"),
    [
        ([], []),
        ([(0, 0, 0)], []),
        ([(0, 0, 3), (1, 3, 5)], [(0, 5)]),
        ([(0, 0, 3), (1, 3, 6)], [(0, 3), (3, 6)]),
        ([(0, 0, 3), (1, 3, 3), (2, 3, 6), (3, 6, 8)], [(0, 3), (3, 8)]),
        ([(0, 0, 5), (0, 5, 10), (1, 10, 11)], [(0, 5), (5, 10), (10, 11)]),
    ],
)
def test_windows_are_filled_in_order(
    units: list[tuple[int, int, int]], windows: list[tuple[int, int]]
) -> None:
    expected = [Window(7, start, end) for start, end in windows]
    assert pack_windows(7, [Unit(*unit) for unit in units], 5) == expected


@_settings
@given(text=TEXTS, capacity=st.integers(1, 12))
def test_units_and_windows_tile_the_tokens(tokenizer: PairTokenizer, text: str, capacity: int) -> None:
    spans = MultilingualChunker().spans(text)
    (tokenized,) = tokenizer.tokenize([text if spans else ""])
    bounds = sentence_bounds(tokenized, spans)
    units = split_units(text, tokenized, spans, bounds, capacity)
    windows = pack_windows(0, units, capacity)
    for pieces in (units, windows):
        assert [i for piece in pieces for i in range(piece.start, piece.end)] == list(range(len(tokenized)))
        assert all(piece.end - piece.start <= capacity for piece in pieces)
    assert [unit.sentence for unit in units] == sorted(unit.sentence for unit in units)
    for number, (start, end) in enumerate(pairwise(bounds.tolist())):
        own = [unit for unit in units if unit.sentence == number]
        assert (own[0].start, own[-1].end) == (start, end)
        assert len(own) == 1 or end - start > capacity
    starts = {window.start for window in windows}
    assert starts <= {unit.start for unit in units} | {0}


def test_an_overlong_sentence_is_cut_after_its_clauses(tokenizer: PairTokenizer) -> None:
    text = "the fox sleep, the cat sleep, the word sleep, the fox sleep"
    (tokenized,) = tokenizer.tokenize([text])
    clause = tokenizer.tokenize(["the fox sleep,"])[0]
    units = split_units(text, tokenized, [Span(0, len(text))], np.array([0, len(tokenized)]), len(clause) + 2)
    cuts = {int(tokenized.offsets[unit.start, 0]) for unit in units}
    commas = {match.end() for match in re.finditer(",", text)}
    assert {cut + (text[cut] == " ") for cut in cuts} == {0, *(comma + 1 for comma in commas)}


def test_a_stored_tokenizer_is_read_verbatim(raw_tokenizer: Tokenizer, tmp_path: Path) -> None:
    PairTokenizer(raw_tokenizer).save(tmp_path)
    stored = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert stored["model"]["vocab"] == json.loads(raw_tokenizer.to_str())["model"]["vocab"]
