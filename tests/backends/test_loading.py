from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provence_rag import CheckpointError, InvalidInputError, MissingExtraError, Provence
from provence_rag.backends import loading
from provence_rag.backends.loading import fitting_backends, load_backend
from provence_rag.backends.onnx import OnnxBackend


@pytest.mark.parametrize(
    ("backend", "device", "dtype", "fitting"),
    [
        ("auto", None, None, ["onnx", "torch"]),
        ("auto", "cpu", "float32", ["onnx", "torch"]),
        ("auto", "cuda", None, ["torch"]),
        ("auto", None, "bfloat16", ["torch"]),
        ("auto", "cpu", "int8", ["onnx"]),
        ("onnx", "cpu", None, ["onnx"]),
        ("openvino", "cpu", "int8", ["openvino"]),
        ("torch", "cuda:1", "float16", ["torch"]),
    ],
)
def test_fitting_backends(backend: str, device: str | None, dtype: str | None, fitting: list[str]) -> None:
    assert fitting_backends(backend, device, dtype) == fitting


@pytest.mark.parametrize(
    ("backend", "device", "dtype", "message"),
    [
        ("tensorflow", None, None, "backend must be 'auto', 'onnx', 'openvino' or 'torch', got 'tensorflow'"),
        ("auto", 0, None, "device must be a string such as 'cpu' or 'cuda:0', got 0"),
        ("auto", "", None, "device must be a string such as 'cpu' or 'cuda:0', got ''"),
        (
            "auto",
            None,
            "int4",
            "dtype must be one of int8, float32, float16, bfloat16 for backend='auto', got 'int4'",
        ),
        ("onnx", None, "float16", "dtype must be one of int8, float32 for backend='onnx', got 'float16'"),
        (
            "torch",
            None,
            "int8",
            "dtype must be one of float32, float16, bfloat16 for backend='torch', got 'int8'",
        ),
        (
            "onnx",
            "cuda",
            None,
            "device='cuda' needs torch, but backend='onnx' with dtype=None runs on the CPU only: "
            "use backend='torch' and one of float32, float16, bfloat16",
        ),
        ("auto", "cuda", "int8", "device='cuda' needs torch, but backend='auto' with dtype='int8' runs on"),
        ("openvino", None, "float32", "dtype must be one of int8 for backend='openvino', got 'float32'"),
        ("openvino", "cuda", None, "device='cuda' needs torch, but backend='openvino' with dtype=None runs"),
    ],
)
def test_what_does_not_go_together(backend: str, device: str | None, dtype: str | None, message: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        fitting_backends(backend, device, dtype)


def test_auto_prefers_the_fastest_export(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(OnnxBackend, "__init__", lambda self, path, threads: loaded.append(path.name))
    load_backend(checkpoint, backend="auto", device=None, dtype=None)
    (checkpoint / "onnx" / "model_int8.onnx").touch()
    load_backend(checkpoint, backend="auto", device=None, dtype=None)
    load_backend(checkpoint, backend="onnx", device="cpu", dtype="float32")
    assert loaded == ["model.onnx", "model_int8.onnx", "model.onnx"]


def test_openvino_is_taken_only_where_it_is_asked_for(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "provence_rag.backends.openvino", raising=False)
    message = f"{checkpoint} has no openvino/model_int8.xml: export it, or use backend='torch'"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_backend(checkpoint, backend="openvino", device=None, dtype=None)
    (checkpoint / "openvino").mkdir()
    (checkpoint / "openvino" / "model_int8.xml").touch()
    assert load_backend(checkpoint, backend="auto", device=None, dtype=None).name == "onnx"
    message = str(MissingExtraError("backend='openvino'", "openvino"))
    with pytest.raises(MissingExtraError, match=f"^{re.escape(message)}$"):
        load_backend(checkpoint, backend="openvino", device=None, dtype=None)


def test_a_missing_export(checkpoint: Path) -> None:
    message = f"{checkpoint} has no onnx/model_int8.onnx: export it, or use backend='torch'"
    for backend in ("auto", "onnx"):
        with pytest.raises(CheckpointError, match=re.escape(message)):
            load_backend(checkpoint, backend=backend, device=None, dtype="int8")
    (checkpoint / "onnx" / "model.onnx").unlink()
    message = f"{checkpoint} has no onnx/model_int8.onnx or onnx/model.onnx: export it"
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_backend(checkpoint, backend="onnx", device=None, dtype=None)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_missing_torch(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    (checkpoint / "onnx" / "model.onnx").unlink()
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    message = str(MissingExtraError(f"{checkpoint} on backend='torch'", "torch"))
    with pytest.raises(MissingExtraError, match=f"^{re.escape(message)}$"):
        load_backend(checkpoint, backend=backend, device=None, dtype=None)


def test_torch_without_transformers(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    for name in ("provence_rag.backends.torch", "provence_rag.modeling.model"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[torch\]'"):
        load_backend(checkpoint, backend="torch", device=None, dtype=None)


def test_onnx_is_not_loaded_when_torch_is_asked_for(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, save_onnx: Callable[..., None]
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError):
        load_backend(checkpoint, backend="torch", device="cpu", dtype="float32")
    assert load_backend(checkpoint, backend="auto", device="cpu", dtype="float32").name == "onnx"


def test_threads(checkpoint: Path) -> None:
    for threads, expected in ((None, 0), (3, 3)):
        backend = Provence.from_pretrained(checkpoint, threads=threads).backend
        assert isinstance(backend, OnnxBackend)
        assert backend._session.get_session_options().intra_op_num_threads == expected
    for bad in (0, -1, 1.5, True):
        message = f"threads must be an integer >= 1, got {bad!r}"
        with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
            Provence.from_pretrained(checkpoint, threads=bad)  # type: ignore[arg-type]


def test_threads_of_torch_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    for threads in (None, 2):
        Provence.from_pretrained(backend="torch", device="cpu", threads=threads)
    assert set_to == [2]
