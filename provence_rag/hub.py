"""Where a checkpoint is: bundled, in a directory, or on the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from provence_rag.errors import CheckpointError, InvalidInputError

__all__ = ["BUNDLED", "EXPORTS", "check_links", "checkpoint_directory", "read_card"]

BUNDLED = Path(__file__).parent / "models" / "mini"
"""The bundled bilingual model."""

EXPORTS = {
    "onnx": {"int8": "onnx/model_int8.onnx", "float32": "onnx/model.onnx"},
    "openvino": {"int8": "openvino/model_int8.xml"},
}
"""backend -> dtype -> the export in a checkpoint's directory; the fastest first."""

# Everything that can be used, and nothing that could be run. OpenVINO, and large ONNX exports, keep their
# weights in a second file: `model_int8.bin`, `model.onnx_data`.
_FILES = ["README.md", "config.json", "config_sentence_transformers.json"]
_FILES += ["tokenizer.json", "tokenizer_config.json", "*.safetensors", "*.safetensors.index.json"]
_EXPORT_FILES = [f"{path.rpartition('.')[0]}.*" for paths in EXPORTS.values() for path in paths.values()]
_PICKLED = ["pytorch_model*.bin"]
"""Only where there is nothing else. They are read as tensors (`weights_only=True`), which runs no code."""


def checkpoint_directory(
    name_or_path: str | Path | None,
    *,
    revision: str | None = None,
    cache_folder: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    exports: bool = True,
) -> Path:
    """Find a checkpoint, downloading it if need be, with its `exports` for CPUs or without.

    The other arguments are those of `Provence.from_pretrained`.

    Raises:
        InvalidInputError: `name_or_path` is no name and no path.
        CheckpointError: There is no such directory, and no such model on the hub (or no network).
    """
    if name_or_path is None:
        return BUNDLED
    if not isinstance(name_or_path, (str, Path)) or not str(name_or_path).strip():
        raise InvalidInputError(f"name_or_path must be a model name or a directory, got {name_or_path!r}")
    given = f"name_or_path={str(name_or_path)!r}"
    path = os.path.expanduser(name_or_path)  # os.path, since pathlib raises for names too long for a file
    if os.path.isdir(path):
        return Path(path)
    if os.path.exists(path):
        raise CheckpointError(f"{given} is a file: give the directory that holds it")
    if isinstance(name_or_path, Path) or name_or_path.count("/") != 1:
        raise CheckpointError(f"{given} is neither a directory nor an owner/name on the hub")
    from huggingface_hub import snapshot_download

    settings: dict[str, Any] = {"revision": revision, "cache_dir": cache_folder, "token": token}
    settings["local_files_only"] = local_files_only
    files = _FILES + (_EXPORT_FILES if exports else [])
    try:
        found = Path(snapshot_download(name_or_path, allow_patterns=files, **settings))
        if not any(any(found.glob(kind)) for kind in ("*.safetensors", "onnx/*.onnx", "openvino/*.xml")):
            found = Path(snapshot_download(name_or_path, allow_patterns=[*files, *_PICKLED], **settings))
    except Exception as error:  # its own, its HTTP library's and the file system's have no common base
        raise CheckpointError(
            f"{given} is not a directory here, and could not be had from the hub: {error}"
        ) from error
    return found


def check_links(directory: Path) -> None:
    """Check that no file that would be read is a link to somewhere else.

    Links within the directory are fine, and those of a snapshot in the hub's cache, to its own blobs.

    Raises:
        CheckpointError: There is such a link.
    """
    home = directory.resolve()
    if home.parent.name == "snapshots":
        home = home.parents[1]
    for pattern in (*_FILES, *_EXPORT_FILES, *_PICKLED):
        for path in (*directory.glob(pattern), *directory.glob(f"*/{pattern}")):
            if not path.resolve().is_relative_to(home):
                raise CheckpointError(
                    f"{path} is a link out of the checkpoint: copy the file that it leads to"
                )


def read_card(directory: Path) -> tuple[dict[str, Any], str]:
    """The metadata and the text of a checkpoint's model card; empty where there is none.

    Raises:
        CheckpointError: The card cannot be read.
    """
    path = directory / "README.md"
    if not path.is_file():
        return {}, ""
    from huggingface_hub import ModelCard

    try:
        card = ModelCard.load(path)
        return card.data.to_dict(), card.text
    except Exception as error:  # YAML's, Unicode's and the library's own have no common base
        raise CheckpointError(f"{path} is not a model card that can be read: {error}") from error
