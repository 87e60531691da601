"""Where a checkpoint is: bundled, in a directory, on the Hugging Face hub, or on a server."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from provence_rag.errors import CheckpointError, InvalidInputError

__all__ = [
    "BUNDLED",
    "EXPORTS",
    "SECRETS",
    "TORCH_WEIGHTS",
    "check_links",
    "check_remote_settings",
    "checkpoint_directory",
    "fingerprint",
    "is_url",
    "portable_name",
    "read_card",
]

SECRETS = {"token": "HF_TOKEN", "api_key": "PROVENCE_API_KEY"}
"""Arguments of `from_pretrained` that nothing shown, stored or pickled may hold -> environment variable."""

BUNDLED = Path(__file__).parent / "models" / "mini"
"""The bundled bilingual model."""

EXPORTS = {
    "onnx": {"int8": "onnx/model_int8.onnx", "float32": "onnx/model.onnx"},
    "openvino": {"int8": "openvino/model_int8.xml"},
}
"""backend -> dtype -> path of the export in a checkpoint's directory; the fastest first."""

TORCH_WEIGHTS = "*.safetensors"
"""The weights that torch reads, in a checkpoint's directory or, in some layouts, in its subdirectories."""

# Everything that can be used, and nothing that could be run.
_TOP_FILES = ["config.json", "tokenizer.json", "tokenizer_config.json"]
_FILES = ["README.md", "config_sentence_transformers.json", "*.safetensors.index.json"]
_FILES += [*_TOP_FILES, *(f"*/{name}" for name in _TOP_FILES)]
_ALL_WEIGHTS = (TORCH_WEIGHTS, *(path for paths in EXPORTS.values() for path in paths.values()))
_PICKLED = ["pytorch_model*.bin", "*/pytorch_model*.bin"]
"""Downloaded only if there is nothing else, and read as tensors (`weights_only=True`), which runs no code."""


def is_url(name_or_path: Any) -> bool:
    """Whether this is the URL of a server, rather than the name or the path of a checkpoint."""
    return isinstance(name_or_path, str) and name_or_path.lower().startswith(("http://", "https://"))


def check_remote_settings(loading: Mapping[str, Any]) -> None:
    """Check that nothing is said about the loading of a model that a server has loaded.

    Args:
        loading: Arguments of `Provence.from_pretrained`.

    Raises:
        InvalidInputError: One is not the default.
    """
    # By identity, since 0 equals False.
    is_default = {name: value is None or value is False or value == "auto" for name, value in loading.items()}
    if names := [name for name in loading if not is_default[name]]:
        raise InvalidInputError(
            f"{', '.join(names)} cannot be set for a model on a server, which has loaded it: "
            "set it when you start the server"
        )


def checkpoint_directory(
    name_or_path: str | Path | None,
    *,
    revision: str | None = None,
    cache_folder: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    weights: Sequence[str] | None = None,
) -> Path:
    """Find a checkpoint, and download it if it is on the hub.

    Args:
        name_or_path: As in `Provence.from_pretrained`, like all arguments but the last.
        revision: Branch, tag or commit.
        cache_folder: Where downloads are kept.
        local_files_only: Do not download.
        token: Access token.
        weights: Weights that would do, the best first: paths of `EXPORTS`, or `TORCH_WEIGHTS`. Only the
            first that the checkpoint has is downloaded. None downloads all that can be read, [] none.

    Raises:
        InvalidInputError: `name_or_path` is neither a name nor a path.
        CheckpointError: There is no such directory, and the hub has no such model or cannot be reached.
    """
    if name_or_path is None:
        return BUNDLED
    if not isinstance(name_or_path, (str, Path)) or not str(name_or_path).strip():
        raise InvalidInputError(f"name_or_path must be a model name or a directory, got {name_or_path!r}")
    given = f"name_or_path={str(name_or_path)!r}"
    if is_url(name_or_path):
        raise CheckpointError(f"{given} is the URL of a server: what is done here needs a checkpoint's files")
    path = os.path.expanduser(name_or_path)  # os.path, since pathlib raises for names too long for a file
    if os.path.isdir(path):
        return Path(path)
    if os.path.exists(path):
        raise CheckpointError(f"{given} is a file: give the directory that holds it")
    if isinstance(name_or_path, str) and re.match(r"[\w.-]+:\d+(/|$)", name_or_path):
        raise CheckpointError(f"{given} is not a directory; for a server, write 'http://{name_or_path}'")
    if isinstance(name_or_path, Path) or name_or_path.count("/") != 1:
        raise CheckpointError(f"{given} is neither a directory nor an owner/name on the hub")
    settings: dict[str, Any] = {"revision": revision, "cache_dir": cache_folder, "token": token}
    settings["local_files_only"] = local_files_only
    try:
        return _download(name_or_path, weights, settings)
    except Exception as error:  # its own, its HTTP library's and the file system's have no common base
        raise CheckpointError(
            f"{given} is not a directory, and could not be downloaded from the hub: {error}"
        ) from error


def _download(name: str, weights: Sequence[str] | None, settings: dict[str, Any]) -> Path:
    from huggingface_hub import snapshot_download

    def download(patterns: Sequence[str]) -> Path:
        return Path(snapshot_download(name, allow_patterns=[*_FILES, *patterns], **settings))

    attempts: list[tuple[str, ...]] = [_ALL_WEIGHTS]
    if weights is not None:
        attempts = [(one,) for one in weights] or [()]
    for wanted in attempts:
        directory = download([pattern for one in wanted for pattern in _patterns(one)])
        if found := [path for one in wanted for path in directory.rglob(one)]:
            break
    pickled = _PICKLED
    if found:  # of a checkpoint in several folders, one may have a pickle
        folders = {path.parent for path in directory.glob("*/config.json")} - {path.parent for path in found}
        pickled = [f"{folder.name}/pytorch_model*.bin" for folder in folders]
    return download(pickled) if TORCH_WEIGHTS in wanted and pickled else directory


def _patterns(weights: str) -> list[str]:
    """What to download for some weights. OpenVINO and large ONNX exports keep them in a second file."""
    return [weights] if weights == TORCH_WEIGHTS else [f"{weights.rpartition('.')[0]}.*"]


def portable_name(name_or_path: str | Path | None, directory: Path) -> dict[str, Any]:
    """The arguments of `checkpoint_directory` with which other processes find the same checkpoint.

    A path is absolute, and a model on the hub has the commit that was loaded.

    Args:
        name_or_path: What the checkpoint was found by.
        directory: Where it was found.
    """
    if name_or_path is None:
        return {"name_or_path": None}
    if os.path.isdir(os.path.expanduser(name_or_path)):
        return {"name_or_path": str(directory.absolute())}
    return {"name_or_path": name_or_path, "revision": directory.name}  # .../snapshots/<commit>


def fingerprint(directory: Path) -> str:
    """A hash of all files of a checkpoint that could be read, but for its card: 64 hexadecimal digits."""
    found = hashlib.sha256()
    for path in sorted(_readable(directory) - {directory / "README.md"}):
        found.update(f"{path.relative_to(directory).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(2**20):
                found.update(block)
    return found.hexdigest()


def _readable(directory: Path) -> set[Path]:
    """The files of a checkpoint that could be read."""
    patterns = (*_FILES, *(p for one in _ALL_WEIGHTS for p in _patterns(one)), *_PICKLED)
    return {p for pattern in patterns for p in (*directory.glob(pattern), *directory.glob(f"*/{pattern}"))}


def check_links(directory: Path) -> None:
    """Check that no file that would be read is a link out of the directory.

    Snapshots in the hub's cache may link to the blobs beside them.

    Raises:
        CheckpointError: A file is such a link.
    """
    home = directory.resolve()
    if home.parent.name == "snapshots":
        home = home.parents[1]
    for path in _readable(directory):
        if not path.resolve().is_relative_to(home):
            raise CheckpointError(f"{path} is a link out of the checkpoint: copy the file that it points to")


def read_card(directory: Path) -> tuple[dict[str, Any], str]:
    """The metadata and the text of a checkpoint's model card; both are empty without a card.

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
        raise CheckpointError(f"{path} is not a readable model card: {error}") from error
