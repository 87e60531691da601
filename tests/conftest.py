"""What several tests need: small tokenizers of three kinds, models on them, and a checkpoint directory."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from provence_rag import Provence, ProvenceConfig
from provence_rag.inference.arrays import IntArray
from provence_rag.inference.backend import Logits
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.inference.engine import Engine
from provence_rag.testing import fake_provence

if "PYTEST_XDIST_WORKER" in os.environ:
    # There is a worker for each core: threads of torch in each would wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?#-|\n"
_KANA_AND_KANJI = (
    "あいうえおかがきくけこさしすせそたちつてとなにのはひまもやよらりるれろわをん東京日本語首都大人、。「」"
)
_WORDS = ["the", "fox", "cat", "word", "sleep", "capital", "Japan", "Tokyo", "東京", "日本", "です", "した"]


def _unigram() -> Tokenizer:
    """Like XLM-R: Metaspace, NFKC, and a token for white space alone."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *_LETTERS, *_KANA_AND_KANJI]
    scores = [0.0] * 4 + [-8.0] * (len(pieces) - 4)
    words = [*_WORDS, *(f"▁{word}" for word in _WORDS)]
    tokenizer = Tokenizer(
        models.Unigram(list(zip([*pieces, *words], [*scores, *[-6.0] * len(words)], strict=True)), unk_id=3)
    )
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def _wordpiece() -> Tokenizer:
    """Like BERT: no tokens for white space, one unknown token for a giant word, two token types."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, *_KANA_AND_KANJI, *_WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def _bytes() -> Tokenizer:
    """Like byte-level BPE without merges: several tokens a character, and tokens for all white space."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A </s> $B", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "unigram": _unigram,
    "wordpiece": _wordpiece,
    "bytes": _bytes,
}


@pytest.fixture(params=TOKENIZERS)
def raw_tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """A fresh `tokenizers.Tokenizer` of each kind."""
    return TOKENIZERS[request.param]()


@pytest.fixture(scope="session", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> PairTokenizer:
    """A small tokenizer of each kind."""
    return PairTokenizer(TOKENIZERS[request.param]())


@contextmanager
def _serving(app: Any) -> Iterator[str]:
    """Run an ASGI application on a free port of this machine, and give its URL."""
    uvicorn = pytest.importorskip("uvicorn")
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., str]]:
    """Start a server with a model and settings of `ServerSettings`; it runs until the end of the tests."""
    pytest.importorskip("fastapi")
    from provence_rag.server import ServerSettings, create_app

    with ExitStack() as running:
        yield lambda model, **settings: running.enter_context(
            _serving(create_app(ServerSettings(model=model, **settings)))
        )


class HashBackend:
    """A model for any tokenizer: each id has a keep logit of its own, a window their mean as its score."""

    name = "hash"
    device = "cpu"
    pad_to_multiple_of = 1

    def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
        keep = (input_ids * 7919 % 101 / 10 - 5).astype(np.float32)
        pruning = np.stack([np.zeros_like(keep), keep], axis=-1)
        means = [row[: int(mask.sum())].mean() for row, mask in zip(keep, attention_mask, strict=True)]
        return Logits(np.array(means, dtype=np.float32), pruning)


@pytest.fixture(scope="session")
def hash_backend() -> HashBackend:
    """See `HashBackend`."""
    return HashBackend()


@pytest.fixture(scope="session")
def model_on(hash_backend: HashBackend) -> Callable[..., Provence]:
    """A model with one of the small tokenizers, or the fake one, with windows of a given length."""

    @cache
    def model_on(kind: str, max_length: int) -> Provence:
        if kind == "fake":
            return fake_provence(max_length=max_length)
        pairs = PairTokenizer(TOKENIZERS[kind]())
        config = ProvenceConfig(max_length=max_length)
        unknown = pairs.unknown_id
        return Provence(Engine(hash_backend, pairs, config, pad_token_id=0, unknown_token_id=unknown))

    return model_on


def _save_onnx(
    path: Path,
    *,
    ranking: str | None = None,
    pruning: str | None = None,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
) -> None:
    """Write an ONNX model that takes milliseconds, with the outputs that have a name.

    The ranking logit is the share of odd ids among a window's tokens; an output `logits` has shape (B, 1), as
    in stock exports. The keep logit of a token with an even id is 0.5 and its drop logit -0.5; the other way
    round for an odd one.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value: Any) -> Any:
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))

    def info(name: str, kind: int, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, kind, list(shape))

    nodes = [
        constant("two", np.int64(2)),
        constant("rows", np.array([1], dtype=np.int64)),
        constant("end", np.array([-1], dtype=np.int64)),
        constant("half", np.float32(0.5)),
        helper.make_node("Mod", [inputs[0], "two"], ["parity"]),
        helper.make_node("Cast", ["parity"], ["odd"], to=TensorProto.FLOAT),
    ]
    outputs = []
    if ranking is not None:
        keepdims = int(ranking == "logits")
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["odd", "mask"], ["read"]),
            helper.make_node("ReduceSum", ["read", "rows"], ["sum"], keepdims=keepdims),
            helper.make_node("ReduceSum", ["mask", "rows"], ["count"], keepdims=keepdims),
            helper.make_node("Div", ["sum", "count"], [ranking]),
        ]
        outputs.append(info(ranking, TensorProto.FLOAT, "batch", *([1] * keepdims)))
    if pruning is not None:
        nodes += [
            helper.make_node("Unsqueeze", ["odd", "end"], ["odd_column"]),
            helper.make_node("Sub", ["half", "odd_column"], ["keep"]),
            helper.make_node("Neg", ["keep"], ["drop"]),
            helper.make_node("Concat", ["drop", "keep"], [pruning], axis=-1),
        ]
        outputs.append(info(pruning, TensorProto.FLOAT, "batch", "tokens", 2))
    if ranking is None and pruning is None:
        outputs.append(info("odd", TensorProto.FLOAT, "batch", "tokens"))
    graph = helper.make_graph(
        nodes, "parity", [info(name, TensorProto.INT64, "batch", "tokens") for name in inputs], outputs
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def save_onnx() -> Callable[..., None]:
    """Writes a tiny ONNX model; see `_save_onnx`."""
    return _save_onnx


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint directory of a joint model, with a tokenizer and an ONNX export."""
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    values = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "provence": ProvenceConfig(max_length=64).to_dict(),
    }
    (directory / "config.json").write_text(json.dumps(values), encoding="utf-8")
    _wordpiece().save(str(directory / "tokenizer.json"))
    _save_onnx(directory / "onnx" / "model.onnx", ranking="ranking_logits", pruning="pruning_logits")
    return directory


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], Callable[[], set[str]]]:
    """Puts a directory on the hub, as `owner/name`; what comes back tells which files were downloaded."""

    def publish(source: Path) -> Callable[[], set[str]]:
        snapshot = tmp_path / "hub" / "snapshots" / "main"

        def snapshot_download(name: str, *, allow_patterns: list[str], **_: Any) -> str:
            assert name == "owner/name"
            for file in huggingface_hub.utils.filter_repo_objects(
                files_in(source), allow_patterns=allow_patterns
            ):
                (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / file, snapshot / file)
            return str(snapshot)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        return lambda: set(files_in(snapshot))

    return publish


def files_in(directory: Path) -> list[str]:
    return [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def tiny_reranker(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cross-encoder as anyone may have one: a tiny BERT with one label, and no word of Provence."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    text = "the a cat dog sat on mat who what where old red house of rain and tea is hot cold ? ."
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *text.split()]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=1,
    )
    directory = str(tmp_path_factory.mktemp("reranker"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(directory)
    specials = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **specials).save_pretrained(
        directory
    )
    return directory
