"""The types of values that configurations are made of, and pydantic, which is an extra."""

from __future__ import annotations

from typing import Annotated, Literal

from provence_rag.errors import MissingExtraError

try:
    from pydantic import BeforeValidator, ConfigDict, Field
    from pydantic.dataclasses import dataclass
except ImportError as error:  # pragma: no cover - exercised in an environment without the extra
    raise MissingExtraError("Training", "train") from error

__all__ = [
    "STRICT",
    "BeforeValidator",
    "Count",
    "Field",
    "NotNegative",
    "Positive",
    "Precision",
    "Share",
    "dataclass",
]

STRICT = ConfigDict(extra="forbid")
"""For every part of a configuration: a misspelt key is an error."""

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
