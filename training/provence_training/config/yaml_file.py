"""Reading a run's configuration from YAML."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from provence_rag.errors import InvalidInputError, MissingExtraError
from provence_training import config

try:
    import yaml
    from pydantic import TypeAdapter, ValidationError
except ImportError as error:  # pragma: no cover - exercised in an environment without the extra
    raise MissingExtraError("Training", "train") from error

__all__ = ["read_config"]


def read_config(path: str | Path) -> config.TrainingConfig:
    """Read and check a YAML file. `${NAME}` in a string is replaced by an environment variable.

    Raises:
        InvalidInputError: The file cannot be read, a key is unknown or missing, or a value cannot be used;
            the message names every such key by its path.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path}: must be a mapping of keys to values, got {type(values).__name__}")
    try:
        adapter = TypeAdapter(config.TrainingConfig)
        return adapter.validate_python(_expanded(values, str(path)))
    except ValidationError as error:
        raise InvalidInputError(f"{path}: {'; '.join(_described(error))}") from error


def _expanded(value: Any, place: str) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(entry, f"{place}: {key}") for key, entry in value.items()}
    if isinstance(value, list):
        return [_expanded(entry, place) for entry in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise InvalidInputError(f"{place}: the environment variable {match[1]} is not set")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", variable, value)


def _described(error: ValidationError) -> Iterator[str]:
    """Each mistake as `path: what is wrong`."""
    for one in error.errors():
        place = ".".join(map(str, one["loc"]))
        if one["type"] == "unexpected_keyword_argument":
            near = difflib.get_close_matches(str(one["loc"][-1]), _known_keys(), n=1)
            yield f"{place}: unknown key" + (f" (did you mean {near[0]}?)" if near else "")
        elif one["type"] in ("missing", "missing_argument"):
            yield f"{place}: must be given"
        elif one["type"] == "value_error":
            yield f"{place}: {one['ctx']['error']}".removeprefix(": ")
        elif one["type"] == "too_short":
            if not one["input"]:  # a list with wrong entries only is also too short
                yield f"{place}: must have at least one entry"
        else:
            yield f"{place}: {one['msg']}, got {one['input']!r}"


def _known_keys() -> list[str]:
    return [field.name for name in config.__all__ for field in fields(getattr(config, name))]
