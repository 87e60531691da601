"""A smaller encoder: the same embeddings under new numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, processors
from transformers import AutoModel, AutoTokenizer

from provence_rag import InvalidInputError
from provence_training.shrink import select_pieces, shrink_encoder

CORPUS = ["the cat sat on the mat", "猫がいる。猫がいる。", "the cat is hot", "abc"]


def names(tokenizer: Tokenizer) -> list[str]:
    return [piece for piece, _ in json.loads(tokenizer.to_str())["model"]["vocab"]]


def chosen(tokenizer: Tokenizer, size: int) -> set[str]:
    return {names(tokenizer)[i] for i in select_pieces(tokenizer, CORPUS, size)}


# Choosing


def test_special_tokens_and_seen_characters_come_first(unigram: Tokenizer) -> None:
    seen = set("".join(CORPUS)) & set(names(unigram))
    needed = {"<s>", "<pad>", "</s>", "<unk>", "<mask>", "▁"} | seen
    assert chosen(unigram, len(needed)) == needed


def test_then_come_the_most_frequent_pieces(unigram: Tokenizer) -> None:
    needed = len(chosen(unigram, 30)) - 30  # whatever the size, that many are kept
    assert needed == 0
    smallest = next(size for size in range(5, 60) if _fits(unigram, size))
    more = chosen(unigram, smallest + 3) - chosen(unigram, smallest)
    # "▁the" three times; "▁cat", "猫が" and "いる" twice, of which the vocabulary has "▁cat" first.
    assert more == {"▁the", "▁cat", "猫が"}


def _fits(tokenizer: Tokenizer, size: int) -> bool:
    try:
        select_pieces(tokenizer, CORPUS, size)
    except InvalidInputError:
        return False
    return True


def test_ids_are_ascending_and_as_many_as_asked_for(unigram: Tokenizer) -> None:
    pieces = select_pieces(unigram, CORPUS, 40)
    assert len(pieces) == 40
    assert pieces == sorted(set(pieces))
    assert select_pieces(unigram, CORPUS, 10_000) == list(range(len(names(unigram))))


def test_too_small_a_size(unigram: Tokenizer) -> None:
    smallest = next(size for size in range(5, 60) if _fits(unigram, size))
    with pytest.raises(InvalidInputError) as raised:
        select_pieces(unigram, CORPUS, 5)
    assert str(raised.value) == f"size=5 is smaller than the {smallest} special tokens and characters"


def test_another_kind_of_tokenizer() -> None:
    with pytest.raises(InvalidInputError) as raised:
        select_pieces(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), CORPUS, 5)
    assert str(raised.value) == "tokenizer must be a Unigram one, got WordLevel"


# Shrinking


@pytest.fixture
def pieces(unigram: Tokenizer) -> list[int]:
    return select_pieces(unigram, CORPUS, 35)


@pytest.fixture
def small(encoder: Path, pieces: list[int], tmp_path: Path) -> Path:
    shrink_encoder(encoder, tmp_path / "small", pieces=pieces, layers=[0, 2])
    return tmp_path / "small"


def test_kept_pieces_keep_their_embeddings(encoder: Path, small: Path, pieces: list[int]) -> None:
    name = "embeddings.word_embeddings.weight"
    old, new = load_file(encoder / "model.safetensors"), load_file(small / "model.safetensors")
    torch.testing.assert_close(new[name], old[name][pieces], rtol=0, atol=0)
    for kept, layer in enumerate([0, 2]):
        name = "encoder.layer.{}.output.dense.weight"
        torch.testing.assert_close(new[name.format(kept)], old[name.format(layer)], rtol=0, atol=0)


@pytest.mark.parametrize("text", CORPUS)
def test_kept_text_is_cut_as_before(encoder: Path, small: Path, pieces: list[int], text: str) -> None:
    old, new = (Tokenizer.from_file(str(d / "tokenizer.json")) for d in (encoder, small))
    before, after = old.encode(text, "cat"), new.encode(text, "cat")
    if set(before.ids) <= set(pieces):
        assert after.tokens == before.tokens
        assert [pieces[i] for i in after.ids] == before.ids
    assert new.decode(after.ids) == old.decode(before.ids)
    assert "<unk>" not in after.tokens


def test_special_tokens_are_renumbered(small: Path, pieces: list[int]) -> None:
    tokenizer = Tokenizer.from_file(str(small / "tokenizer.json"))
    assert tokenizer.token_to_id("<mask>") == len(pieces) - 1
    assert tokenizer.encode("<mask>").tokens == ["<s>", "<mask>", "</s>"]
    assert tokenizer.decode(tokenizer.encode("Ω").ids, skip_special_tokens=False) == "<s> <unk></s>"


def test_it_is_a_stock_checkpoint(encoder: Path, small: Path, pieces: list[int]) -> None:
    model = AutoModel.from_pretrained(small, add_pooling_layer=False).eval()
    assert (model.config.vocab_size, model.config.num_hidden_layers) == (len(pieces), 2)
    tokenizer = AutoTokenizer.from_pretrained(small)
    assert len(tokenizer) == len(pieces)
    batch = tokenizer(["the cat sat", "the"], return_tensors="pt", padding=True)
    assert batch["input_ids"].max() < len(pieces)

    # The same hidden states as the big model without its middle layer.
    big = AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    del big.encoder.layer[1]
    with torch.inference_mode():
        new = model(**batch).last_hidden_state
        old = big(**{**batch, "input_ids": torch.tensor(pieces)[batch["input_ids"]]}).last_hidden_state
    torch.testing.assert_close(new, old)


def test_a_post_processor_that_cannot_be_renumbered(encoder: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(encoder / "tokenizer.json"))
    with pytest.raises(InvalidInputError) as raised:
        shrink_encoder(encoder, tmp_path / "small", pieces=range(61), layers=[0])
    assert str(raised.value) == (
        "tokenizer must have a TemplateProcessing post-processor, got RobertaProcessing"
    )
    assert not (tmp_path / "small").exists()
