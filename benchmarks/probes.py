"""What fresh processes run. Nothing is imported before it is needed: it would be measured, too."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import count, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provence_rag import Provence

__all__ = [
    "answers_in_process",
    "first_call",
    "has_module",
    "import_module",
    "load",
    "long_document",
    "numbered",
    "prune_file",
    "prune_pairs",
    "rank_pairs",
    "stream",
]

_SLICE = 500
"""Passages a call, where a stream of them is processed."""


def load(name: str) -> Provence:
    """The bundled model: `int8` (ONNX Runtime), `openvino`, `bfloat16` or `float32` (torch); or the fake."""
    from provence_rag import Provence
    from provence_rag.testing import fake_provence

    if name == "fake":
        return fake_provence()
    if name == "openvino":
        return Provence.from_pretrained(backend="openvino")
    return Provence.from_pretrained(backend="onnx" if name == "int8" else "torch", device="cpu", dtype=name)


def answers_in_process(bodies: Sequence[str], seconds: float) -> float:
    """Answer the bodies of `POST /v1/prune` in turn for some time; how many a second."""
    model = load("int8")

    def answer(body: str) -> None:
        values = json.loads(body)
        passages = model.process(values["query"], values["documents"])
        json.dumps([passage.to_dict() for passage in passages])

    answer(bodies[0])
    start = time.perf_counter()
    for number in count(1):
        answer(bodies[number % len(bodies)])
        if (passed := time.perf_counter() - start) >= seconds:
            break
    return number / passed


def has_module(name: str) -> bool:
    """Whether a library is installed."""
    return find_spec(name) is not None


def import_module(name: str) -> None:
    """Import a module, and what it needs."""
    importlib.import_module(name)


def prune_pairs(name: str, pairs: Sequence[Sequence[str]]) -> None:
    """Rerank and prune."""
    queries, documents = zip(*pairs, strict=True)
    load(name).predict_with_pruning(queries, documents, batch_size=None)


def rank_pairs(pairs: Sequence[Sequence[str]]) -> None:
    """Rerank with sentence-transformers."""
    from benchmarks.common import cross_encoder

    cross_encoder().predict([(query, document) for query, document in pairs], show_progress_bar=False)


def stream(name: str, query: str, texts: Sequence[str], number: int) -> float:
    """Process passages from an endless source, slice by slice, and keep none.

    Args:
        name: See `load`.
        query: The question.
        texts: What passages are made of: each time round, with another number in front.
        number: How many passages.

    Returns:
        Seconds, without those of loading and warming up.
    """
    model = load(name)
    model.process(query, texts[:100])
    passages = islice(numbered(texts), number)
    start = time.perf_counter()
    while chunk := list(islice(passages, _SLICE)):
        model.process(query, chunk)
    return time.perf_counter() - start


def long_document(name: str, query: str, texts: Sequence[str], kilobytes: int) -> float:
    """Process one document, made of numbered passages, as often as a second allows.

    Args:
        name: See `load`.
        query: The question.
        texts: What the document is made of.
        kilobytes: Its size, in thousands of bytes.

    Returns:
        Seconds of one time, without those of loading and warming up.
    """
    model = load(name)
    model.process(query, texts[:20])
    parts: list[str] = []
    size = left = 1000 * kilobytes
    for text in numbered(texts):
        parts.append(text)
        left -= len(text.encode()) + 1
        if left <= 0:
            break
    document = "\n".join(parts).encode()[:size].decode(errors="ignore")
    start = time.perf_counter()
    repeats = 0
    while time.perf_counter() < start + 1:
        model.process(query, [document])
        repeats += 1
    return (time.perf_counter() - start) / repeats


def first_call(name: str, query: str, texts: Sequence[str]) -> tuple[float, float]:
    """Seconds that loading takes, and the first call."""
    importlib.import_module("provence_rag")
    start = time.perf_counter()
    model = load(name)
    loaded = time.perf_counter()
    model.process(query, texts)
    return loaded - start, time.perf_counter() - loaded


def prune_file(name: str, source: str, target: str) -> float:
    """Prune a table with the columns `query` and `documents`; seconds, without those of loading."""
    from provence_rag.batches import ProvenceBatch, prune_table

    batch = ProvenceBatch(model=load(name))
    batch({"query": ["warm up"], "documents": ["It is cold."]})
    start = time.perf_counter()
    prune_table(source, target, batch)
    return time.perf_counter() - start


def numbered(texts: Sequence[str]) -> Iterator[str]:
    """The texts again and again, each time another: equal documents would be read once."""
    return (f"{number}. {text}" for number in count() for text in texts)
