from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from provence_rag import CheckpointError, InvalidInputError, Provence
from provence_rag.backends.loading import weight_files
from provence_rag.hub import BUNDLED, checkpoint_directory


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """The arguments of every download; nothing is downloaded."""
    seen: list[dict[str, Any]] = []

    def snapshot_download(name: str, **settings: Any) -> str:
        seen.append({"name": name, **settings})
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return seen


def test_none_is_the_bundled_model() -> None:
    assert checkpoint_directory(None) == BUNDLED


def test_a_directory_is_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloads: list[dict[str, Any]]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert checkpoint_directory(tmp_path) == tmp_path
    assert checkpoint_directory(str(tmp_path)) == tmp_path
    assert checkpoint_directory("owner/name") == Path("owner/name")
    assert checkpoint_directory("~/owner/name") == tmp_path / "owner" / "name"
    assert downloads == []


def test_a_name_is_downloaded_without_anything_that_could_be_run(
    tmp_path: Path, downloads: list[dict[str, Any]]
) -> None:
    (tmp_path / "model.safetensors").touch()
    settings = {"revision": "v1", "local_files_only": True, "token": "secret"}
    assert checkpoint_directory("owner/name", cache_folder="cache", **settings) == tmp_path
    (seen,) = downloads
    patterns = seen.pop("allow_patterns")
    assert seen == {"name": "owner/name", "cache_dir": "cache", **settings}
    repository = [
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modeling_evil.py",
        "onnx/model.onnx",
        "onnx/model.onnx_data",
        "onnx/model_int8.onnx",
        "onnx/model_fp16.onnx",
        "openvino/model_int8.bin",
        "openvino/model_int8.xml",
        "openvino/openvino_model.xml",
        "pytorch_model.bin",
        "tokenizer.json",
        "training_args.bin",
        "weights.pkl",
    ]
    wanted = huggingface_hub.utils.filter_repo_objects(repository, allow_patterns=patterns)
    assert set(repository) - set(wanted) == {
        "modeling_evil.py",
        "onnx/model_fp16.onnx",
        "openvino/openvino_model.xml",
        "pytorch_model.bin",
        "training_args.bin",
        "weights.pkl",
    }


@pytest.mark.parametrize("file", ["model.safetensors", "onnx/model.onnx", "openvino/model_int8.xml", None])
def test_pickled_weights_are_downloaded_only_where_there_is_nothing_else(
    file: str | None, tmp_path: Path, downloads: list[dict[str, Any]]
) -> None:
    if file is not None:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    checkpoint_directory("owner/name", revision="v1")
    wanted = [
        set(huggingface_hub.utils.filter_repo_objects(["pytorch_model.bin", "training_args.bin"], **patterns))
        for patterns in [{"allow_patterns": seen["allow_patterns"]} for seen in downloads]
    ]
    assert wanted == ([set()] if file else [set(), {"pytorch_model.bin"}])
    assert {seen["revision"] for seen in downloads} == {"v1"}


REPOSITORY = (
    "model.safetensors",
    "onnx/model.onnx",
    "onnx/model.onnx_data",
    "onnx/model_int8.onnx",
    "onnx/model_O4.onnx",
    "openvino/model_int8.bin",
    "openvino/model_int8.xml",
    "pytorch_model.bin",
)
CHEAP = {"README.md", "config.json", "tokenizer.json"}


@pytest.mark.parametrize(
    ("settings", "missing", "downloaded"),
    [
        (("auto", None, None), (), {"onnx/model_int8.onnx"}),
        (("auto", None, None), ("onnx/model_int8.onnx",), {"onnx/model.onnx", "onnx/model.onnx_data"}),
        (("auto", None, None), REPOSITORY[1:5], {"model.safetensors"}),
        (("auto", None, None), REPOSITORY[:7], {"pytorch_model.bin"}),
        (("auto", "cuda", None), (), {"model.safetensors"}),
        (("onnx", None, None), (), {"onnx/model_int8.onnx"}),
        (("onnx", None, "float32"), (), {"onnx/model.onnx", "onnx/model.onnx_data"}),
        (("onnx", None, None), REPOSITORY[1:5], set()),
        (("openvino", None, None), (), {"openvino/model_int8.bin", "openvino/model_int8.xml"}),
        (("torch", None, "bfloat16"), (), {"model.safetensors"}),
    ],
)
def test_only_the_weights_of_the_backend_are_downloaded(
    settings: tuple[str, str | None, str | None],
    missing: tuple[str, ...],
    downloaded: set[str],
    tmp_path: Path,
    publish: Callable[[Path], Callable[[], set[str]]],
) -> None:
    for file in {*REPOSITORY, *CHEAP} - set(missing):
        path = tmp_path / "source" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    files = publish(tmp_path / "source")
    checkpoint_directory("owner/name", weights=weight_files(*settings))
    assert files() == CHEAP | downloaded


def test_no_weights_are_downloaded_for_a_card(
    tmp_path: Path, publish: Callable[[Path], Callable[[], set[str]]]
) -> None:
    for file in ("README.md", *REPOSITORY):
        (tmp_path / "source" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / file).touch()
    files = publish(tmp_path / "source")
    checkpoint_directory("owner/name", weights=[])
    assert files() == {"README.md"}


def test_a_model_on_the_hub_is_loaded_from_its_export_alone(
    tmp_path: Path, publish: Callable[[Path], Callable[[], set[str]]]
) -> None:
    shutil.copytree(BUNDLED, tmp_path / "source")
    files = publish(tmp_path / "source")
    model = Provence.from_pretrained("owner/name", backend="onnx")
    assert model.prune("Where do penguins live?", "Penguins live in Antarctica.", 0.0)
    assert not any(file.endswith(".safetensors") for file in files())


@pytest.mark.parametrize("name", ["", "  ", 7, b"owner/name", ["owner/name"]])
def test_neither_a_name_nor_a_path(name: Any) -> None:
    message = f"name_or_path must be a model name or a directory, got {name!r}"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        checkpoint_directory(name)


@pytest.mark.parametrize(
    "name", ["mini", "a/b/c", "/no/such/directory", "x" * 5000, "~nobody-at-all", "a\0b", Path("owner/name")]
)
def test_what_can_be_no_name_on_the_hub(name: str | Path, downloads: list[dict[str, Any]]) -> None:
    message = f"name_or_path={str(name)!r} is neither a directory nor an owner/name on the hub"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        checkpoint_directory(name)
    assert downloads == []


@pytest.mark.parametrize("name", ["localhost:8000", "10.0.0.7:80/", "gpu-1.example.org:8000/v1"])
def test_a_server_without_its_scheme(name: str, downloads: list[dict[str, Any]]) -> None:
    message = f"name_or_path={name!r} is not a directory; for a server, write 'http://{name}'"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        checkpoint_directory(name)
    assert downloads == []


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    message = f"name_or_path={str(path)!r} is a file: give the directory that holds it"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        checkpoint_directory(path)


@pytest.mark.parametrize("name", ["nobody/nothing", "not a/name"])
@pytest.mark.parametrize("offline", ["argument", "environment"])
def test_a_name_that_cannot_be_downloaded(
    name: str, offline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # HF_HUB_OFFLINE=1 is read into this constant on import.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline == "environment")
    message = f"name_or_path={name!r} is not a directory, and could not be downloaded from the hub: "
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}."):
        Provence.from_pretrained(name, cache_folder=tmp_path, local_files_only=offline == "argument")


def test_any_error_of_the_hub_client_is_a_checkpoint_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(*_: Any, **__: Any) -> str:
        raise RuntimeError("cut off")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(CheckpointError, match=r"from the hub: cut off$"):
        checkpoint_directory("owner/name")


def test_arguments_are_checked_before_anything_is_downloaded(downloads: list[dict[str, Any]]) -> None:
    bad: list[dict[str, Any]] = [
        {"backend": "jax"},
        {"device": "cuda", "backend": "onnx"},
        {"dtype": "int3"},
        {"max_length": 8},
        {"chunker": 3},
    ]
    for arguments in bad:
        with pytest.raises(InvalidInputError, match=next(iter(arguments))):
            Provence.from_pretrained("owner/name", **arguments)
    assert downloads == []
