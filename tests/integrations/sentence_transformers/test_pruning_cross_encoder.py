"""PruningCrossEncoder against the stock class and against Provence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from langchain_provence import ProvenceCompressor
from provence_rag import CheckpointError, InvalidInputError, PruningOptions
from sentence_transformers_provence import PruningCrossEncoder
from tests.integrations.sentence_transformers.common import (
    DOCUMENTS,
    PAIRS,
    QUERIES,
    QUERY,
    block_of,
    edit_config,
    load,
    reference,
)

# --- a public reranker ------------------------------------------------------------------------------------


def test_a_public_reranker_ranks_as_with_the_stock_class(reranker: Path, assert_ranks_alike: Any) -> None:
    stock, ours = CrossEncoder(str(reranker), device="cpu"), load(reranker)
    assert isinstance(ours.activation_fn, torch.nn.Identity)
    assert_ranks_alike(ours, stock)
    scores = ours.predict(PAIRS)
    assert scores.min() < 0 or scores.max() > 1  # logits


def test_provence_loads_a_public_reranker_ranking_only(reranker: Path) -> None:
    model = reference(reranker)
    assert (model.config.mode, model.config.score_activation) == ("ranking", "identity")
    scores = load(reranker).predict(PAIRS[:2])
    np.testing.assert_allclose(model.predict(PAIRS[:2]), scores, rtol=0, atol=1e-5)
    with pytest.raises(CheckpointError, match=r"^this checkpoint only ranks: it has no pruning head$"):
        model.prune(QUERY, DOCUMENTS[0])


def test_a_public_reranker_does_not_prune(reranker: Path) -> None:
    model = load(reranker)
    for prune in (
        lambda: model.prune(QUERY, DOCUMENTS[0]),
        lambda: model.predict_with_pruning(QUERIES, DOCUMENTS),
        lambda: model.provence,
    ):
        with pytest.raises(CheckpointError) as raised:
            prune()
        assert str(raised.value) == (
            "this checkpoint only ranks: it has no pruning head. Use predict and rank, load a joint "
            "checkpoint, such as the bundled one in provence_rag/models/mini, or train a new head with "
            "enable_pruning=True"
        )


@pytest.mark.parametrize("saving_class", [CrossEncoder, PruningCrossEncoder])
def test_a_reranker_that_was_saved_again_keeps_its_activation(
    reranker: Path, tmp_path: Path, saving_class: type[CrossEncoder], assert_ranks_alike: Any
) -> None:
    model = saving_class(str(reranker), device="cpu")
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    assert "provence" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    scores = model.predict(PAIRS[:2])
    assert_ranks_alike(load(tmp_path / "saved"), model)
    np.testing.assert_allclose(reference(tmp_path / "saved").predict(PAIRS[:2]), scores, rtol=0, atol=1e-5)


# --- a joint checkpoint -----------------------------------------------------------------------------------


def test_a_joint_checkpoint_ranks_as_with_the_stock_class(
    joint_checkpoint: Path, assert_ranks_alike: Any
) -> None:
    assert_ranks_alike(load(joint_checkpoint), CrossEncoder(str(joint_checkpoint), device="cpu"))


def test_it_prunes_as_provence_does(
    joint_checkpoint: Path, assert_prunes_alike: Any, assert_same: Any
) -> None:
    ours, theirs = load(joint_checkpoint), reference(joint_checkpoint)
    assert_prunes_alike(ours, theirs)
    for options in (
        {"pruning_mode": "threshold", "pruning_threshold": 0.25},
        {"pruning_mode": "threshold", "pruning_threshold": None},
        {"pruning_mode": "ratio", "pruning_ratio": 0.5},
        {"pruning_mode": "budget", "max_tokens": 8, "min_sentences": 0},
        {"keep_answers": 0.5},
        {"min_sentences": 2, "return_documents": True},
    ):
        assert_same(
            ours.predict_with_pruning(QUERIES, DOCUMENTS, 2, **options),
            theirs.predict_with_pruning(QUERIES, DOCUMENTS, 2, **options),
        )
    for document in DOCUMENTS:
        assert ours.prune(QUERY, document) == theirs.prune(QUERY, document)
        best = theirs.prune(QUERY, document, keep_answers=0.5)
        assert ours.prune(QUERY, document, keep_answers=0.5) == best
        assert ours.prune(QUERY, document, return_scores=True, keep_answers=0.5)[0] == best
        text, scores = ours.prune(QUERY, document, 0.25, 1, return_scores=True)
        expected, expected_scores = theirs.prune(QUERY, document, 0.25, 1, return_scores=True)
        assert text == expected
        assert scores == pytest.approx(expected_scores, abs=1e-5)
    assert ours.provence.config == theirs.config


def test_both_scores_are_the_same(joint_checkpoint: Path) -> None:
    model = load(joint_checkpoint)
    scores = model.predict_with_pruning(QUERIES[:2], DOCUMENTS[:2]).ranking_scores
    np.testing.assert_allclose(scores, model.predict(PAIRS[:2]), rtol=0, atol=1e-6)


def test_a_blank_document_is_not_read(joint_checkpoint: Path) -> None:
    """The stock class gives it what the model makes of the question alone."""
    model = load(joint_checkpoint)
    assert model.predict((QUERY, DOCUMENTS[2])) > 0.01
    assert model.predict_with_pruning([QUERY], [DOCUMENTS[2]]).ranking_scores == [0.0]


def test_nothing_of_a_long_document_is_cut_off(joint_checkpoint: Path) -> None:
    (sentences,) = load(joint_checkpoint).predict_with_pruning([QUERY], [DOCUMENTS[3]]).sentences
    assert len(sentences) == 30


def test_there_is_one_set_of_weights(joint_checkpoint: Path) -> None:
    model = load(joint_checkpoint)
    names = [name for name, _ in model.named_parameters() if "pruning_head" in name]
    assert names == ["0.model.pruning_head.weight", "0.model.pruning_head.bias"]
    settings: dict[str, Any] = {"min_sentences": 0, "return_documents": True}
    provence, before = model.provence, model.predict_with_pruning(QUERIES, DOCUMENTS, **settings)
    with torch.no_grad():
        model.model.classifier.bias.add_(1.0)
        model.model.pruning_head.bias.copy_(torch.tensor([50.0, -50.0]))
    after = model.predict_with_pruning(QUERIES, DOCUMENTS, **settings)
    assert model.provence is provence
    assert after.ranking_logits == pytest.approx([logit + 1.0 for logit in before.ranking_logits])
    assert set(after.pruned_documents) == {""}


def test_results_are_plain(joint_checkpoint: Path) -> None:
    model = load(joint_checkpoint)
    output = model.predict_with_pruning(QUERIES, DOCUMENTS).to_dict()
    assert json.loads(json.dumps(output)) == output
    scores = model.prune(QUERY, DOCUMENTS[0], return_scores=True)[1]
    assert [type(score) for score in scores] == [float] * 3


def test_no_code_of_a_checkpoint_is_run(joint: Path, assert_prunes_alike: Any) -> None:
    (joint / "modeling_other.py").write_text("raise AssertionError('the code was run')")
    edit_config(joint, auto_map={"AutoModelForSequenceClassification": "modeling_other.Other"})
    assert_prunes_alike(load(joint), reference(joint))


def test_nothing_to_do(joint_checkpoint: Path) -> None:
    output = load(joint_checkpoint).predict_with_pruning([], [], return_documents=True)
    assert output.ranking_scores == output.pruned_documents == []


@pytest.mark.parametrize(
    ("queries", "documents", "message"),
    [
        (QUERY, DOCUMENTS, "queries must be a list of strings, got str"),
        ([QUERY, None], DOCUMENTS[:2], r"queries\[1\] must be a string, got NoneType None"),
        ([QUERY], DOCUMENTS, "documents must have an entry for each of the 1 queries, got 4"),
    ],
)
@pytest.mark.parametrize("prompt", [None, "Question: "])
def test_what_cannot_be_pruned_is_refused(
    joint_checkpoint: Path, queries: Any, documents: Any, message: str, prompt: str | None
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load(joint_checkpoint).predict_with_pruning(queries, documents, prompt=prompt)


def test_the_provence_of_it_goes_into_other_adapters(joint_checkpoint: Path) -> None:
    from langchain_core.documents import Document

    model = load(joint_checkpoint)
    compressor = ProvenceCompressor(model=model.provence, rerank=False)
    (document,) = compressor.compress_documents([Document(page_content=DOCUMENTS[0])], QUERY)
    assert document.page_content == model.prune(QUERY, DOCUMENTS[0], min_sentences=0)
    passages = model.provence.process(QUERY, DOCUMENTS, options=PruningOptions(mode="off"), reorder=True)
    assert [passage.index for passage in passages[:2]] == [0, 1]


# --- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(joint_checkpoint: Path, dtype: str, assert_prunes_alike: Any) -> None:
    expected = reference(joint_checkpoint, dtype=dtype)
    model = load(joint_checkpoint, model_kwargs={"dtype": dtype})
    assert {str(p.dtype) for p in model.parameters()} == {f"torch.{dtype}"}
    assert_prunes_alike(model, expected, atol=0.01)
    model = load(joint_checkpoint)
    model.prune(QUERY, DOCUMENTS[0])  # at full precision first
    model.half() if dtype == "float16" else model.bfloat16()
    assert_prunes_alike(model, expected, atol=0.01)


def test_the_pruning_head_moves_with_the_model(joint_checkpoint: Path) -> None:
    model = load(joint_checkpoint)
    provence = model.provence
    assert provence.backend.device == "cpu"
    model.to("meta")  # the one other device that every machine has
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert provence.backend.device == "meta"


def test_pruning_is_done_in_evaluation_mode(joint_checkpoint: Path, assert_prunes_alike: Any) -> None:
    model = load(joint_checkpoint)
    model.train()
    assert_prunes_alike(model, reference(joint_checkpoint))


@pytest.mark.parametrize("max_length", [32, 96])
def test_max_length_is_the_window(
    joint_checkpoint: Path, tmp_path: Path, max_length: int, assert_prunes_alike: Any
) -> None:
    expected = reference(joint_checkpoint, max_length=max_length)
    model = load(joint_checkpoint, max_length=max_length)
    assert_prunes_alike(model, expected)
    later = load(joint_checkpoint)
    later.prune(QUERY, DOCUMENTS[0])  # with the checkpoint's window first
    later.max_seq_length = max_length
    assert_prunes_alike(later, expected)
    later.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    assert block_of(tmp_path / "saved")["max_length"] == max_length
    assert_prunes_alike(load(tmp_path / "saved"), expected)


def test_the_window_need_not_be_the_tokenizer_s(joint: Path) -> None:
    edit_config(joint, provence={**block_of(joint), "max_length": 24})
    model = load(joint)
    assert model.max_seq_length == 64
    assert model.provence.config.max_length == 24
    assert load(joint, max_length=64).provence.config.max_length == 64


def test_a_window_that_is_longer_than_the_positions(joint_checkpoint: Path) -> None:
    model = load(joint_checkpoint, max_length=97)
    with pytest.raises(InvalidInputError, match="max_length=97 is more than the 96 positions"):
        model.prune(QUERY, DOCUMENTS[0])


def test_prompts_stand_in_front_of_the_query(joint_checkpoint: Path, assert_same: Any) -> None:
    prompts = {"tea": "The tea: ", "dog": "A dog: "}
    model = load(joint_checkpoint, prompts=prompts, default_prompt_name="tea")
    theirs = reference(joint_checkpoint)
    queries, documents = QUERIES[:2], DOCUMENTS[:2]
    for given, prompt in (
        ({}, "The tea: "),
        ({"prompt_name": "dog"}, "A dog: "),
        ({"prompt": "Rain. "}, "Rain. "),
        ({"prompt": ""}, ""),
    ):
        output = model.predict_with_pruning(queries, documents, **given)
        expected = theirs.predict_with_pruning([prompt + query for query in queries], documents)
        assert_same(output, expected)
        np.testing.assert_allclose(
            output.ranking_scores, model.predict(PAIRS[:2], **given), rtol=0, atol=1e-6
        )
        assert model.prune(QUERY, documents[0], **given) == theirs.prune(prompt + QUERY, documents[0])
    with pytest.raises(ValueError, match="Prompt name 'cat' not found"):
        model.prune(QUERY, DOCUMENTS[0], prompt_name="cat")


def test_the_activation_is_that_of_predict(
    joint_checkpoint: Path, tmp_path: Path, assert_prunes_alike: Any
) -> None:
    for model in (load(joint_checkpoint, activation_fn=torch.nn.Identity()), load(joint_checkpoint)):
        model.prune(QUERY, DOCUMENTS[0])
        model.activation_fn = torch.nn.Identity()
        output = model.predict_with_pruning(QUERIES[:2], DOCUMENTS[:2])
        assert output.ranking_scores == output.ranking_logits
        np.testing.assert_allclose(output.ranking_scores, model.predict(PAIRS[:2]), rtol=0, atol=1e-5)
        model.save_pretrained(str(tmp_path), create_model_card=False)
        assert_prunes_alike(model, reference(tmp_path))


def test_another_activation_is_for_predict_alone(joint_checkpoint: Path, tmp_path: Path) -> None:
    model = load(joint_checkpoint, activation_fn=torch.nn.Tanh())
    assert len(model.predict(PAIRS)) == len(PAIRS)
    message = r"activation_fn must be a torch.nn.Sigmoid or torch.nn.Identity to prune, got Tanh\(\)"
    with pytest.raises(InvalidInputError, match=message):
        model.prune(QUERY, DOCUMENTS[0])
    with pytest.warns(UserWarning, match="the provence block is saved as it was loaded: activation_fn"):
        model.save_pretrained(str(tmp_path), create_model_card=False)
    assert block_of(tmp_path) == block_of(joint_checkpoint)


def test_a_larger_vocabulary(joint_checkpoint: Path, tmp_path: Path, assert_prunes_alike: Any) -> None:
    model = load(joint_checkpoint)
    model.prune(QUERY, DOCUMENTS[0])  # with the old vocabulary first
    model.tokenizer.add_tokens(["mat"])
    model.model.resize_token_embeddings(len(model.tokenizer) + 16)
    model.save_pretrained(str(tmp_path), create_model_card=False)
    assert_prunes_alike(model, reference(tmp_path))
