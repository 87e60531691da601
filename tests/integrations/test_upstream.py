"""sentence-transformers' own tests of CrossEncoder, run with PruningCrossEncoder.

They are in its repository, not in its wheel. Name a clone that fits the installed version, and run

    SENTENCE_TRANSFORMERS_CLONE=path/to/sentence-transformers pytest -s tests/integrations/test_upstream.py

The models and the data set on the hub that most of them load are replaced by tiny ones. What a test says
of a real model's scores then fails, and so does what loads yet another model, with either class: the claim is
that what passes with CrossEncoder passes with PruningCrossEncoder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from provence_rag import ProvenceConfig
from provence_rag.modeling.model import ProvenceModel

CLONE = os.environ.get("SENTENCE_TRANSFORMERS_CLONE", "")
TESTS = "tests/cross_encoder"
RERANKER = "cross-encoder-testing/reranker-bert-tiny-gooaq-bce"
COMMIT = "0" * 40

pytestmark = pytest.mark.skipif(
    not CLONE, reason="SENTENCE_TRANSFORMERS_CLONE names no clone of sentence-transformers"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """One that has a token for each word in the tests."""
    texts = [path.read_text(encoding="utf-8").lower() for path in (Path(CLONE) / TESTS).rglob("*.py")]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    pieces += sorted({word for text in texts for word in re.findall(r"[a-z]+|[^\w\s]", text)})
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    specials = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **specials)


def bert(cls: Any = BertForSequenceClassification, **settings: Any) -> Any:
    config = BertConfig(
        vocab_size=8192,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        initializer_range=0.2,
        **{"num_labels": 1, **settings},
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return cls(config).eval()


def hub_in(home: Path, reranker: Any) -> None:
    """Fill the cache of downloads in `home`."""
    words = tokenizer()

    def add(name: str) -> Path:
        repository = home / "hub" / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(COMMIT)
        words.save_pretrained(repository / "snapshots" / COMMIT)
        return repository / "snapshots" / COMMIT

    reranker.save_pretrained(add(RERANKER))
    again = CrossEncoder(str(home / "hub" / f"models--{RERANKER.replace('/', '--')}" / "snapshots" / COMMIT))
    again.save_pretrained(str(add(f"{RERANKER}-STv54")))
    tanh = "torch.nn.modules.activation.Tanh"
    bert(sbert_ce_default_activation_function=tanh).save_pretrained(add(f"{RERANKER}-tanh-v3"))
    bert(sentence_transformers={"activation_fn": tanh}).save_pretrained(add(f"{RERANKER}-tanh-v4"))
    bert(num_labels=3).save_pretrained(add("cross-encoder/nli-MiniLM2-L6-H768"))
    bert(BertModel).save_pretrained(add("distilbert/distilroberta-base"))
    add("google-bert/bert-base-uncased")
    embedder = add("sentence-transformers-testing/stsb-bert-tiny-safetensors")
    bert(BertModel).save_pretrained(embedder)
    modules: list[Any] = [Transformer(str(embedder)), Pooling(32)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(embedder))


def outcomes(home: Path, cross_encoder: str) -> dict[str, str]:
    """What becomes of each test: `passed`, or `failure`, `error`, `skipped`."""
    report = home / f"{cross_encoder}.xml"
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    settings = {"CROSS_ENCODER": cross_encoder, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pytest", TESTS, "-p", "upstream_plugin", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=CLONE,
        env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert report.is_file(), done.stdout + done.stderr
    return {
        f"{case.get('classname')}::{case.get('name')}": case[0].tag if len(case) else "passed"
        for case in ElementTree.parse(report).iter("testcase")
    }


@pytest.mark.parametrize("mode", ["ranking", "joint"])
def test_what_passes_with_the_stock_class_passes_with_ours(mode: str, tmp_path: Path) -> None:
    hub_in(tmp_path, ProvenceModel(bert(), ProvenceConfig()) if mode == "joint" else bert())
    stock, ours = (outcomes(tmp_path, name) for name in ("CrossEncoder", "PruningCrossEncoder"))
    passed = {test for test, outcome in stock.items() if outcome == "passed"}
    print(f"{mode}: {len(passed)} of {len(stock)} pass with CrossEncoder; of the others,")
    for test in sorted(stock.keys() - passed):
        print(f"  {stock[test]} / {ours[test]}: {test}")
    assert len(passed) > 100
    assert [test for test in sorted(passed) if ours[test] != "passed"] == []
