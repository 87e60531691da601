"""A smaller encoder: the same embeddings under new numbers."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder
from tokenizers import AddedToken, Tokenizer, processors
from transformers import (
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)
from typer.testing import CliRunner

from provence_rag import CheckpointError, InvalidInputError, Provence
from provence_rag.modeling.model import ProvenceModel
from provence_training.cli.shrink import shrink
from provence_training.shrinking.checkpoint import select_layers, shrink_checkpoint
from provence_training.shrinking.vocabulary import select_pieces

CORPUS = ["the cat sat on the mat", "猫がいる。猫がいる。", "the cat is hot", "abc"]


@pytest.fixture
def pieces(unigram: Tokenizer) -> list[int]:
    return select_pieces(unigram, CORPUS, 35)


@pytest.fixture
def small(encoder: Path, pieces: list[int], tmp_path: Path) -> Path:
    shrink_checkpoint(encoder, tmp_path / "small", pieces=pieces, layers=[0, 2])
    return tmp_path / "small"


def test_kept_pieces_keep_their_embeddings(encoder: Path, small: Path, pieces: list[int]) -> None:
    name = "embeddings.word_embeddings.weight"
    old, new = load_file(encoder / "model.safetensors"), load_file(small / "model.safetensors")
    torch.testing.assert_close(new[name], old[name][pieces], rtol=0, atol=0)
    for kept, layer in enumerate([0, 2]):
        name = "encoder.layer.{}.output.dense.weight"
        torch.testing.assert_close(new[name.format(kept)], old[name.format(layer)], rtol=0, atol=0)


def test_kept_text_is_cut_as_before(encoder: Path, small: Path, pieces: list[int]) -> None:
    old, new = (Tokenizer.from_file(str(d / "tokenizer.json")) for d in (encoder, small))
    for text in CORPUS:
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


def test_with_all_layers_embeddings_of_kept_text_are_the_same(
    encoder: Path, pieces: list[int], tmp_path: Path
) -> None:
    shrink_checkpoint(encoder, tmp_path / "small", pieces=pieces)
    states = []
    for directory in (encoder, tmp_path / "small"):
        batch = AutoTokenizer.from_pretrained(directory)(CORPUS, return_tensors="pt", padding=True)
        model = AutoModel.from_pretrained(directory, add_pooling_layer=False).eval()
        with torch.inference_mode():
            states.append(model(**batch).last_hidden_state[batch["attention_mask"] == 1])
    torch.testing.assert_close(*states, rtol=0, atol=1e-6)


def test_layers_alone(encoder: Path, tmp_path: Path) -> None:
    shrink_checkpoint(encoder, tmp_path / "small", layers=[1])
    name = "embeddings.word_embeddings.weight"
    old, new = (load_file(d / "model.safetensors") for d in (encoder, tmp_path / "small"))
    torch.testing.assert_close(new[name], old[name], rtol=0, atol=0)
    tokenizers = [AutoTokenizer.from_pretrained(d) for d in (encoder, tmp_path / "small")]
    assert tokenizers[0]("the cat", "sat") == tokenizers[1]("the cat", "sat")


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (
            processors.RobertaProcessing(("</s>", 2), ("<s>", 0)),
            ["<s>", "▁the", "</s>", "</s>", "▁cat", "</s>"],
        ),
        (processors.BertProcessing(("<mask>", 60), ("<s>", 0)), ["<s>", "▁the", "<mask>", "▁cat", "<mask>"]),
        (
            processors.Sequence(
                [
                    processors.ByteLevel(),
                    processors.TemplateProcessing(
                        single="$A <mask>", pair="$A <mask> $B", special_tokens=[("<mask>", 60)]
                    ),
                ]
            ),
            ["▁the", "<mask>", "▁cat"],
        ),
    ],
)
@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_other_post_processors(
    encoder: Path, pieces: list[int], tmp_path: Path, processor: Any, expected: list[str]
) -> None:
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokenizer.post_processor = processor
    tokenizer.save(str(encoder / "tokenizer.json"))
    shrink_checkpoint(encoder, tmp_path / "small", pieces=pieces)
    small = Tokenizer.from_file(str(tmp_path / "small" / "tokenizer.json"))
    assert small.encode("the", "cat").tokens == expected
    assert max(small.encode("the", "cat").ids) < len(pieces)


@pytest.fixture(params=["distilbert", "modernbert"])
def other_encoder(
    request: pytest.FixtureRequest,
    unigram: Tokenizer,
    family_config: Callable[[str], PretrainedConfig],
    tmp_path: Path,
) -> Path:
    """An encoder whose layers are elsewhere, and which has no pooler."""
    directory = tmp_path / "other"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(family_config(request.param))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    model.save_pretrained(directory)
    PreTrainedTokenizerFast(tokenizer_object=unigram, pad_token="<pad>").save_pretrained(directory)
    return directory


def test_encoders_of_other_architectures(other_encoder: Path, pieces: list[int], tmp_path: Path) -> None:
    shrink_checkpoint(other_encoder, tmp_path / "small", pieces=pieces, layers=[0, 2, 3])
    small = AutoModel.from_pretrained(tmp_path / "small").eval()
    assert (small.config.num_hidden_layers, small.config.vocab_size) == (3, len(pieces))
    ids = Tokenizer.from_file(str(tmp_path / "small" / "tokenizer.json")).encode("the cat sat on").ids
    big = AutoModel.from_pretrained(other_encoder).eval()
    stack = big.transformer.layer if hasattr(big, "transformer") else big.layers
    del stack[1]
    with torch.inference_mode():
        new = small(input_ids=torch.tensor([ids])).last_hidden_state
        old = big(input_ids=torch.tensor([[pieces[i] for i in ids]])).last_hidden_state
    torch.testing.assert_close(new, old, rtol=0, atol=1e-5)


@pytest.mark.parametrize("other_encoder", ["modernbert"], indirect=True)
def test_a_layer_that_cannot_go(other_encoder: Path, tmp_path: Path) -> None:
    """ModernBERT's first layer has no normalisation before it."""
    with pytest.raises(CheckpointError, match="ModernBertModel cannot do without the layers left out"):
        shrink_checkpoint(other_encoder, tmp_path / "small", layers=[1, 2])
    assert not (tmp_path / "small").exists()


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": [3]}, "layers must be numbers from 0 to 2, got [3]"),
        ({"layers": []}, "layers must be numbers from 0 to 2, got []"),
        ({"pieces": [0, 2, 3]}, "pieces must contain all special and added tokens: 1 is missing"),
    ],
)
@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_what_cannot_be_kept(encoder: Path, tmp_path: Path, arguments: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        shrink_checkpoint(encoder, tmp_path / "small", **arguments)
    assert str(raised.value) == message
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_sources_that_cannot_be_used(encoder: Path, tmp_path: Path) -> None:
    (encoder / "tokenizer.json").rename(encoder / "elsewhere.json")
    with pytest.raises(CheckpointError) as raised:
        shrink_checkpoint(encoder, tmp_path / "small")
    assert str(raised.value) == f"{encoder} has no tokenizer.json"


# A checkpoint with heads


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_checkpoint_with_heads_answers_as_before(
    joint: Path, make_model: Callable[..., ProvenceModel], tmp_path: Path, dtype: torch.dtype
) -> None:
    tokenizer = Tokenizer.from_file(str(joint / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    tokenizer.save(str(joint / "tokenizer.json"))
    make_model(vocab_size=tokenizer.get_vocab_size(), type_vocab_size=1).save_pretrained(joint, dtype=dtype)

    passage = "the cat sat.\nthe cat is hot.\n\nabc."
    pieces = select_pieces(tokenizer, [*CORPUS, passage], 40)
    shrink_checkpoint(joint, tmp_path / "small", pieces=pieces)
    old, new = (load_file(d / "model.safetensors") for d in (joint, tmp_path / "small"))
    name = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(new.pop(name), old.pop(name)[pieces])
    assert new.keys() == old.keys()
    assert all(torch.equal(new[n], old[n]) and new[n].dtype == dtype for n in old)

    before, after = (
        Provence.from_pretrained(directory, backend="torch").process("the cat", [passage])[0]
        for directory in (joint, tmp_path / "small")
    )
    assert after.score == pytest.approx(before.score, abs=1e-6)
    scores = [[s.score for s in found.sentences] for found in (before, after)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-6)
    stock = CrossEncoder(str(tmp_path / "small"), device="cpu", model_kwargs={"dtype": "float32"})
    assert stock.predict([("the cat", passage)]) == pytest.approx(after.score, abs=1e-6)


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_layers_of_a_checkpoint_with_heads(joint: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as refused:
        shrink_checkpoint(joint, tmp_path / "small", layers=[0])
    assert str(refused.value) == (
        f"source={str(joint)!r} has heads, which were trained on all of its layers: give an encoder "
        "instead, and train it"
    )
    assert not (tmp_path / "small").exists()


def test_nothing_is_unpickled(encoder: Path, tmp_path: Path) -> None:
    source = tmp_path / "pickled"
    shutil.copytree(encoder, source)
    torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"cannot be loaded as an encoder: .*model\.safetensors"):
        shrink_checkpoint(source, tmp_path / "out", layers=[0])


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("first:3", [0, 1, 2]),
        ("last:3", [9, 10, 11]),
        ("alternate:6", [0, 2, 4, 7, 9, 11]),
        ("alternate:1", [0]),
        ("first:12", list(range(12))),
        ("0,5,11", [0, 5, 11]),
        ("7", [7]),
    ],
)
def test_layers(which: str, expected: list[int]) -> None:
    assert select_layers(which, 12) == expected


@pytest.mark.parametrize(
    "which", ["first", "first:0", "last:13", "middle:3", "1,1", "3,2", "12", "-1", "", "a"]
)
def test_no_such_layers(which: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        select_layers(which, 12)
    assert str(raised.value) == (
        f"layers must be first:N, last:N, alternate:N, or ascending numbers below 12; got {which!r}"
    )


# The command


def run(*arguments: str | Path) -> Any:
    app = typer.Typer()
    app.command()(shrink)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_the_command(encoder: Path, pieces: list[int], tmp_path: Path) -> None:
    texts, records = tmp_path / "texts.txt", tmp_path / "records.jsonl.gz"
    texts.write_text(f"{CORPUS[0]}\n\n{CORPUS[1]}\n", encoding="utf-8")
    record = {"id": "dog dog dog dog", "text": CORPUS[2], "questions": [{"question": CORPUS[3], "id": "dog"}]}
    records.write_bytes(gzip.compress(json.dumps(record).encode()))
    corpora = ["--corpus", texts, "--corpus", records]
    done = run(encoder, tmp_path / "made", "--vocabulary", "35", *corpora, "--layers", "alternate:2")
    assert done.exit_code == 0, done.output
    shrink_checkpoint(encoder, tmp_path / "small", pieces=pieces, layers=[0, 2])
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "made" / name).read_bytes() == (tmp_path / "small" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --vocabulary, --layers or both: nothing is left out without them"),
        (
            ["--vocabulary", "9"],
            "give --vocabulary and --corpus together: the corpus decides which pieces are kept",
        ),
        (["--corpus", "x"], "give --vocabulary, --layers or both: nothing is left out without them"),
        (
            ["--corpus", "x", "--layers", "0"],
            "give --vocabulary and --corpus together: the corpus decides which pieces are kept",
        ),
        (["--vocabulary", "9", "--corpus", "no.txt"], "no.txt is not a file"),
        (
            ["--vocabulary", "9", "--corpus", "bad.jsonl"],
            "bad.jsonl:2: not JSON: Expecting value: line 1 column 1 (char 0)",
        ),
    ],
)
@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
def test_what_the_command_refuses(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"text": "the cat"}\nthe cat\n', encoding="utf-8")
    done = run(encoder, tmp_path / "made", *arguments)
    assert isinstance(done.exception, InvalidInputError)
    assert str(done.exception) == message
