"""ProvenceLoss against the same formulas written as loops over float64 numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from provence_rag import InvalidInputError
from provence_rag.modeling.model import ProvenceModelOutput
from provence_training.learning.loss import ProvenceLoss, pool_sentences
from provence_training.pairs.targets import IGNORE, Targets

NAN = float("nan")
BATCH, TOKENS, SENTENCES = 6, 9, 7

# Sentence 4 has no tokens, sentence 5 is a single one; -1 is query, special tokens and padding.
SENTENCE_IDS = [
    [-1, -1, 0, 0, 0, 1, 1, -1, -1],
    [-1, -1, -1, 2, 2, 2, 2, 2, -1],
    [-1, 3, 3, 5, -1, -1, -1, -1, -1],
    [-1, -1, 6, 6, 6, 6, -1, -1, -1],
    [-1] * 9,
    [-1] * 9,
]
QUERIES = torch.tensor([0, 0, 1, 0, 1, 1])
EVERY_PART = {
    "ranking_weight": 0.3,
    "listwise_weight": 0.7,
    "ranking_teacher_weight": 0.2,
    "listwise_teacher_weight": 1.1,
    "pruning_weight": 2.0,
    "answering_weight": 0.6,
    "pruning_teacher_weight": 1.4,
}


def make_targets(**changes: Any) -> Targets:
    """Query 0 has three labelled passages; query 1 has three without labels, which a teacher scored."""
    values = {
        "labels": torch.tensor([1.0, 0.25, NAN, 0.0, NAN, NAN]),
        "teacher_scores": torch.tensor([NAN, -2.5, 3.0, 1.0, -0.5, 2.0]),
        "sentence_ids": torch.tensor(SENTENCE_IDS),
        "pruning_labels": torch.tensor([1, 0, IGNORE, 1, IGNORE, 0, 0]),
        "sentence_teacher_scores": torch.tensor([2.0, NAN, -1.0, 0.5, NAN, NAN, NAN]),
        "query_ids": QUERIES,
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
    **weights: float,
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
    owners = [NAN for _ in keeps]
    for row, ids in enumerate(targets.sentence_ids.tolist()):
        for column, sentence in enumerate(ids):
            if sentence >= 0:
                members[sentence].append(pruning[row, column, 1] - pruning[row, column, 0])
                owners[sentence] = labels[row]
    pooled = [sum(tokens) / len(tokens) if tokens else None for tokens in members]
    judged, answering = [], []
    for sentence, keep in enumerate(keeps):
        if keep != IGNORE:
            logits = members[sentence] if pooling == "token" else [pooled[sentence]]
            terms = [entropy(logit, float(keep), positive_weight) for logit in logits]
            judged += terms
            answering += terms if owners[sentence] > 0.5 else []
    listwise, divergences = [], []
    for query in set(targets.query_ids.tolist()):
        rows = [i for i, number in enumerate(targets.query_ids.tolist()) if number == query]
        known = [i for i in rows if not math.isnan(labels[i])]
        if len(known) > 1 and (total := sum(labels[i] for i in known)):
            logs = torch.log_softmax(ranking[known], 0)
            listwise.append(-sum(labels[i] / total * x for i, x in zip(known, logs, strict=True)))
        unknown = [i for i in rows if math.isnan(labels[i]) and not math.isnan(teacher[i])]
        if len(unknown) > 1:
            goal = torch.log_softmax(torch.tensor([teacher[i] for i in unknown], dtype=torch.float64), 0)
            divergences.append((goal.exp() * (goal - torch.log_softmax(ranking[unknown], 0))).sum())
    parts = {
        "ranking": [entropy(x, y, 1.0) for x, y in zip(ranking, labels, strict=True) if not math.isnan(y)],
        "listwise": listwise,
        "ranking_teacher": [(x - y) ** 2 for x, y in zip(ranking, teacher, strict=True) if y == y],
        "listwise_teacher": divergences,
        "pruning": judged,
        "answering": answering,
        "pruning_teacher": [
            (x - y) ** 2 for x, y in zip(pooled, sentence_teacher, strict=True) if not math.isnan(y)
        ],
    }
    return {name: weights[f"{name}_weight"] * mean(terms) for name, terms in parts.items()}


def gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(
        torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
    )


@pytest.mark.parametrize("pooling", ["token", "sentence"])
@pytest.mark.parametrize("positive_weight", [1.0, 3.0])
def test_values_and_gradients(pooling: str, positive_weight: float) -> None:
    ranking, pruning = (x.requires_grad_() for x in make_logits())
    exact_ranking, exact_pruning = (x.detach().double().requires_grad_() for x in (ranking, pruning))
    targets = make_targets()
    settings = {"pooling": pooling, "positive_weight": positive_weight, **EVERY_PART}
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
    ("without", "unknown"),
    [
        # Relevance labels of 0.25 say that no passage answers, and make lists all the same.
        ({"answering"}, {"labels": torch.tensor([0.25, 0.25, NAN, 0.0, NAN, NAN])}),
        ({"ranking", "listwise", "answering"}, {"labels": torch.full((BATCH,), NAN)}),
        ({"listwise"}, {"labels": torch.tensor([0.0, 0.0, NAN, 0.0, NAN, NAN])}),
        ({"listwise", "listwise_teacher"}, {"query_ids": torch.arange(BATCH)}),
        ({"ranking_teacher", "listwise_teacher"}, {"teacher_scores": torch.full((BATCH,), NAN)}),
        ({"pruning", "answering"}, {"pruning_labels": torch.full((SENTENCES,), IGNORE)}),
        ({"pruning_teacher"}, {"sentence_teacher_scores": torch.full((SENTENCES,), NAN)}),
    ],
)
@pytest.mark.parametrize("pooling", ["token", "sentence"])
def test_a_part_without_targets_is_zero(without: set[str], unknown: dict[str, Tensor], pooling: str) -> None:
    ranking, pruning = (x.requires_grad_() for x in make_logits())
    loss = ProvenceLoss(pooling=pooling, **EVERY_PART)
    targets = make_targets(**unknown)
    parts = loss(ProvenceModelOutput(ranking, pruning), targets)
    for part in without:
        assert parts[part].item() == 0.0
        for gradient in gradients(parts[part], ranking, pruning):
            assert not gradient.any()
    counts = dict(zip(loss.parts, loss.counts(targets).tolist(), strict=True))
    assert without <= {name for name, count in counts.items() if count == 0}
    for gradient in gradients(parts["loss"], ranking, pruning):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("pooling", ["token", "sentence"])
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
    parts = ProvenceLoss(pooling=pooling, **EVERY_PART)(ProvenceModelOutput(ranking, pruning), nothing)
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
    loss = ProvenceLoss(**EVERY_PART)
    parts = loss(output, make_targets())
    own = loss.parts[:4] if mode == "ranking" else loss.parts[4:]
    assert list(parts) == ["loss", *own]
    both = loss(ProvenceModelOutput(ranking, pruning), make_targets())
    torch.testing.assert_close(parts["loss"], torch.stack([both[name] for name in own]).sum())


def test_half_precision_is_summed_in_float32() -> None:
    ranking, pruning = make_logits()
    half = ProvenceModelOutput(ranking.bfloat16(), pruning.bfloat16())
    parts = ProvenceLoss(**EVERY_PART)(half, make_targets())
    assert {value.dtype for value in parts.values()} == {torch.float32}


def test_huge_logits_stay_finite() -> None:
    ranking, pruning = (1e4 * x for x in make_logits())
    for x in (ranking, pruning):
        x.requires_grad_()
    targets = make_targets(teacher_scores=torch.tensor([NAN, NAN, 1e4, NAN, -1e4, 0.0]))
    loss = ProvenceLoss(**EVERY_PART)(ProvenceModelOutput(ranking, pruning), targets)["loss"]
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(loss, ranking, pruning))


@pytest.mark.parametrize("pooling", ["token", "sentence"])
def test_batches_add_up_under_common_counts(pooling: str) -> None:
    loss = ProvenceLoss(positive_weight=2.0, pooling=pooling, **EVERY_PART)
    batches = [
        (make_logits(1), make_targets()),
        (make_logits(2), make_targets(labels=torch.full((BATCH,), NAN), query_ids=torch.zeros_like(QUERIES))),
    ]
    counts = torch.stack([loss.counts(targets) for _, targets in batches]).sum(0)
    apart = [loss(ProvenceModelOutput(*logits), targets, counts) for logits, targets in batches]
    # The same as one batch: its sentences and queries numbered on.
    joined = Targets(
        **{
            name: torch.cat([vars(targets)[name] for _, targets in batches])
            for name in vars(make_targets())
            if name not in ("sentence_ids", "query_ids", "guided")
        },
        sentence_ids=torch.tensor(
            [*SENTENCE_IDS, *([i + SENTENCES if i >= 0 else -1 for i in row] for row in SENTENCE_IDS)]
        ),
        query_ids=torch.cat([QUERIES, torch.full_like(QUERIES, 2)]),
    )
    output = ProvenceModelOutput(*(torch.cat(pair) for pair in zip(*(b[0] for b in batches), strict=True)))
    whole = loss(output, joined)
    assert torch.equal(loss.counts(joined), counts)
    for name in whole:
        torch.testing.assert_close(apart[0][name] + apart[1][name], whole[name])


def test_pooling_by_hand() -> None:
    values = torch.arange(54.0).reshape(BATCH, TOKENS)
    pooled = pool_sentences(values, torch.tensor(SENTENCE_IDS), SENTENCES)
    assert pooled.tolist() == [3.0, 5.5, 14.0, 19.5, 0.0, 21.0, 30.5]
    assert pool_sentences(values, torch.full((BATCH, TOKENS), -1), 0).shape == (0,)


def test_an_unknown_pooling() -> None:
    with pytest.raises(InvalidInputError) as raised:
        ProvenceLoss(pooling="max")
    assert str(raised.value) == "pooling must be 'token' or 'sentence', got 'max'"
