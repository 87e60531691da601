"""Models in other processes: pickled, spawned, forked. The processes are real."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from provence_rag import Provence
from provence_rag.hub import portable_name
from provence_rag.testing import fake_provence

QUERY = "fox"
TEXT = "The fox. The cat. A word."

# Each process of these loads or inherits the bundled model, and reads enough to use all threads.
BEGIN = """
import multiprocessing, sys
from provence_rag import Provence

question = "Who patented the paper coffee filter?"
texts = [f"Number {i}. " + "Melitta Bentz patented it in 1908. It rains. " * 20 for i in range(4)]


def prune(text):
    return model.prune(question, text, 0.5, 1)


if __name__ == "__main__":
    model = Provence.from_pretrained(backend=sys.argv[1])
    expected = [prune(text) for text in texts]
    assert all(expected)
"""
FORKED = """
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(prune, texts) == expected
"""
SPAWNED = """
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(model.prune, [(question, text, 0.5, 1) for text in texts]) == expected
"""
JOBLIB = """
    from joblib import Parallel, delayed

    jobs = [delayed(model.prune)(question, text, 0.5, 1) for text in texts]
    assert Parallel(n_jobs=2, backend="loky")(jobs) == expected
"""
MEMORY = """
    import resource

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    before = resident()
    model.process("fox", ["The fox sat on a mat. " * 90] * 16, batch_size=16)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak - before > 100e6
    assert resident() - before < (peak - before) / 4
"""
LANGCHAIN = """
    from concurrent.futures import ProcessPoolExecutor
    from langchain_core.documents import Document
    from langchain_provence import ProvenceCompressor

    compressor = ProvenceCompressor(model=model, min_sentences=1)
    documents = [Document(text) for text in texts]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        result = pool.submit(compressor.compress_documents, documents, question).result()
    assert result == compressor.compress_documents(documents, question)
"""


def run(tmp_path: Path, end: str, backend: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(BEGIN + end, encoding="utf-8")
    subprocess.run([sys.executable, str(script), backend], check=True, timeout=500, cwd=tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_forked_process_uses_the_model_that_it_inherits(tmp_path: Path, backend: str) -> None:
    if backend == "torch" and find_spec("torch") is None:
        pytest.skip("needs torch")
    run(tmp_path, FORKED, backend)


def test_a_spawned_process_loads_it_again(tmp_path: Path) -> None:
    run(tmp_path, SPAWNED, "onnx")


def test_joblib(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    run(tmp_path, JOBLIB, "onnx")


def test_a_compressor_that_holds_a_loaded_model(tmp_path: Path) -> None:
    pytest.importorskip("langchain_core")
    run(tmp_path, LANGCHAIN, "onnx")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_a_large_batch_is_given_back(tmp_path: Path) -> None:
    run(tmp_path, MEMORY, "onnx")


def test_a_pickle_is_how_the_model_was_loaded(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent)
    model = Provence.from_pretrained("checkpoint", max_length=32, threads=1, chunker=str.splitlines)
    pickled = pickle.dumps(model)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    copy = pickle.loads(pickled)
    assert copy.config == model.config
    assert copy.process(QUERY, [TEXT, "a\nb"]) == model.process(QUERY, [TEXT, "a\nb"])
    assert len(copy.process(QUERY, ["a\nb"])[0].sentences) == 2  # by the same chunker
    assert pickle.dumps(copy) == pickled


def test_the_bundled_model_is_pickled_by_name() -> None:
    pickled = pickle.dumps(Provence.from_pretrained())
    assert b"mini" not in pickled  # wherever the package is installed
    assert pickle.loads(pickled).backend.name == "onnx"


def test_a_model_of_the_hub_is_pickled_with_its_commit(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "0123abc"
    assert portable_name("owner/name", snapshot) == {"name_or_path": "owner/name", "revision": "0123abc"}
    assert portable_name(None, snapshot) == {"name_or_path": None}


def test_no_access_token_is_pickled(checkpoint: Path) -> None:
    assert b"secret" not in pickle.dumps(Provence.from_pretrained(checkpoint, token="secret"))


def test_a_model_that_was_not_loaded_is_pickled_by_value() -> None:
    model = fake_provence()
    copy = pickle.loads(pickle.dumps(model))
    assert copy.process(QUERY, [TEXT]) == model.process(QUERY, [TEXT])
