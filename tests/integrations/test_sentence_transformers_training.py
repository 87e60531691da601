"""What the pruning head's settings, the collator, the loss and the evaluator refuse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from provence_rag import CheckpointError, InvalidInputError, Provence
from provence_rag.testing import fake_provence
from sentence_transformers_provence import (
    CrossEncoder,
    ProvenceCrossEncoderDataCollator,
    ProvenceEvaluator,
    ProvenceLoss,
)

QUERY = "Where do penguins live?"
DOCUMENT = "Penguins live on ice. They eat fish. The weather is fine."
RECORD: dict[str, Any] = {
    "query": "Who sat on the mat?",
    "document": "The old cat sat on the mat. Rain is cold. A red house.",
    "label": 1.0,
    "pruning_labels": [1, 0, 0],
}


def with_new_head(reranker: str) -> CrossEncoder:
    return CrossEncoder(reranker, enable_pruning=True, device="cpu")


def run(loss: ProvenceLoss, batch: dict[str, Any]) -> None:
    labels = batch.pop("label")
    loss(list(batch.values()), labels)


def test_the_choices_of_a_head(tiny_reranker: str) -> None:
    token = CrossEncoder(tiny_reranker, enable_pruning=True, pruning_mode="token", device="cpu")
    assert (token.provence.config.scoring, with_new_head(tiny_reranker).provence.config.scoring) == (
        "fraction",
        "mean",
    )
    for arguments, message in (
        ({"pruning_mode": "word"}, "pruning_mode must be 'sentence' or 'token', got 'word'"),
        (
            {"pruning_head_config": {"colour": 1}},
            "pruning_head_config has the unknown key 'colour': dropout, ",
        ),
        ({"pruning_head_config": {"num_labels": 3}}, "pruning_head_config['num_labels'] must be 2, got 3"),
        ({"pruning_head_config": {"dropout": 1}}, "pruning_head_config['dropout'] must be in [0, 1), got 1"),
        ({"pruning_head_config": {"hidden_size": 7}}, "pruning_head_config['hidden_size'] must be 32, as"),
        ({"pruning_head_config": [2]}, "pruning_head_config must be a dictionary, got [2]"),
    ):
        with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}"):
            CrossEncoder(tiny_reranker, enable_pruning=True, device="cpu", **arguments)


def test_pruning_can_be_switched_off(tiny_reranker: str, tmp_path: Path) -> None:
    with_new_head(tiny_reranker).save_pretrained(str(tmp_path), create_model_card=False)
    model = CrossEncoder(str(tmp_path), enable_pruning=False, device="cpu")
    assert not [name for name, _ in model.named_parameters() if "pruning_head" in name]
    with pytest.raises(CheckpointError, match=r"^pruning is switched off by enable_pruning=False\. Use"):
        model.prune(QUERY, DOCUMENT)
    model.save_pretrained(str(tmp_path / "again"), create_model_card=False)
    assert Provence.from_pretrained(tmp_path / "again", backend="torch").config.mode == "ranking"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": " "}, "record 0: query is blank (' '): a query needs words"),
        ({"document": None}, "record 0: document must be a string, got NoneType None"),
        ({"label": 2}, "record 0: label must be a number between 0 and 1, got 2"),
        (
            {"pruning_labels": [1]},
            "record 0: pruning_labels must have an entry for each of the 3 sentences, got 1",
        ),
        ({"pruning_labels": [1, 2, 0]}, "record 0: pruning_labels must be 0, 1 or -100, got 2"),
        ({"sentences": ["A cat."]}, "record 0: sentences: chunk 0 is not in the text"),
        ({"teacher_score": float("nan")}, "record 0: teacher_score must be a number, got nan"),
        ({"id": 7}, "record 0 has the unknown field 'id': remove such columns"),
    ],
)
def test_records_that_cannot_be_used(tiny_reranker: str, change: dict[str, Any], message: str) -> None:
    collate = ProvenceCrossEncoderDataCollator(with_new_head(tiny_reranker).tokenizer)
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}"):
        collate([{**RECORD, **change}])


def test_what_the_loss_refuses(tiny_reranker: str) -> None:
    model = with_new_head(tiny_reranker)
    collate = ProvenceCrossEncoderDataCollator(model.tokenizer)
    loss = ProvenceLoss(model)
    with pytest.raises(InvalidInputError, match="data_collator=ProvenceCrossEncoderDataCollator"):
        loss([["Who?"], ["A cat."]], torch.ones(1))
    of_tokens = ProvenceCrossEncoderDataCollator(model.tokenizer, sentence_level=False)
    with pytest.raises(InvalidInputError, match="sentence_level_pruning=True needs labels of sentences"):
        run(loss, of_tokens([RECORD]))
    other = ProvenceCrossEncoderDataCollator(
        model.tokenizer, config=type(model.provence.config)(normalize_query=True)
    )
    with pytest.raises(InvalidInputError, match=r"config=model\.provence\.config\)$"):
        run(loss, other([RECORD]))
    untaught = collate([{"query": "Who?", "document": "A cat.", "label": 1.0}])
    with pytest.raises(InvalidInputError, match="use_teacher_scores=True needs records with a teacher_score"):
        run(ProvenceLoss(model, use_teacher_scores=True), untaught)
    with pytest.raises(CheckpointError, match="only ranks"):
        ProvenceLoss(CrossEncoder(tiny_reranker, device="cpu"))
    with pytest.raises(InvalidInputError, match="pruning_weight must be a number >= 0, got -1"):
        ProvenceLoss(model, pruning_weight=-1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], []), "queries must have at least one entry, got none"),
        (([QUERY], [], [[0]]), "documents must have an entry for each of the 1 queries, got 0"),
        (([QUERY], [["a"]], [[1]]), "relevant_docs[0] must hold positions below 1, got 1"),
        (
            ([QUERY], [["a", "b", "c"]], [[1, 0, 0]]),
            "relevant_docs[0] must hold each position once, got [1, 0, 0]",
        ),
        (([QUERY], [["a"]], [[]]), "relevant_docs must name a relevant document for at least one query"),
        (([QUERY], [["a"]], [[0]], [[[2]]]), "pruning_labels[0][0] must hold 0 and 1, got 2"),
        (([QUERY], [["a"]], [[0]], None, [0]), "k_values must be an integer >= 1, got 0"),
    ],
)
def test_what_the_evaluator_refuses(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        ProvenceEvaluator(*arguments)


def test_labels_of_other_sentences_are_refused() -> None:
    evaluator = ProvenceEvaluator([QUERY], [[DOCUMENT]], [[0]], [[[1]]])
    message = (
        r"^pruning_labels\[0\]\[0\] has 1 entries, but the model cuts the document into 3 sentences: give"
    )
    with pytest.raises(InvalidInputError, match=message):
        evaluator(fake_provence())
