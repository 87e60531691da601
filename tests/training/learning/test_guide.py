"""The losses of a guide, compared with the same formulas on both models' outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from provence_rag import CheckpointError, InvalidInputError
from provence_rag.chunking import Span
from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.pair_encoder import PairEncoder
from provence_rag.modeling.model import ProvenceModel
from provence_training.config import GuideConfig
from provence_training.learning.collator import Example, ProvenceCollator
from provence_training.learning.guide import GuideLoss, load_guide
from provence_training.shrinking.vocabulary import cut_tokenizer

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
EXAMPLES = [
    Example(
        query="where is the cat",
        document="the cat sat on the mat. rain is cold.",
        sentences=[Span(0, 23), Span(24, 37)],
    ),
    Example(query="who", document="the tea is hot.", sentences=[Span(0, 15)], guided=False),
    Example(query="what", document="the dog sat. tea.", sentences=[Span(0, 12), Span(13, 17)]),
]
CONFIG = GuideConfig(model="any", ranking=0.3, sentences=0.7, tokens=0.2, states=2.0)

MakeModel = Callable[..., ProvenceModel]


@pytest.fixture
def collator(tokenizer: PairTokenizer) -> ProvenceCollator:
    encoder = PairEncoder(tokenizer, ProvenceConfig(max_length=64))
    return ProvenceCollator(encoder, pad_token_id=1, uses_token_types=False)


def parts_of(loss: GuideLoss, model: ProvenceModel, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    inputs = {name: tensor for name, tensor in batch.items() if name != "targets"}
    output = model(**inputs)
    return loss(output, inputs, batch["targets"], loss.counts(inputs, batch["targets"]))


def look(model: ProvenceModel, example: Example, collator: ProvenceCollator) -> tuple[Any, ...]:
    """Relevance logit, keep logits of tokens, last states and sentence numbers of one window, by itself."""
    batch = collator([example])
    targets = batch.pop("targets")
    with torch.no_grad():
        output = model(**batch)
        states = model.transformer.base_model(**batch).last_hidden_state[0]
    keep = output.pruning_logits[0, :, 1] - output.pruning_logits[0, :, 0]
    return output.ranking_logits[0], keep, states, targets.sentence_ids[0]


def test_every_part_is_a_mean_over_what_is_guided(make_model: MakeModel, collator: ProvenceCollator) -> None:
    model, guide = make_model(num_hidden_layers=2, **STILL), make_model(seed=1, **STILL)
    looks = [[look(m.eval(), e, collator) for m in (model, guide)] for e in EXAMPLES if e.guided]
    errors: dict[str, list[torch.Tensor]] = {"ranking": [], "sentences": [], "tokens": [], "states": []}
    for (rank, keep, states, sentence_ids), (its_rank, its_keep, its_states, _) in looks:
        errors["ranking"].append((rank - its_rank) ** 2)
        errors["tokens"] += [(a - b) ** 2 for a, b in zip(keep, its_keep, strict=True)]
        errors["states"] += [((a - b) ** 2).mean() for a, b in zip(states, its_states, strict=True)]
        for sentence in range(2):
            own = sentence_ids == sentence
            errors["sentences"].append((keep[own].mean() - its_keep[own].mean()) ** 2)
    expected = {
        f"guide_{name}": getattr(CONFIG, name) * torch.stack(terms).mean().item()
        for name, terms in errors.items()
    }

    loss = GuideLoss(model, guide, CONFIG)
    parts = parts_of(loss, model.train(), collator(EXAMPLES))
    assert list(parts) == list(loss.parts)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(expected, rel=1e-4)

    # Batch by batch, under common counts, they add up to the same.
    batches = [collator([e]) for e in EXAMPLES]
    counts = torch.stack([loss.counts(b, b["targets"]) for b in batches]).sum(0)
    sums = dict.fromkeys(parts, 0.0)
    for batch in batches:
        targets = batch.pop("targets")
        for name, part in loss(model(**batch), batch, targets, counts).items():
            sums[name] += part.item()
    assert sums == pytest.approx(expected, rel=1e-4)


def test_where_nobody_is_excluded_all_are_guided(make_model: MakeModel, collator: ProvenceCollator) -> None:
    loss = GuideLoss(model := make_model(**STILL).train(), make_model(seed=1), CONFIG)
    batch = collator([replace(e, guided=True) for e in EXAMPLES])
    expected = {name: part.item() for name, part in parts_of(loss, model, batch).items()}
    batch["targets"] = replace(batch["targets"], guided=None)
    assert {name: part.item() for name, part in parts_of(loss, model, batch).items()} == expected


def test_the_model_learns_and_the_guide_does_not(make_model: MakeModel, collator: ProvenceCollator) -> None:
    model, guide = make_model(**STILL).train(), make_model(seed=1)
    parts = parts_of(GuideLoss(model, guide, CONFIG), model, collator(EXAMPLES))
    torch.stack(list(parts.values())).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.pruning_head.parameters())
    assert model.transformer.base_model.encoder.layer[0].output.dense.weight.grad.any()
    assert all(p.grad is None and not p.requires_grad for p in guide.parameters())


def test_a_model_that_is_its_guide_has_nothing_to_learn(
    make_model: MakeModel, collator: ProvenceCollator
) -> None:
    model = make_model(**STILL).train()
    parts = parts_of(GuideLoss(model, make_model(**STILL), CONFIG), model, collator(EXAMPLES))
    assert all(part.item() == pytest.approx(0.0, abs=1e-9) for part in parts.values())


def test_a_batch_without_guided_rows(make_model: MakeModel, collator: ProvenceCollator) -> None:
    model = make_model(**STILL).train()
    parts = parts_of(GuideLoss(model, make_model(seed=1), CONFIG), model, collator(EXAMPLES[1:2]))
    total = torch.stack(list(parts.values())).sum()
    assert total.item() == 0.0
    total.backward()  # every process of a distributed run needs a gradient
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


# Which guide can be used


@pytest.fixture
def guide_directory(make_model: MakeModel, unigram: Tokenizer, tmp_path: Path) -> Path:
    make_model(seed=1, **STILL).save_pretrained(tmp_path / "guide")
    unigram.save(str(tmp_path / "guide" / "tokenizer.json"))
    return tmp_path / "guide"


def test_a_guide_computes_in_the_type_that_is_asked_for(
    guide_directory: Path, tokenizer: PairTokenizer
) -> None:
    guide = load_guide(guide_directory, tokenizer, torch.bfloat16)
    assert {p.dtype for p in guide.parameters()} == {torch.bfloat16}


def test_a_guide_with_more_pieces_reads_the_model_s(
    make_model: MakeModel, guide_directory: Path, unigram: Tokenizer
) -> None:
    # Without the pieces of Japanese sentences, so that the mask has another number.
    pieces = sorted(i for piece, i in unigram.get_vocab().items() if piece not in "。、犬猫がいるは")
    small = PairTokenizer(cut_tokenizer(unigram, pieces))
    assert small.num_ids < unigram.get_vocab_size()
    whole = ProvenceModel.from_pretrained(guide_directory)
    cut = load_guide(guide_directory, small, torch.float32)
    outputs = []
    for model, reader in ((whole, PairTokenizer(unigram)), (cut, small)):
        encoder = PairEncoder(reader, ProvenceConfig(max_length=64))
        collator = ProvenceCollator(encoder, pad_token_id=1, uses_token_types=False)
        batch = collator(EXAMPLES)
        batch.pop("targets")
        outputs.append(model(**batch))
    torch.testing.assert_close(outputs[0].ranking_logits, outputs[1].ranking_logits)
    torch.testing.assert_close(outputs[0].pruning_logits, outputs[1].pruning_logits)


def test_a_guide_that_cannot_read_the_model_s_tokens(
    guide_directory: Path, unigram: Tokenizer, typed_tokenizer: PairTokenizer, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError) as raised:
        load_guide(guide_directory, typed_tokenizer, torch.float32)
    assert str(raised.value) == (
        f"the guide {guide_directory} joins query and passage as <s> query </s> </s> passage </s>, but the "
        "model as <s> query </s> passage </s>: choose a guide of the same family"
    )
    unigram.add_tokens(["zebra"])
    with pytest.raises(InvalidInputError) as raised:
        load_guide(guide_directory, PairTokenizer(unigram), torch.float32)
    assert str(raised.value) == (
        f"the guide {guide_directory} lacks 1 pieces of the model's vocabulary, such as 'zebra': choose a "
        "guide with the same tokenizer, or the model that this one is cut from"
    )
    with pytest.raises(CheckpointError):
        load_guide(tmp_path / "nothing", PairTokenizer(unigram), torch.float32)


@pytest.mark.parametrize(
    ("part", "settings", "mode", "need"),
    [
        ("ranking", {}, "pruning", "both models must rank"),
        ("sentences", {}, "ranking", "both models must prune"),
        ("tokens", {}, "ranking", "both models must prune"),
        ("states", {"hidden_size": 16}, "joint", "hidden states have different sizes, 32 and 16"),
    ],
)
def test_parts_that_the_guide_does_not_have(
    make_model: MakeModel, part: str, settings: dict[str, Any], mode: Any, need: str
) -> None:
    model, guide = make_model(), make_model(**settings)
    guide.provence_config = replace(guide.provence_config, mode=mode)
    weights = {**dict.fromkeys(("ranking", "sentences", "tokens", "states"), 0.0), part: 1.0}
    with pytest.raises(InvalidInputError) as raised:
        GuideLoss(model, guide, GuideConfig(model="any", **weights))
    assert str(raised.value) == f"guide.{part} must be 0 here: {need}"


def test_a_guide_with_a_smaller_window(make_model: MakeModel) -> None:
    model, guide = make_model(), make_model()
    guide.provence_config = replace(guide.provence_config, max_length=32)
    with pytest.raises(InvalidInputError) as raised:
        GuideLoss(model, guide, CONFIG)
    assert str(raised.value) == (
        "the guide reads at most 32 tokens, but the model 64: set model.max_length to 32 or less"
    )
