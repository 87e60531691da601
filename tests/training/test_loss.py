"""ProvenceLoss against the same formulas written as loops over float64 numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from provence_rag import InvalidInputError
from provence_rag.modeling.model import ProvenceModelOutput
from provence_training.loss import IGNORE, ProvenceLoss, Targets, pool_sentences, pool_sentences_softmax

NAN = float("nan")
BATCH, TOKENS, SENTENCES = 3, 9, 6

# Sentence 4 has no tokens, sentence 5 is a single one; -1 is query, special tokens and padding.
SENTENCE_IDS = [
    [-1, -1, 0, 0, 0, 1, 1, -1, -1],
    [-1, -1, -1, 2, 2, 2, 2, 2, -1],
    [-1, 3, 3, 5, -1, -1, -1, -1, -1],
]


def make_targets(**changes: Any) -> Targets:
    values = {
        "labels": torch.tensor([1.0, 0.25, NAN]),
        "teacher_scores": torch.tensor([NAN, -2.5, 3.0]),
        "sentence_ids": torch.tensor(SENTENCE_IDS),
        "pruning_labels": torch.tensor([1, 0, IGNORE, 1, IGNORE, 0]),
        "sentence_teacher_scores": torch.tensor([2.0, NAN, -1.0, 0.5, NAN, NAN]),
        "query_ids": torch.tensor([0, 1, 1]),
    }
    return Targets(**{**values, **changes})


def make_logits(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ranking = 3 * torch.randn(BATCH, generator=generator)
    pruning = 3 * torch.randn(BATCH, TOKENS, 2, generator=generator)
    return ranking, pruning


def reference(
    ranking: Tensor,
    pruning: Tensor,
    targets: Targets,
    *,
    pooling: str,
    positive_weight: float,
    ranking_weight: float,
    pruning_weight: float,
    teacher_weight: float,
    ranking_regression: str,
) -> dict[str, Tensor]:
    """The parts of the loss, one number after the other."""

    def mean(values: list[Tensor]) -> Tensor:
        return torch.stack(values).mean() if values else torch.zeros((), dtype=torch.float64)

    def entropy(logit: Tensor, label: float, weight: float) -> Tensor:
        probability = 1 / (1 + torch.exp(-logit))
        return -(weight * label * torch.log(probability) + (1 - label) * torch.log(1 - probability))

    labels, teacher = targets.labels.tolist(), targets.teacher_scores.tolist()
    keeps = targets.pruning_labels.tolist()
    sentence_teacher = targets.sentence_teacher_scores.tolist()
    members: list[list[Tensor]] = [[] for _ in keeps]
    for row, ids in enumerate(targets.sentence_ids.tolist()):
        for column, sentence in enumerate(ids):
            if sentence >= 0:
                members[sentence].append(pruning[row, column, 1] - pruning[row, column, 0])
    pooled = [_pooled(tokens, pooling) if tokens else None for tokens in members]
    if ranking_regression == "mse":
        taught = [(x - y) ** 2 for x, y in zip(ranking, teacher, strict=True) if not math.isnan(y)]
    else:
        taught = []
        for i in range(len(teacher)):
            for j in range(i):
                if targets.query_ids[i] == targets.query_ids[j]:
                    margin = teacher[i] - teacher[j]
                    taught += [] if math.isnan(margin) else [(ranking[i] - ranking[j] - margin) ** 2]
    if pooling != "token":
        judged = [(p, keep) for p, keep in zip(pooled, keeps, strict=True) if keep != IGNORE]
    else:
        judged = [(t, k) for tokens, k in zip(members, keeps, strict=True) for t in tokens if k != IGNORE]
    return {
        "ranking": ranking_weight
        * mean([entropy(x, y, 1.0) for x, y in zip(ranking, labels, strict=True) if not math.isnan(y)]),
        "ranking_teacher": ranking_weight * teacher_weight * mean(taught),
        "pruning": pruning_weight * mean([entropy(x, float(y), positive_weight) for x, y in judged]),
        "pruning_teacher": pruning_weight
        * teacher_weight
        * mean([(x - y) ** 2 for x, y in zip(pooled, sentence_teacher, strict=True) if not math.isnan(y)]),
    }


def _pooled(tokens: list[Tensor], pooling: str) -> Tensor:
    weights = [torch.exp(t) if pooling == "softmax" else torch.ones_like(t) for t in tokens]
    return sum(w * t for w, t in zip(weights, tokens, strict=True)) / sum(weights)


def gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(
        torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
    )


@pytest.mark.parametrize("regression", ["mse", "margin_mse"])
@pytest.mark.parametrize("pooling", ["token", "sentence", "softmax"])
@pytest.mark.parametrize(
    "weights",
    [
        {"ranking_weight": 1.0, "pruning_weight": 0.5, "teacher_weight": 1.0, "positive_weight": 1.0},
        {"ranking_weight": 0.3, "pruning_weight": 2.0, "teacher_weight": 0.7, "positive_weight": 3.0},
    ],
)
def test_values_and_gradients(pooling: str, regression: str, weights: dict[str, float]) -> None:
    ranking, pruning = (x.requires_grad_() for x in make_logits())
    exact_ranking, exact_pruning = (x.detach().double().requires_grad_() for x in (ranking, pruning))
    targets = make_targets()
    settings = {"pooling": pooling, "ranking_regression": regression, **weights}
    parts = ProvenceLoss(**settings)(ProvenceModelOutput(ranking, pruning), targets)
    expected = reference(exact_ranking, exact_pruning, targets, **settings)
    assert list(parts) == ["loss", *expected]
    for name, value in expected.items():
        assert value > 0
        torch.testing.assert_close(parts[name].double(), value, rtol=1e-5, atol=1e-6)
    total = torch.stack(list(expected.values())).sum()
    torch.testing.assert_close(parts["loss"].double(), total, rtol=1e-5, atol=1e-6)
    for one, other in zip(
        gradients(parts["loss"], ranking, pruning),
        gradients(total, exact_ranking, exact_pruning),
        strict=True,
    ):
        assert other.abs().max() > 0
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("part", "unknown"),
    [
        ("ranking", {"labels": torch.full((BATCH,), NAN)}),
        ("ranking_teacher", {"teacher_scores": torch.full((BATCH,), NAN)}),
        ("pruning", {"pruning_labels": torch.full((SENTENCES,), IGNORE)}),
        ("pruning_teacher", {"sentence_teacher_scores": torch.full((SENTENCES,), NAN)}),
    ],
)
@pytest.mark.parametrize("pooling", ["token", "sentence", "softmax"])
def test_a_part_without_targets_is_zero(part: str, unknown: dict[str, Tensor], pooling: str) -> None:
    ranking, pruning = (x.requires_grad_() for x in make_logits())
    loss = ProvenceLoss(pooling=pooling)
    parts = loss(ProvenceModelOutput(ranking, pruning), make_targets(**unknown))
    assert parts[part].item() == 0.0
    for gradient in gradients(parts[part], ranking, pruning):
        assert not gradient.any()
    complete = loss(ProvenceModelOutput(ranking, pruning), make_targets())
    for name in set(parts) - {part, "loss"}:
        torch.testing.assert_close(parts[name], complete[name])
    for gradient in gradients(parts["loss"], ranking, pruning):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("pooling", ["token", "sentence", "softmax"])
def test_a_batch_that_knows_nothing_can_be_learned_from(pooling: str) -> None:
    ranking, pruning = (x.requires_grad_() for x in make_logits())
    nothing = Targets(
        labels=torch.full((BATCH,), NAN),
        teacher_scores=torch.full((BATCH,), NAN),
        sentence_ids=torch.full((BATCH, TOKENS), -1),
        pruning_labels=torch.empty(0, dtype=torch.long),
        sentence_teacher_scores=torch.empty(0),
        query_ids=torch.zeros(BATCH, dtype=torch.long),
    )
    parts = ProvenceLoss(pooling=pooling, ranking_regression="margin_mse")(
        ProvenceModelOutput(ranking, pruning), nothing
    )
    assert parts["loss"].item() == 0.0
    parts["loss"].backward()  # every process of a distributed run needs a gradient
    assert not ranking.grad.any()
    assert not pruning.grad.any()


def test_masked_tokens_get_no_gradient() -> None:
    ranking, pruning = (x.requires_grad_() for x in make_logits())
    parts = ProvenceLoss(pooling="token")(ProvenceModelOutput(ranking, pruning), make_targets())
    (gradient,) = gradients(parts["loss"], pruning)
    outside = torch.tensor(SENTENCE_IDS) == -1
    assert not gradient[outside].any()
    assert gradient[~outside].any(-1).all()


@pytest.mark.parametrize("mode", ["ranking", "pruning"])
def test_a_model_with_one_head(mode: str) -> None:
    ranking, pruning = make_logits()
    output = ProvenceModelOutput(ranking, None) if mode == "ranking" else ProvenceModelOutput(None, pruning)
    parts = ProvenceLoss()(output, make_targets())
    assert list(parts) == ["loss", mode, f"{mode}_teacher"]
    both = ProvenceLoss()(ProvenceModelOutput(ranking, pruning), make_targets())
    torch.testing.assert_close(parts["loss"], both[mode] + both[f"{mode}_teacher"])


def test_half_precision_is_summed_in_float32() -> None:
    ranking, pruning = make_logits()
    half = ProvenceModelOutput(ranking.bfloat16(), pruning.bfloat16())
    parts = ProvenceLoss()(half, make_targets())
    assert {value.dtype for value in parts.values()} == {torch.float32}


@pytest.mark.parametrize("pooling", ["sentence", "softmax"])
def test_huge_logits_stay_finite(pooling: str) -> None:
    ranking, pruning = (1e4 * x for x in make_logits())
    for x in (ranking, pruning):
        x.requires_grad_()
    targets = make_targets(
        teacher_scores=torch.full((BATCH,), NAN), sentence_teacher_scores=torch.full((SENTENCES,), NAN)
    )
    loss = ProvenceLoss(pooling=pooling)(ProvenceModelOutput(ranking, pruning), targets)["loss"]
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(loss, ranking, pruning))


@pytest.mark.parametrize("pooling", ["token", "sentence", "softmax"])
@pytest.mark.parametrize("regression", ["mse", "margin_mse"])
def test_batches_add_up_under_common_counts(pooling: str, regression: str) -> None:
    settings = {"pooling": pooling, "ranking_regression": regression}
    loss = ProvenceLoss(positive_weight=2.0, **settings)
    batches = [
        (make_logits(1), make_targets()),
        (make_logits(2), make_targets(labels=torch.full((BATCH,), NAN), query_ids=torch.tensor([0, 0, 0]))),
    ]
    counts = torch.stack([loss.counts(targets) for _, targets in batches]).sum(0)
    apart = [loss(ProvenceModelOutput(*logits), targets, counts) for logits, targets in batches]
    # The same as one batch: its sentences and queries numbered on.
    joined = Targets(
        **{
            name: torch.cat([vars(targets)[name] for _, targets in batches])
            for name in vars(make_targets())
            if name not in ("sentence_ids", "query_ids")
        },
        sentence_ids=torch.tensor(
            [*SENTENCE_IDS, *([i + SENTENCES if i >= 0 else -1 for i in row] for row in SENTENCE_IDS)]
        ),
        query_ids=torch.tensor([0, 1, 1, 2, 2, 2]),
    )
    output = ProvenceModelOutput(*(torch.cat(pair) for pair in zip(*(b[0] for b in batches), strict=True)))
    whole = loss(output, joined)
    assert torch.equal(loss.counts(joined), counts)
    for name in whole:
        torch.testing.assert_close(apart[0][name] + apart[1][name], whole[name])


def test_pooling_by_hand() -> None:
    values = torch.arange(27.0).reshape(3, 9)
    pooled = pool_sentences(values, torch.tensor(SENTENCE_IDS), SENTENCES)
    assert pooled.tolist() == [3.0, 5.5, 14.0, 19.5, 0.0, 21.0]
    assert pool_sentences(values, torch.full((3, 9), -1), 0).shape == (0,)


def test_softmax_pooling_listens_to_the_surest_token() -> None:
    values = torch.tensor([[0.0, 0.0, 20.0, -20.0, -20.0]])
    ids = torch.tensor([[0, 0, 0, 1, 1]])
    assert pool_sentences_softmax(values, ids, 3).tolist() == pytest.approx([20.0, -20.0, 0.0], abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "max"}, "pooling must be 'token', 'sentence' or 'softmax', got 'max'"),
        ({"ranking_regression": "mae"}, "ranking_regression must be 'mse' or 'margin_mse', got 'mae'"),
    ],
)
def test_unknown_names(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        ProvenceLoss(**settings)
    assert str(raised.value) == message
