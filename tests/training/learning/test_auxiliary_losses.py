"""What is added to the loss: ranges of activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.pair_encoder import PairEncoder
from provence_rag.modeling.model import ProvenceModel
from provence_training.config import RangesConfig
from provence_training.learning.auxiliary_losses import RangeLoss
from provence_training.learning.collator import Example, ProvenceCollator

EXAMPLES = [
    Example(query="where is the cat", document="the cat sat on the mat."),
    Example(query="who", document="rain is cold. the tea is hot. the dog sat."),
]

Batch = dict[str, Any]


@pytest.fixture
def batch(tokenizer: PairTokenizer) -> Batch:
    encoder = PairEncoder(tokenizer, ProvenceConfig(max_length=64))
    collator = ProvenceCollator(encoder, pad_token_id=1, uses_token_types=False)
    return collator(EXAMPLES)


@pytest.fixture
def model(make_model: Callable[..., ProvenceModel]) -> ProvenceModel:
    return make_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()


def value(loss: RangeLoss, model: ProvenceModel, batch: Batch) -> torch.Tensor:
    targets = batch["targets"]
    inputs = {name: tensor for name, tensor in batch.items() if name != "targets"}
    output = model(**inputs)
    return loss(output, inputs, targets, loss.counts(inputs, targets))["ranges"]


def test_ranges_cost_what_is_beyond_them(model: ProvenceModel, batch: Batch) -> None:
    loss = RangeLoss(model, RangesConfig(limit=1.5, weight=2.0))
    seen: list[Any] = []
    for module in model.transformer.base_model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    found = value(loss, model, batch)
    distinct = list({id(x): x for x in seen}.values())
    expected = sum(((x.detach().abs() - 1.5).clamp(min=0) ** 2).sum(-1).mean() for x in distinct)
    assert expected > 0
    assert found.item() == pytest.approx(2.0 * expected.item(), rel=1e-5)
    found.backward()
    assert model.transformer.base_model.encoder.layer[0].output.LayerNorm.weight.grad.any()


def test_what_runs_in_evaluation_is_not_judged(model: ProvenceModel, batch: Batch) -> None:
    loss = RangeLoss(model, RangesConfig(limit=0.5))
    expected = value(loss, model, batch).item()
    inputs = {name: tensor for name, tensor in batch.items() if name != "targets"}
    model.eval()(**inputs)
    assert value(loss, model.train(), batch).item() == pytest.approx(expected)
