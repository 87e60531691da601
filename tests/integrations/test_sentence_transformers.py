"""PruningCrossEncoder against the stock class and against Provence, on tiny BERTs with random weights."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification

from langchain_provence import ProvenceCompressor
from provence_rag import (
    CheckpointError,
    InvalidInputError,
    Provence,
    ProvenceConfig,
    ProvenceOutput,
    PruningOptions,
)
from provence_rag.config import DynamicRule
from provence_rag.modeling.model import ProvenceModel
from sentence_transformers_provence import PruningCrossEncoder

TEXT = "the a cat dog sat on mat who what where old red house of rain and tea is hot cold ? ."
WORDS = TEXT.split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"
QUERY = "Who sat on the mat?"
DOCUMENTS = [
    "The old cat sat on the mat. Rain is cold. A red house.",
    "Tea is hot. The dog sat on a red mat. What is tea?",
    "",
    "A hot tea and a cold tea. " * 30,
]
PAIRS = [(QUERY, document) for document in DOCUMENTS]
QUERIES = [QUERY] * len(DOCUMENTS)
IDENTITY = "torch.nn.modules.linear.Identity"


def save_tokenizer(directory: Path) -> None:
    """A WordPiece tokenizer in the files that rerankers on the hub have."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS, *(f"##{c}" for c in LETTERS)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(pieces[:5])
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    specials = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]"}
    specials |= {"sep_token": "[SEP]", "unk_token": "[UNK]"}
    settings = {"do_lower_case": True, "model_max_length": 64, "tokenizer_class": "BertTokenizer"}
    (directory / "special_tokens_map.json").write_text(json.dumps(specials))
    (directory / "tokenizer_config.json").write_text(json.dumps({**specials, **settings}))


def transformer() -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=96,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=96,
        num_labels=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = BertForSequenceClassification(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():  # so that the input shows in the logits
                outer = "embeddings" in name or name.startswith("classifier")
                parameter.add_(torch.randn_like(parameter) * (0.5 if outer else 0.15))
    return model.eval()


@pytest.fixture(scope="session")
def joint_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("joint")
    head = torch.nn.Linear(32, 2)
    torch.nn.init.normal_(head.weight, std=0.5, generator=torch.Generator().manual_seed(6))
    torch.nn.init.zeros_(head.bias)
    promises = {share: {"default": DynamicRule(share=1.5 - share)} for share in (0.5, 0.9)}
    config = ProvenceConfig(max_length=64, threshold=0.3, promises=promises, dynamic=0.9)
    model = ProvenceModel(transformer(), config, head)
    model.save_pretrained(directory)
    save_tokenizer(directory)
    return directory


@pytest.fixture
def joint(joint_checkpoint: Path, tmp_path: Path) -> Path:
    """A joint checkpoint that may be changed."""
    return Path(shutil.copytree(joint_checkpoint, tmp_path / "joint"))


@pytest.fixture(params=["older", "newer"])
def reranker(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A ranking checkpoint as the ms-marco models on the hub are laid out, the older and the newer way."""
    directory = tmp_path / "reranker"
    transformer().save_pretrained(directory)
    save_tokenizer(directory)
    edit_config(
        directory,
        **(
            {"sbert_ce_default_activation_function": IDENTITY}
            if request.param == "older"
            else {"sentence_transformers": {"activation_fn": IDENTITY, "version": "4.1.0"}}
        ),
    )
    return directory


def edit_config(directory: Path, **values: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def block_of(directory: Path) -> dict[str, Any]:
    block: dict[str, Any] = json.loads((directory / "config.json").read_text())["provence"]
    return block


def load(directory: Path, **settings: Any) -> PruningCrossEncoder:
    return PruningCrossEncoder(str(directory), device="cpu", **settings)


def reference(directory: Path, **settings: Any) -> Provence:
    return Provence.from_pretrained(directory, backend="torch", device="cpu", **settings)


def assert_ranks_alike(ours: CrossEncoder, theirs: CrossEncoder) -> None:
    # Nearly: kernels differ a little with the weights' place in memory.
    np.testing.assert_allclose(ours.predict(PAIRS), theirs.predict(PAIRS), rtol=0, atol=1e-5)
    for found, expected in zip(
        ours.rank(QUERY, DOCUMENTS, top_k=3, return_documents=True),
        theirs.rank(QUERY, DOCUMENTS, top_k=3, return_documents=True),
        strict=True,
    ):
        assert found == {**expected, "score": pytest.approx(expected["score"], abs=1e-5)}


def assert_same(ours: ProvenceOutput, theirs: ProvenceOutput, atol: float = 1e-5) -> None:
    """All is equal, but numbers nearly."""

    def numbers(output: ProvenceOutput) -> list[float | None]:
        rows = [output.ranking_scores, output.ranking_logits, *output.pruning_probs]
        return [number for row in rows for number in row]

    assert numbers(ours) == pytest.approx(numbers(theirs), abs=atol)
    names = ("ranking_scores", "ranking_logits", "pruning_probs", "pruning_logits")
    assert replace(ours, **{name: getattr(theirs, name) for name in names}) == theirs


def assert_prunes_alike(model: PruningCrossEncoder, provence: Provence, atol: float = 1e-5) -> None:
    settings: dict[str, Any] = {"min_sentences": 0, "return_documents": True}
    ours = model.predict_with_pruning(QUERIES, DOCUMENTS, **settings)
    assert_same(ours, provence.predict_with_pruning(QUERIES, DOCUMENTS, **settings), atol)
    assert 0 < ours.num_pruned_sentences < sum(map(len, ours.sentences))  # else it would say little


# --- a public reranker ------------------------------------------------------------------------------------


def test_a_public_reranker_ranks_as_with_the_stock_class(reranker: Path) -> None:
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
    reranker: Path, tmp_path: Path, saving_class: type[CrossEncoder]
) -> None:
    model = saving_class(str(reranker), device="cpu")
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    assert "provence" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    scores = model.predict(PAIRS[:2])
    assert_ranks_alike(load(tmp_path / "saved"), model)
    np.testing.assert_allclose(reference(tmp_path / "saved").predict(PAIRS[:2]), scores, rtol=0, atol=1e-5)


# --- a joint checkpoint -----------------------------------------------------------------------------------


def test_a_joint_checkpoint_ranks_as_with_the_stock_class(joint_checkpoint: Path) -> None:
    assert_ranks_alike(load(joint_checkpoint), CrossEncoder(str(joint_checkpoint), device="cpu"))


def test_it_prunes_as_provence_does(joint_checkpoint: Path) -> None:
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


def test_no_code_of_a_checkpoint_is_run(joint: Path) -> None:
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
def test_half_precision(joint_checkpoint: Path, dtype: str) -> None:
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


def test_pruning_is_done_in_evaluation_mode(joint_checkpoint: Path) -> None:
    model = load(joint_checkpoint)
    model.train()
    assert_prunes_alike(model, reference(joint_checkpoint))


@pytest.mark.parametrize("max_length", [32, 96])
def test_max_length_is_the_window(joint_checkpoint: Path, tmp_path: Path, max_length: int) -> None:
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


def test_prompts_stand_in_front_of_the_query(joint_checkpoint: Path) -> None:
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


def test_the_activation_is_that_of_predict(joint_checkpoint: Path, tmp_path: Path) -> None:
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


def test_a_larger_vocabulary(joint_checkpoint: Path, tmp_path: Path) -> None:
    model = load(joint_checkpoint)
    model.prune(QUERY, DOCUMENTS[0])  # with the old vocabulary first
    model.tokenizer.add_tokens(["mat"])
    model.model.resize_token_embeddings(len(model.tokenizer) + 16)
    model.save_pretrained(str(tmp_path), create_model_card=False)
    assert_prunes_alike(model, reference(tmp_path))


# --- training, copying, saving ----------------------------------------------------------------------------


def dataset() -> Any:
    from datasets import Dataset

    return Dataset.from_dict(
        {"query": QUERIES * 2, "document": DOCUMENTS[::-1] * 2, "label": [1.0, 0.0, 0.0, 1.0] * 2}
    )


def test_training_changes_what_is_pruned(joint_checkpoint: Path, tmp_path: Path) -> None:
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    model = load(joint_checkpoint)
    before = model.predict_with_pruning(QUERIES, DOCUMENTS)
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(tmp_path / "run"),
        num_train_epochs=2,
        per_device_train_batch_size=4,
        learning_rate=2e-3,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = CrossEncoderTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset(),
        eval_dataset=dataset(),
        loss=BinaryCrossEntropyLoss(model),
    )
    trainer.train()
    after = model.predict_with_pruning(QUERIES, DOCUMENTS)
    assert after.pruning_probs[0] != pytest.approx(before.pruning_probs[0], abs=0.01)
    best = Path(trainer.state.best_model_checkpoint or "")
    assert_prunes_alike(load(best), reference(best))
    assert_prunes_alike(model, reference(best))
    trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")
def test_fit(joint_checkpoint: Path, tmp_path: Path) -> None:
    from sentence_transformers import InputExample

    model = load(joint_checkpoint)
    before = model.prune(QUERY, DOCUMENTS[1], return_scores=True)[1]
    examples = [InputExample(texts=list(pair), label=float(i % 2)) for i, pair in enumerate(PAIRS)]
    loader: Any = torch.utils.data.DataLoader(examples, batch_size=4)  # type: ignore[arg-type]
    model.fit(
        loader, epochs=1, warmup_steps=0, optimizer_params={"lr": 1e-2}, output_path=str(tmp_path / "fit")
    )
    assert model.prune(QUERY, DOCUMENTS[1], return_scores=True)[1] != pytest.approx(before, abs=0.01)


def test_what_it_saves_all_three_load(joint_checkpoint: Path, tmp_path: Path) -> None:
    model = load(joint_checkpoint)
    model.save_pretrained(str(tmp_path))
    for file in ("config.json", "modules.json", "config_sentence_transformers.json"):
        assert "sentence_transformers_provence" not in (tmp_path / file).read_text()
    assert block_of(tmp_path) == block_of(joint_checkpoint)
    assert {"pruning_head.weight", "pruning_head.bias"} < load_file(tmp_path / "model.safetensors").keys()
    assert_ranks_alike(load(tmp_path), model)
    assert_ranks_alike(CrossEncoder(str(tmp_path), device="cpu"), model)
    for provence in (reference(tmp_path), reference(joint_checkpoint)):
        assert_prunes_alike(model, provence)
        assert_prunes_alike(load(tmp_path), provence)


def test_half_precision_is_saved_as_such(joint_checkpoint: Path, tmp_path: Path) -> None:
    model = load(joint_checkpoint).half()
    model.save_pretrained(str(tmp_path), create_model_card=False)
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}
    assert_prunes_alike(load(tmp_path), reference(tmp_path, dtype="float16"), atol=0.01)
    assert_prunes_alike(load(tmp_path, model_kwargs={"dtype": "float32"}), reference(tmp_path))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("used", [False, True])
def test_a_copy_has_its_own_weights(joint_checkpoint: Path, duplicate: Any, used: bool) -> None:
    model = load(joint_checkpoint)
    if used:
        model.prune(QUERY, DOCUMENTS[0])
    twin = duplicate(model)
    with torch.no_grad():
        model.model.pruning_head.bias.copy_(torch.tensor([50.0, -50.0]))
    assert model.prune(QUERY, DOCUMENTS[0], min_sentences=0) == ""
    assert_prunes_alike(twin, reference(joint_checkpoint))


def test_a_head_that_another_class_has_left_out(joint_checkpoint: Path, tmp_path: Path) -> None:
    stock = CrossEncoder(str(joint_checkpoint), device="cpu")
    stock.save_pretrained(str(tmp_path), create_model_card=False)
    model = load(tmp_path)
    assert_ranks_alike(model, stock)
    with pytest.raises(CheckpointError) as raised:
        model.prune(QUERY, DOCUMENTS[0])
    assert str(raised.value) == (
        f"the weights in {tmp_path} have no pruning head: the class that saved them leaves it out. Use "
        "predict and rank, load a joint checkpoint, such as the bundled one in provence_rag/models/mini, or "
        "train a new head with enable_pruning=True"
    )
    model.save_pretrained(str(tmp_path / "again"), create_model_card=False)


def test_a_head_that_does_not_fit(joint: Path) -> None:
    tensors = load_file(joint / "model.safetensors")
    save_file({**tensors, "pruning_head.bias": torch.zeros(3)}, joint / "model.safetensors")
    model = load(joint)
    assert len(model.predict(PAIRS)) == len(PAIRS)
    with pytest.raises(CheckpointError, match=r"the pruning head in .* does not fit: (.|\n)*size mismatch"):
        model.prune(QUERY, DOCUMENTS[0])


def test_a_block_of_a_newer_version(joint: Path) -> None:
    edit_config(joint, provence={**block_of(joint), "colour": "red"})
    model = load(joint)
    assert len(model.predict(PAIRS)) == len(PAIRS)
    with pytest.raises(
        CheckpointError, match="unknown keys colour; it may need a newer version of provence-rag"
    ):
        model.prune(QUERY, DOCUMENTS[0])


def test_the_load_report_does_not_speak_of_the_pruning_head(
    joint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)  # it does not propagate
    try:
        CrossEncoder(str(joint), device="cpu")
        assert "pruning_head" in caplog.text  # else this test would say nothing
        caplog.clear()
        load(joint)
        assert caplog.text == ""
        tensors = load_file(joint / "model.safetensors")
        del tensors["bert.pooler.dense.bias"]
        save_file(tensors, joint / "model.safetensors", metadata={"format": "pt"})
        load(joint)
        assert "bert.pooler.dense.bias" in caplog.text
    finally:
        logger.removeHandler(caplog.handler)


def test_the_model_card(joint_checkpoint: Path, tmp_path: Path) -> None:
    load(joint_checkpoint).save_pretrained(str(tmp_path))
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "library_name: sentence-transformers" in card
    assert 'model = CrossEncoder("cross_encoder_model_id")' in card
    model = load(tmp_path)  # reuses the card
    model.save_pretrained(str(tmp_path / "named"), model_name="owner/name")
    assert 'model = CrossEncoder("owner/name")' in (tmp_path / "named" / "README.md").read_text(
        encoding="utf-8"
    )


def test_pushing_to_the_hub(joint_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import CommitInfo, HfApi, RepoUrl

    uploads: list[dict[str, Any]] = []

    def upload_folder(self: HfApi, *, folder_path: str, **settings: Any) -> CommitInfo:
        uploads.append(settings)
        shutil.copytree(folder_path, tmp_path / "pushed")
        url = "https://huggingface.co/owner/name/commit/0"
        return CommitInfo(commit_url=url, commit_message="", commit_description="", oid="0")

    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: RepoUrl("https://huggingface.co/owner/name"))
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    model = load(joint_checkpoint)
    model.push_to_hub("owner/name", create_pr=True)
    (upload,) = uploads
    assert "from sentence_transformers_provence import PruningCrossEncoder" in upload["commit_description"]
    assert_prunes_alike(model, reference(tmp_path / "pushed"))
