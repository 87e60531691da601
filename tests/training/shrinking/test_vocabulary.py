"""Smaller vocabularies for tokenizers of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from provence_rag import InvalidInputError
from provence_rag.hub import BUNDLED
from provence_training.shrinking.vocabulary import cut_tokenizer, select_pieces

TRAINED_ON = [
    "the cat sat on the mat, the cats sit on mats, and the bat sat with the rats",
    "a heater heats the water; the waters heat the heaters",
    "猫がいる。犬がいる。猫と犬がいる。",
    "smørrebrød på dansk",
] * 3
CORPUS = ["the cat sat on the mat", "猫がいる。犬がいる。", "the heater"]


def _unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        TRAINED_ON,
        trainers.UnigramTrainer(
            vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def _wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        TRAINED_ON, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        TRAINED_ON,
        trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=["<s>", "<pad>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def _byte_fallback() -> Tokenizer:
    """Characters, and bytes for characters that are no pieces, as Llama has it."""
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.train_from_iterator(
        TRAINED_ON,
        trainers.BpeTrainer(
            vocab_size=390, special_tokens=["<unk>", "<s>", "</s>", *byte_pieces], show_progress=False
        ),
    )
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [t for t in content["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(content))


def _suffixed() -> Tokenizer:
    """A mark at the end of each word, as CLIP has it."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    tokenizer.train_from_iterator(
        TRAINED_ON,
        trainers.BpeTrainer(
            vocab_size=120, special_tokens=["[UNK]"], end_of_word_suffix="</w>", show_progress=False
        ),
    )
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "unigram": _unigram,
    "wordpiece": _wordpiece,
    "byte_level": _byte_level,
    "byte_fallback": _byte_fallback,
    "suffixed": _suffixed,
}
MAKE = {name: make() for name, make in KINDS.items()}
WORDS = ["the", "cat", "sat", "on", "mat", "heater", "waters", "猫が", "犬", "いる。", "bats"]
UNKNOWN = {"<unk>", "[UNK]"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def smallest(tokenizer: Tokenizer) -> int:
    with pytest.raises(InvalidInputError) as raised:
        select_pieces(tokenizer, CORPUS, 1)
    message = str(raised.value)
    assert message.startswith("size=1 is smaller than the ")
    assert message.endswith(" special and added tokens and characters")
    return int(message.split()[5])


LINES = ["the cat\nsat", "the cat\n\nsat on\tthe mat\n", "\n\n\nthe\n \nmat"]


@pytest.mark.parametrize("normalized", [False, True])
def test_line_breaks_that_are_added_tokens_stay(kind: str, normalized: bool) -> None:
    tokenizer = Tokenizer.from_str(MAKE[kind].to_str())
    before = tokenizer.get_vocab_size()
    tokenizer.add_tokens([AddedToken(lines, normalized=normalized) for lines in ("\n", "\n\n")])
    added = tokenizer.get_vocab_size() - before
    size = LEAST[kind] + added + 6
    small = cut_tokenizer(tokenizer, select_pieces(tokenizer, [*CORPUS, *LINES], size))
    assert small.get_vocab_size() == size
    for i in range(added):  # none where the vocabulary has pieces for them already
        assert small.id_to_token(size - added + i) == tokenizer.id_to_token(before + i)
    for text in LINES:
        old, new = (
            [(t, o) for t, o in zip(e.tokens, e.offsets, strict=True) if "\n" in t]
            for e in (tokenizer.encode(text), small.encode(text))
        )
        assert new == old
        assert old or normalized  # BERT's normaliser makes spaces of them first
        assert not UNKNOWN & set(small.encode(text.replace("\t", " ")).tokens)


def test_text_of_the_corpus_stays_readable_at_any_size(kind: str) -> None:
    tokenizer = MAKE[kind]
    least = smallest(tokenizer)
    for size in (least, least + 5, least + 12):
        pieces = select_pieces(tokenizer, CORPUS, size)
        assert len(pieces) == size
        assert pieces == sorted(set(pieces))
        small = cut_tokenizer(tokenizer, pieces)
        assert small.get_vocab_size() == size
        for text in CORPUS:
            before, after = tokenizer.encode(text), small.encode(text)
            assert not UNKNOWN & set(after.tokens)
            assert small.decode(after.ids) == tokenizer.decode(before.ids)
            assert len(after.ids) >= len(before.ids)


def test_the_bundled_tokenizer() -> None:
    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    if tokenizer.token_to_id("\n") is None:
        tokenizer.add_tokens([AddedToken(lines, normalized=False) for lines in ("\n", "\n\n")])
    text = "Tea is hot.\nCoffee is cold.\n\n東京は日本の首都です。\n"
    pieces = select_pieces(tokenizer, [text] * 3, 2000)
    small = cut_tokenizer(tokenizer, pieces)
    before, after = tokenizer.encode(text, "\n"), small.encode(text, "\n")
    assert after.tokens == before.tokens
    assert after.offsets == before.offsets
    assert [pieces[i] for i in after.ids] == before.ids
    assert small.token_to_id("\n\n") == 1999
    assert before.tokens.count("\n") == 3


def test_characters_come_first_and_then_the_most_frequent_pieces(unigram: Tokenizer) -> None:
    """On a handmade vocabulary: see `PIECES` in conftest.py."""
    corpus = ["the cat sat on the mat", "猫がいる。猫がいる。", "the cat is hot", "abc"]
    names = [piece for piece, _ in json.loads(unigram.to_str())["model"]["vocab"]]
    needed = {"<s>", "<pad>", "</s>", "<unk>", "<mask>", "▁"} | (set("".join(corpus)) & set(names))
    for extra, more in ((0, set()), (3, {"▁the", "▁cat", "猫が"})):  # one thrice, and the first ones twice
        kept = select_pieces(unigram, corpus, len(needed) + extra)
        assert {names[i] for i in kept} == needed | more


def test_everything_kept_changes_nothing(kind: str) -> None:
    tokenizer = MAKE[kind]
    pieces = select_pieces(tokenizer, CORPUS, 10_000)
    assert pieces == list(range(tokenizer.get_vocab_size()))
    small = cut_tokenizer(tokenizer, pieces)
    for text in (*TRAINED_ON[:4], "zebra ☃"):
        assert small.encode(text, "cat").ids == tokenizer.encode(text, "cat").ids


@settings(deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    extra=st.integers(0, 40),
    text=st.lists(st.sampled_from(WORDS)).map(" ".join),
)
def test_text_of_kept_pieces_is_cut_as_before(kind: str, extra: int, text: str) -> None:
    tokenizer = MAKE[kind]
    pieces = select_pieces(tokenizer, CORPUS, min(LEAST[kind] + extra, tokenizer.get_vocab_size()))
    small = cut_tokenizer(tokenizer, pieces)
    before, after = tokenizer.encode(text), small.encode(text)
    if set(before.ids) <= set(pieces):
        assert after.tokens == before.tokens
        assert [pieces[i] for i in after.ids] == before.ids


LEAST = {name: smallest(tokenizer) for name, tokenizer in MAKE.items()}


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
def test_bytes_spell_what_the_corpus_never_had(kind: str) -> None:
    tokenizer = MAKE[kind]
    small = cut_tokenizer(tokenizer, select_pieces(tokenizer, CORPUS, LEAST[kind]))
    text = "Ωмега ☃ 鷹"
    assert not UNKNOWN & set(small.encode(text).tokens)
    assert small.decode(small.encode(text).ids) == text


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "suffixed"])
def test_without_bytes_a_rare_word_of_known_characters_is_spelt(kind: str) -> None:
    tokenizer = MAKE[kind]
    small = cut_tokenizer(tokenizer, select_pieces(tokenizer, CORPUS, LEAST[kind]))
    for word in ("tac", "mat", "nas", "stoc"):  # c stands at the end of none
        if not UNKNOWN & set(tokenizer.encode(word).tokens):
            assert not UNKNOWN & set(small.encode(word).tokens)


def test_the_pieces_that_a_merge_needs_are_kept() -> None:
    tokenizer = MAKE["byte_level"]
    content = json.loads(tokenizer.to_str())["model"]
    by_id = {i: piece for piece, i in content["vocab"].items()}
    parents = {left + right: (left, right) for left, right in content["merges"]}
    for size in range(LEAST["byte_level"], LEAST["byte_level"] + 40):
        kept = {by_id[i] for i in select_pieces(tokenizer, CORPUS, size)}
        for piece in kept & parents.keys():
            assert set(parents[piece]) <= kept


def test_a_character_without_a_piece_of_its_own_keeps_its_words() -> None:
    vocab = {piece: i for i, piece in enumerate(["[UNK]", "c", "##a", "##t", "cat", "##q", "zq", "qz"])}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    pieces = select_pieces(tokenizer, ["cat cat zq"], 5)
    assert [list(vocab)[i] for i in pieces] == ["[UNK]", "c", "##a", "##t", "zq"]
    assert cut_tokenizer(tokenizer, pieces).encode("cat zq").tokens == ["c", "##a", "##t", "zq"]


def test_small_ids_of_special_tokens_stay() -> None:
    """RoBERTa counts its positions from the padding's id, which may come after an unused piece."""
    scores = [("unused", 0.0), ("<pad>", 0.0), ("<unk>", 0.0), ("▁the", -1.0), ("▁", -2.0)]
    scores += [(letter, -3.0) for letter in "the"]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=2))
    tokenizer.add_special_tokens(["<pad>"])
    assert select_pieces(tokenizer, ["e"], 5)[:3] == [0, 1, 2]


def test_another_kind_of_tokenizer() -> None:
    with pytest.raises(InvalidInputError) as raised:
        select_pieces(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), CORPUS, 5)
    assert str(raised.value) == "tokenizer must be of kind Unigram, WordPiece or BPE, got WordLevel"


def test_a_lost_special_token() -> None:
    with pytest.raises(InvalidInputError) as raised:
        cut_tokenizer(MAKE["wordpiece"], range(1, 50))
    assert str(raised.value) == "pieces must contain all special and added tokens: 0 is missing"
