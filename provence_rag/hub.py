"""Where a checkpoint is: bundled, in a directory, or on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from provence_rag.errors import CheckpointError, InvalidInputError

__all__ = ["BUNDLED", "checkpoint_directory"]

BUNDLED = Path(__file__).parent / "models" / "mini"
"""The bundled bilingual model."""

# Everything that can be used, and nothing that could be run.
_FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "*.safetensors", "*.safetensors.index.json"]
_FILES += ["onnx/*.onnx", "README.md"]


def checkpoint_directory(
    name_or_path: str | Path | None,
    *,
    revision: str | None = None,
    cache_folder: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Find a checkpoint, downloading it if need be. The arguments are those of `Provence.from_pretrained`.

    Raises:
        InvalidInputError: `name_or_path` is no name and no path.
        CheckpointError: There is no such directory, and no such model on the hub (or no network).
    """
    if name_or_path is None:
        return BUNDLED
    if not isinstance(name_or_path, (str, Path)) or not str(name_or_path).strip():
        raise InvalidInputError(f"name_or_path must be a model name or a directory, got {name_or_path!r}")
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    if path.exists() or isinstance(name_or_path, Path) or name_or_path.count("/") != 1:
        raise CheckpointError(f"name_or_path={str(name_or_path)!r} is neither a directory nor an owner/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            name_or_path,
            revision=revision,
            cache_dir=cache_folder,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=_FILES,
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"name_or_path={name_or_path!r} is not a directory here, and could not be had from the hub: {error}"
        ) from error
    return Path(found)
