"""Tiny BERTs with random weights, and what it means that two models agree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification

from provence_rag import (
    Provence,
    ProvenceConfig,
    ProvenceOutput,
)
from provence_rag.config import DynamicRule
from provence_rag.modeling.model import ProvenceModel
from sentence_transformers_provence import PruningCrossEncoder
from tests.integrations.sentence_transformers.common import DOCUMENTS, PAIRS, QUERIES, QUERY, edit_config

TEXT = "the a cat dog sat on mat who what where old red house of rain and tea is hot cold ? ."
WORDS = TEXT.split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"
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


@pytest.fixture(scope="session")
def assert_ranks_alike() -> Callable[..., None]:
    def assert_ranks_alike(ours: CrossEncoder, theirs: CrossEncoder) -> None:
        # Nearly: kernels differ a little with the weights' place in memory.
        np.testing.assert_allclose(ours.predict(PAIRS), theirs.predict(PAIRS), rtol=0, atol=1e-5)
        for found, expected in zip(
            ours.rank(QUERY, DOCUMENTS, top_k=3, return_documents=True),
            theirs.rank(QUERY, DOCUMENTS, top_k=3, return_documents=True),
            strict=True,
        ):
            assert found == {**expected, "score": pytest.approx(expected["score"], abs=1e-5)}

    return assert_ranks_alike


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    def assert_same(ours: ProvenceOutput, theirs: ProvenceOutput, atol: float = 1e-5) -> None:
        """All is equal, but numbers nearly."""

        def numbers(output: ProvenceOutput) -> list[float | None]:
            rows = [output.ranking_scores, output.ranking_logits, *output.pruning_probs]
            return [number for row in rows for number in row]

        assert numbers(ours) == pytest.approx(numbers(theirs), abs=atol)
        names = ("ranking_scores", "ranking_logits", "pruning_probs", "pruning_logits")
        assert replace(ours, **{name: getattr(theirs, name) for name in names}) == theirs

    return assert_same


@pytest.fixture(scope="session")
def assert_prunes_alike(assert_same: Callable[..., None]) -> Callable[..., None]:
    def assert_prunes_alike(model: PruningCrossEncoder, provence: Provence, atol: float = 1e-5) -> None:
        settings: dict[str, Any] = {"min_sentences": 0, "return_documents": True}
        ours = model.predict_with_pruning(QUERIES, DOCUMENTS, **settings)
        assert_same(ours, provence.predict_with_pruning(QUERIES, DOCUMENTS, **settings), atol)
        assert 0 < ours.num_pruned_sentences < sum(map(len, ours.sentences))  # else it would say little

    return assert_prunes_alike
