"""Losses on what is inside a model: token states of a teacher, and ranges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from provence_rag import CheckpointError, InvalidInputError
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.modeling.model import ProvenceModel
from provence_training.collator import Example, ProvenceCollator
from provence_training.config import RangesConfig, StatesConfig
from provence_training.hidden import RangeLoss, StatesLoss
from provence_training.shrink import shrink_checkpoint

EXAMPLES = [
    Example(query="where is the cat", document="the cat sat on the mat."),
    Example(query="who", document="rain is cold. the tea is hot. the dog sat."),
]

Inputs = dict[str, torch.Tensor]


@pytest.fixture
def inputs(tokenizer: PairTokenizer) -> Inputs:
    collator = ProvenceCollator(tokenizer, max_length=64, pad_token_id=1, uses_token_types=False)
    batch = collator(EXAMPLES)
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


@pytest.fixture
def student(make_model: Callable[..., ProvenceModel]) -> ProvenceModel:
    return make_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()


def states(encoder: Path, prefix: str, texts: list[str]) -> list[torch.Tensor]:
    """The encoder's states of each text's own tokens, from the encoder run by hand."""
    model = AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    skipped = 1 + len(tokenizer.encode(prefix, add_special_tokens=False).ids)
    found = []
    for text in texts:
        ids = tokenizer.encode(f"{prefix} {text}").ids
        with torch.inference_mode():
            found.append(model(torch.tensor([ids])).last_hidden_state[0, skipped:-1])
    return found


def test_states_are_compared_token_by_token(
    student: ProvenceModel, tokenizer: PairTokenizer, encoder: Path, inputs: Inputs
) -> None:
    config = StatesConfig(
        model=str(encoder), layer=2, weight=0.5, query_prefix="what: ", passage_prefix="mat: "
    )
    loss = StatesLoss(student, tokenizer, config)
    student(**inputs)
    value = loss(**inputs)

    with torch.no_grad():
        hidden = student.transformer.base_model(**inputs, output_hidden_states=True).hidden_states[2]
    values = []
    for prefix, texts, starts in [
        ("what:", [e.query for e in EXAMPLES], [1, 1]),
        ("mat:", [e.document for e in EXAMPLES], [1 + 4 + 2, 1 + 1 + 2]),
    ]:
        goals = states(encoder, prefix, texts)
        every = torch.cat(goals)
        mean, std = every.mean(0), every.std(0)
        rows = [
            ((hidden[row, start : start + len(goal)] - (goal - mean) / std) ** 2).mean()
            for row, (start, goal) in enumerate(zip(starts, goals, strict=True))
        ]
        values.append(torch.stack(rows).mean())
    expected = 0.5 * torch.stack(values).mean().item()
    assert value.item() == pytest.approx(expected, rel=1e-4)

    rounded = StatesLoss(student, tokenizer, config, dtype=torch.bfloat16)
    student(**inputs)
    assert rounded(**inputs).item() == pytest.approx(expected, rel=0.02)


def test_layers_above_and_the_teacher_learn_nothing_from_states(
    student: ProvenceModel, tokenizer: PairTokenizer, encoder: Path, inputs: Inputs
) -> None:
    loss = StatesLoss(student, tokenizer, StatesConfig(model=str(encoder), layer=1))
    student(**inputs)
    loss(**inputs).backward()
    touched = {name for name, p in student.named_parameters() if p.grad is not None and p.grad.any()}
    assert any("encoder.layer.0." in name for name in touched)
    assert not any("encoder.layer.1." in name or "pruning_head" in name for name in touched)
    assert {name for name, _ in loss.named_parameters()} == {"projection.weight", "projection.bias"}


def test_a_teacher_with_more_pieces_reads_the_student_s(
    make_model: Callable[..., ProvenceModel], encoder: Path, inputs: Inputs, tmp_path: Path
) -> None:
    # Without the pieces of the Japanese sentences, which have the highest ids but for one.
    vocabulary = Tokenizer.from_file(str(encoder / "tokenizer.json")).get_vocab()
    pieces = sorted(i for piece, i in vocabulary.items() if piece not in "。、犬猫がいるは")
    shrink_checkpoint(encoder, tmp_path / "small", pieces=pieces)
    small = PairTokenizer.from_directory(tmp_path / "small")
    dropouts = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = make_model(vocab_size=small.num_ids, **dropouts).train()
    collator = ProvenceCollator(small, max_length=64, pad_token_id=1, uses_token_types=False)
    batch = collator(EXAMPLES)
    batch.pop("targets")
    teachers = (str(encoder), str(tmp_path / "small"))
    losses = [StatesLoss(model, small, StatesConfig(model=teacher, layer=1)) for teacher in teachers]
    model(**batch)
    whole, cut = (loss(**batch).item() for loss in losses)
    assert whole == pytest.approx(cut)


def test_a_teacher_without_the_student_s_pieces_is_refused(
    student: ProvenceModel, tokenizer: PairTokenizer, encoder: Path, tmp_path: Path
) -> None:
    vocabulary = Tokenizer.from_file(str(encoder / "tokenizer.json")).get_vocab()
    pieces = sorted(i for piece, i in vocabulary.items() if piece != "▁cat")
    shrink_checkpoint(encoder, tmp_path / "small", pieces=pieces)
    with pytest.raises(InvalidInputError, match="lacks 1 pieces of the model's vocabulary, such as '▁cat'"):
        StatesLoss(student, tokenizer, StatesConfig(model=str(tmp_path / "small"), layer=1))


def test_a_layer_that_is_not_there(student: ProvenceModel, tokenizer: PairTokenizer, encoder: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"states.layer must be 1 to \d, got 9"):
        StatesLoss(student, tokenizer, StatesConfig(model=str(encoder), layer=9))
    with pytest.raises(CheckpointError):
        StatesLoss(student, tokenizer, StatesConfig(model=str(encoder / "nothing"), layer=1))


def test_ranges_cost_what_is_beyond_them(student: ProvenceModel, inputs: Inputs) -> None:
    loss = RangeLoss(student, RangesConfig(limit=1.5, weight=2.0))
    seen: list[Any] = []
    for module in student.transformer.base_model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    student(**inputs)
    distinct = list({id(x): x for x in seen}.values())
    expected = sum(((x.detach().abs() - 1.5).clamp(min=0) ** 2).sum(-1).mean() for x in distinct)
    value = loss(**inputs)
    assert expected > 0
    assert value.item() == pytest.approx(2.0 * expected.item(), rel=1e-5)
    value.backward()
    assert student.transformer.base_model.encoder.layer[0].output.LayerNorm.weight.grad.any()


def test_what_runs_in_evaluation_is_not_judged(student: ProvenceModel, inputs: Inputs) -> None:
    loss = RangeLoss(student, RangesConfig(limit=0.5))
    student(**inputs)
    expected = loss(**inputs).item()
    student.eval()(**inputs)
    student.train()(**inputs)
    assert loss(**inputs).item() == pytest.approx(expected)
