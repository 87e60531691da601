"""A corpus in flat arrays: what is in them, and how they are kept."""

from __future__ import annotations

import shutil
import threading
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provence_rag.chunking import Span
from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer, sentence_bounds
from provence_rag.inference.pair_encoder import PairEncoder
from provence_training.data.passages import Passage, Question
from provence_training.pairs.negatives import Asked, find_negatives
from provence_training.pairs.pack import Pack, cached_pack
from provence_training.pairs.packing import pack_key, pack_passages

TEXTS = ["the cat sat. rain is cold.", "the dog sat on the mat.", "tea is hot. who? what? where?"]


def make_passage(number: int, text: str, **changes: Any) -> Passage:
    ends = [i + 1 for i, character in enumerate(text) if character in ".?。"]
    starts = [0, *(end + text[end : end + 1].isspace() for end in ends[:-1])]
    passage = Passage(
        id=str(number),
        source="ab"[number % 2],
        language="en",
        title="the cat" if number == 1 else " ",
        text=text,
        sentences=tuple(map(Span, starts, ends)),
        questions=(Question(id=str(number), text=f"What {'is ' * number}hot?", answers=(Span(0, 5),)),),
    )
    return replace(passage, **changes)


PASSAGES = [make_passage(number, text) for number, text in enumerate(TEXTS)]


@pytest.fixture
def pair_encoder(tokenizer: PairTokenizer) -> PairEncoder:
    return PairEncoder(tokenizer, ProvenceConfig(max_length=64))


def texts_of(pack: Pack, borders: np.ndarray) -> list[list[int]]:
    return [pack.tokens[start:end].tolist() for start, end in pairwise(borders)]


def test_every_text_has_its_tokens(pair_encoder: PairEncoder, tokenizer: PairTokenizer) -> None:
    alone = make_passage(3, "", sentences=(), questions=(Question(id="q", text="who", answers=None),))
    pack = pack_passages([PASSAGES[0], alone, *PASSAGES[1:]], pair_encoder)

    def ids(*texts: str) -> list[list[int]]:
        return [tokens.ids.tolist() for tokens in tokenizer.tokenize(texts)]

    layout = tokenizer.layout
    special = [[*part] for part in (layout.before, layout.between, layout.after)]
    assert texts_of(pack, pack.special) == special
    questions = [q.text for p in (PASSAGES[0], alone, *PASSAGES[1:]) for q in p.questions]
    assert texts_of(pack, pack.questions) == ids(*questions)
    assert texts_of(pack, pack.keywords) == ids(*(q.lower().rstrip("?") for q in questions))
    assert texts_of(pack, pack.titles)[:3] == [[], *ids("the cat\n"), []]
    assert texts_of(pack, pack.sentences[pack.passages])[:3] == ids(*TEXTS)
    assert pack.own.tolist() == [0, -1, 1, 2]
    assert pack.tokens.dtype == np.uint8  # the tokenizer has fewer than 256 pieces
    for number, (passage, tokens) in enumerate(zip(PASSAGES, tokenizer.tokenize(TEXTS), strict=True)):
        first, end = pack.passages[number : number + 2]
        bounds = pack.sentences[first : end + 1] - pack.sentences[first]
        assert bounds.tolist() == sentence_bounds(tokens, passage.sentences).tolist()
        assert end - first == len(passage.sentences)


def test_noise_cannot_be_read(pair_encoder: PairEncoder, unigram: Any) -> None:
    pack = pack_passages(PASSAGES, pair_encoder)
    junk = pack.tokens[pack.sentences[pack.passages[pack.num_texts]] : pack.sentences[-1]]
    assert 0.2 < (junk == unigram.token_to_id("<unk>")).mean() < 0.8
    assert len(pack.passages) - 1 > pack.num_texts == 3
    assert (pack.neighbours < 3).all()


def test_it_is_the_same_from_its_files(pair_encoder: PairEncoder, tmp_path: Path) -> None:
    many = [make_passage(number, TEXTS[number % 3] * 300) for number in range(9)]
    pack = cached_pack(tmp_path, "key", lambda: pack_passages(many, pair_encoder))
    again = cached_pack(tmp_path, "key", lambda: pytest.fail("it is there"))
    expected = pack_passages(many, pair_encoder)
    for field in fields(Pack):
        for found in (pack, again):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name))
    assert not again.sentences.flags.owndata  # mapped


def test_a_pack_that_was_being_written_is_written_anew(pair_encoder: PairEncoder, tmp_path: Path) -> None:
    def fail() -> Pack:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_pack(tmp_path, "key", fail)
    assert not (tmp_path / "key").exists()
    assert len(cached_pack(tmp_path, "key", lambda: pack_passages(PASSAGES, pair_encoder)).own) == 3


def test_who_comes_second_waits(pair_encoder: PairEncoder, tmp_path: Path) -> None:
    built = []
    begun, go_on = threading.Event(), threading.Event()

    def build() -> Pack:
        begun.set()
        go_on.wait(10)
        built.append(1)
        return pack_passages(PASSAGES, pair_encoder)

    threads = [threading.Thread(target=cached_pack, args=(tmp_path, "key", build)) for _ in range(2)]
    for thread in threads:
        thread.start()
    begun.wait(10)
    go_on.set()
    for thread in threads:
        thread.join()
    assert built == [1]


def test_what_a_pack_depends_on(joint: Path, tmp_path: Path) -> None:
    def key(passages: list[Passage] = PASSAGES, start: Path = joint, **changes: Any) -> str:
        settings: dict[str, Any] = {"needs_passage": frozenset(), "seed": 0, **changes}
        return pack_key(passages, start, **settings)

    other = tmp_path / "other"
    shutil.copytree(joint, other)
    assert key(start=other) == key()
    (other / "tokenizer.json").write_text((joint / "tokenizer.json").read_text().replace("▁mat", "▁map"))
    question = replace(PASSAGES[0].questions[0], answers=())
    keys = [
        key(),
        key(start=other),
        key(PASSAGES[1:]),
        key([replace(PASSAGES[0], questions=(question,)), *PASSAGES[1:]]),
        key([replace(PASSAGES[0], sentences=PASSAGES[0].sentences[:1]), *PASSAGES[1:]]),
        key(needs_passage=frozenset({"a"})),
        key(seed=1),
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("query", "best"), [("the cat", 0), ("a mat on the mat", 1), ("hot tea", 2), ("猫が", 3), ("犬", 4)]
)
def test_bm25_puts_the_best_passage_first(tokenizer: PairTokenizer, query: str, best: int) -> None:
    texts = [*TEXTS, "猫がいる。", "犬がいる。犬がいる。"]
    passages = [make_passage(number, text, questions=()) for number, text in enumerate(texts)]
    holder = make_passage(9, "", sentences=())
    question = Question(id="q", text=query, answers=None)
    found = find_negatives(
        passages,
        [Asked(question, holder, -1)],
        [tokens.ids for tokens in tokenizer.tokenize(texts)],
        [tokens.ids for tokens in tokenizer.tokenize([query])],
        needs_passage=frozenset(),
        seed=0,
    )
    assert found.neighbours[0, 0] == best
    assert set(found.others[0]) == {-1, *range(5)}


@pytest.mark.parametrize("query", ["", "qqq"])
def test_a_question_without_known_terms_has_no_neighbours(tokenizer: PairTokenizer, query: str) -> None:
    passages = [make_passage(number, text, questions=()) for number, text in enumerate(TEXTS)]
    asked = Asked(Question(id="q", text=query, answers=None), make_passage(9, "", sentences=()), -1)
    ids = [tokens.ids for tokens in tokenizer.tokenize([*TEXTS, query])]
    found = find_negatives(passages, [asked], ids[:3], ids[3:], needs_passage=frozenset(), seed=0)
    assert set(found.neighbours[0]) == {-1}
