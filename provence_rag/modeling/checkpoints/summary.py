"""A description of a checkpoint, without loading it."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from provence_rag.config_json import architecture_of
from provence_rag.hub import EXPORTS, read_card
from provence_rag.modeling.checkpoints.families import read_checkpoint

__all__ = ["Summary", "summarize"]

_NON_COMMERCIAL = re.compile(r"\bnon-?\s?commercial|\bcc[- ]by[- ]nc\b", flags=re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What `provence inspect` shows."""

    family: str
    """The project whose layout it has."""

    architecture: str
    """The stock transformers class that it becomes."""

    num_parameters: int | None
    """Those of the encoder and the heads in use; None without weights for torch."""

    heads: tuple[str, ...]
    """`ranking`, `pruning` or both."""

    languages: tuple[str, ...]
    """ISO 639-1 codes from its configuration or its card; empty if neither has any."""

    licence: str | None
    """The licence field of its card."""

    non_commercial: bool
    """Whether the licence field or the text of its card restricts it to non-commercial use."""

    max_length: int
    """Tokens in a window."""

    threshold: float

    score_activation: str

    weights: tuple[str, ...]
    """The kinds of weights that it has: `torch`, `onnx-int8`, `onnx-float32`, `openvino-int8`."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python types that JSON knows."""
        fields = asdict(self).items()
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields}


def summarize(directory: Path) -> Summary:
    """Describe a checkpoint from its config, its card and the names and shapes of its tensors.

    Raises:
        CheckpointError: It is not a kind of checkpoint known here, or is damaged.
    """
    checkpoint = read_checkpoint(directory)
    metadata, text = read_card(directory)
    licence = metadata.get("license_name") or metadata.get("license")
    languages = metadata.get("language") or []
    languages = [languages] if isinstance(languages, str) else languages
    shapes = checkpoint.tensors.shapes() if checkpoint.tensors.exist else {}
    names = shapes if checkpoint.names is None else checkpoint.names
    exports = [
        f"{backend}-{dtype}"
        for backend, files in EXPORTS.items()
        for dtype, name in files.items()
        if (directory / name).is_file()
    ]
    config = checkpoint.config
    return Summary(
        family=checkpoint.family,
        architecture=architecture_of(checkpoint.model_settings),
        num_parameters=sum(math.prod(shapes[name]) for name in names) if shapes else None,
        heads=("ranking",) * config.can_rank + ("pruning",) * config.can_prune,
        languages=config.languages or tuple(map(str, languages)),
        licence=None if licence is None else str(licence),
        non_commercial=bool(_NON_COMMERCIAL.search(f"{licence}\n{text}")),
        max_length=config.max_length,
        threshold=config.threshold,
        score_activation=config.score_activation,
        weights=("torch",) * checkpoint.tensors.exist + tuple(exports),
    )
