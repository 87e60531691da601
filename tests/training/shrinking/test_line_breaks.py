"""Tokens for line breaks, in tokenizers of every kind, and in what training starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from provence_rag.inference.encoding import PairTokenizer
from provence_training.config import ModelConfig
from provence_training.run.starting_point import make_starting_point
from provence_training.shrinking.line_breaks import add_line_breaks

TEXT = "a b\nc\n\na\tb"


def unigram() -> Tokenizer:
    pieces = [("<unk>", 0.0), ("▁", -3.0), *((f"▁{c}", -2.0) for c in "abc"), (".", -2.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def word_piece() -> Tokenizer:
    vocabulary = {piece: i for i, piece in enumerate(["[UNK]", "a", "b", "c", "."])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def byte_level_bpe() -> Tokenizer:
    vocabulary = {piece: i for i, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


@pytest.mark.parametrize("make", [unigram, word_piece, byte_level_bpe])
def test_line_breaks_are_tokens_and_other_white_space_is_a_space(make: Callable[[], Tokenizer]) -> None:
    before = make()
    after = add_line_breaks(before)
    size = before.get_vocab_size()
    assert [after.token_to_id(token) for token in ("\n", "\n\n")] == [size, size + 1]
    parts = [before.encode(text).ids for text in ("a b", "c")]
    assert after.encode(TEXT).ids == [*parts[0], size, *parts[1], size + 1, *parts[0]]
    assert after.encode(TEXT).offsets[-1][1] == len(TEXT)
    assert before.get_vocab_size() == size


def test_an_encoder_starts_with_them(encoder: Path, tmp_path: Path) -> None:
    target = tmp_path / "start"
    config = ModelConfig(encoder=str(encoder), max_length=32, line_breaks=True)
    make_starting_point(config, (), target, seed=0)
    before, after = (PairTokenizer.from_directory(directory) for directory in (encoder, target))
    assert after.num_ids == before.num_ids + 2
    assert after.pieces()[-2:] == ["\n", "\n\n"]
    text = "the cat.\nthe dog sat.\n\ntea"
    ids = after.tokenize([text])[0].ids.tolist()
    assert {before.num_ids, before.num_ids + 1} < set(ids)

    # As stock classes read it, too.
    assert AutoTokenizer.from_pretrained(target)(text, add_special_tokens=False)["input_ids"] == ids
    model = AutoModelForSequenceClassification.from_pretrained(target)
    assert model.config.vocab_size == after.num_ids
    weight = model.get_input_embeddings().weight
    full_stop = before.pieces().index(".")
    torch.testing.assert_close(weight[-2:], weight[[full_stop, full_stop]])
    old = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=1)
    torch.testing.assert_close(weight[:-2], old.get_input_embeddings().weight)
