"""Training reads the token ids that inference reads, in every family."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from provence_rag.chunking import MultilingualChunker
from provence_rag.config import ProvenceConfig
from provence_rag.inference.batching import padded
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.pair_encoder import PairEncoder
from provence_rag.inference.planning import Pair, Planner
from provence_rag.modeling.model import ProvenceModel
from provence_training.config import PairConfig
from provence_training.data.passages import Passage, Question
from provence_training.pairs.assembly import Assembler
from provence_training.pairs.drawing import draw_pairs
from provence_training.pairs.pack import Pack
from provence_training.pairs.packing import pack_passages
from provence_training.pairs.pair_set import PairSet

PAD = 1
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'-：。、日本茶は湯"
QUESTION = "Who  INVENTED the paper-filter, of coffee?"
TEXTS = [
    "Coffee is a drink. The paper filter is of 1908! Who knows water?\nTea is not coffee. It cools.",
    "Water.",
    "日本の茶。湯は80、茶は本。",
    "The filter is paper. " * 9 + "It ends.",
]
FAMILIES = {
    "xlm-r": ({}, "<s> $A </s> </s> $B </s>"),
    "provence": ({"normalize_query": True, "tokenization": "spaced"}, "<s> $A </s> $B:1 </s>:1"),
    "xprovence": ({"pair_template": ("<s>", "$A", "</s>", "$B", "</s>")}, "<s> $A </s> </s> $B </s>"),
    "open-provence": ({"tokenization": "sentence"}, "<s> $A </s> $B </s>"),
}


def make_tokenizer(template: str) -> Tokenizer:
    pieces = dict.fromkeys(SPECIALS, 0.0) | dict.fromkeys(["▁", *LETTERS], -8.0)
    pieces |= {f"{mark}{word}": -5.0 for word in ("the", "filter", "coffee", "is") for mark in ("▁", "")}
    tokenizer = Tokenizer(models.Unigram(list(pieces.items()), unk_id=3))
    tokenizer.normalizer = normalizers.Replace("\n", " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=template, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


@pytest.fixture(params=FAMILIES, ids=list(FAMILIES))
def pair_encoder(request: pytest.FixtureRequest) -> PairEncoder:
    settings, template = FAMILIES[request.param]
    config = ProvenceConfig(max_length=128, **settings)
    return PairEncoder(PairTokenizer(make_tokenizer(template), config.pair_template), config)


def make_passages() -> list[Passage]:
    chunker = MultilingualChunker()
    passages = []
    for number, text in enumerate(TEXTS):
        question = Question(id=str(number), text=f"{QUESTION} {number}", answers=())
        passages.append(
            Passage(
                id=str(number),
                source="made",
                language="en",
                title=f"Title {number} " * 20 if number == 1 else f" Title {number}",
                text=text,
                sentences=tuple(chunker.spans(text)),
                questions=(question,),
            )
        )
    return passages


def assembler(pack: Pack, pair_encoder: PairEncoder) -> Assembler:
    return Assembler(
        pack,
        passage_type=pair_encoder.layout.passage_type,
        pad_token_id=PAD,
        uses_token_types=True,
        max_length=pair_encoder.config.max_length,
    )


def check(pairs: PairSet, pair_encoder: PairEncoder, read: Sequence[Pair]) -> None:
    """Each row against what inference reads of the same pair."""
    batch = assembler(pairs.pack, pair_encoder)(pairs.rows(range(len(pairs))))
    plans = Planner(pair_encoder.tokenizer, pair_encoder.config, None).plans(read, "auto")
    windows = [plan.windows[0] for plan in plans]
    expected = padded(windows, plans, pair_encoder.layout, pad_token_id=PAD)
    for name, ids in zip(("input_ids", "attention_mask", "token_type_ids"), expected, strict=True):
        np.testing.assert_array_equal(batch[name].numpy(), ids)
    # And the sentences that its units are scored by.
    numbers = batch["targets"].sentence_ids.numpy()
    base = 0
    for row, (plan, window) in enumerate(zip(plans, windows, strict=True)):
        head = len(plan.head.ids)
        sentence_of = np.full(window.end - window.start, -1)
        for sentence, (start, end) in enumerate(pairwise(plan.document.bounds.tolist()), base):
            sentence_of[start:end] = sentence
        assert numbers[row, head : head + window.end - window.start].tolist() == sentence_of.tolist()
        assert set(numbers[row, :head]) == {-1}
        assert set(numbers[row, head + window.end - window.start :]) == {-1}
        base += len(plan.document.spans)


@pytest.mark.parametrize("titles", [0.0, 1.0])
def test_whole_passages(pair_encoder: PairEncoder, titles: float) -> None:
    passages = make_passages()[:3]
    config = PairConfig(bm25=0, random=0, window=None, titles=titles, keyword_queries=0)
    pairs = draw_pairs(pack_passages(passages, pair_encoder), config, pair_encoder, seed=0)
    chosen = [passages[number] for number in pairs.questions]
    titled = [p.title.strip() if titles else None for p in chosen]
    check(
        pairs,
        pair_encoder,
        [Pair(p.questions[0].text, p.text, t) for p, t in zip(chosen, titled, strict=True)],
    )


def test_a_window_is_one_of_those_that_a_long_document_is_read_in(pair_encoder: PairEncoder) -> None:
    """What inference reads first of a document that does not fit."""
    passages = make_passages()[3:]
    config = PairConfig(bm25=0, random=0, window=None, titles=0, keyword_queries=0)
    pairs = draw_pairs(pack_passages(passages, pair_encoder), config, pair_encoder, seed=0)
    shorter = PairEncoder(pair_encoder.tokenizer, replace(pair_encoder.config, max_length=72))
    query, text = passages[0].questions[0].text, passages[0].text
    (plan,) = Planner(shorter.tokenizer, shorter.config, None).plans([Pair(query, text)], "auto")
    assert len(plan.windows) > 1
    borders = plan.document.bounds
    for window in plan.windows:
        run = np.searchsorted(borders, [window.start, window.end])
        cut = replace(pairs, encoder=shorter, windows=np.array([[run, [0, 0]]]))
        batch = assembler(pairs.pack, shorter)(cut.rows([0]))
        expected = padded([window], [plan], shorter.layout, pad_token_id=PAD)
        np.testing.assert_array_equal(batch["input_ids"].numpy(), expected[0])
        np.testing.assert_array_equal(batch["token_type_ids"].numpy(), expected[2])


def test_two_passages_follow_each_other(pair_encoder: PairEncoder) -> None:
    passages = make_passages()
    config = PairConfig(bm25=0, random=0, window=None, titles=0, keyword_queries=0)
    pairs = draw_pairs(pack_passages(passages, pair_encoder), config, pair_encoder, seed=0)
    first = int(np.flatnonzero(pairs.questions == 0)[0])
    windows = pairs.windows.copy()
    windows[first, 1] = pairs.pack.passages[1:3]
    batch = assembler(pairs.pack, pair_encoder)(replace(pairs, windows=windows).rows([first]))
    tokens = pair_encoder.encode_documents(TEXTS[:2], [p.sentences for p in passages[:2]])
    ids = np.concatenate([one.ids for one in tokens])
    end = batch["input_ids"].shape[1] - len(pair_encoder.layout.after)
    body = batch["input_ids"][0, end - len(ids) : end]
    assert body.tolist() == ids.tolist()
    numbers = batch["targets"].sentence_ids[0, end - len(ids) : end]
    assert numbers.tolist() == sorted(numbers.tolist())
    assert numbers[0] == 0
    assert numbers[-1] == len(passages[0].sentences)


def test_padding_to_a_multiple(pair_encoder: PairEncoder) -> None:
    config = PairConfig(bm25=0, random=0, window=None, titles=0, keyword_queries=0)
    pairs = draw_pairs(pack_passages(make_passages(), pair_encoder), config, pair_encoder, seed=0)
    rows = pairs.rows([int(np.argmin(pairs.lengths))])
    plain = assembler(pairs.pack, pair_encoder)(rows)
    settings = {"passage_type": 0, "pad_token_id": PAD, "uses_token_types": False, "pad_to_multiple_of": 64}
    for max_length, expected in ((256, 64), (40, max(40, rows.num_tokens))):
        batch = Assembler(pairs.pack, max_length=max_length, **settings)(rows)
        assert batch["input_ids"].shape[1] == expected
        assert torch.equal(batch["input_ids"][:, : rows.num_tokens], plain["input_ids"])
        assert (batch["input_ids"][:, rows.num_tokens :] == PAD).all()
        assert int(batch["attention_mask"].sum()) == rows.num_tokens


def test_the_encoder_of_a_directory(joint: Path, tmp_path: Path) -> None:
    """The template is the configuration's, as in inference."""
    directory = tmp_path / "templated"
    shutil.copytree(joint, directory)
    config = replace(ProvenceConfig.from_directory(joint), pair_template=("<s>", "$A", "</s>", "$B", "</s>"))
    model = ProvenceModel.from_pretrained(joint)
    model.provence_config = config
    model.save_pretrained(directory)
    assert PairEncoder.from_directory(joint).layout.between == (2, 2)
    assert PairEncoder.from_directory(directory).layout.between == (2,)
