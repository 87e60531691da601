"""What a server says about itself."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, Field

from provence_rag.provence import Provence
from provence_rag.server.settings import LIMITS, ServerSettings

__all__ = ["Info", "describe", "model_name"]


class BackendInfo(BaseModel):
    """What runs the model."""

    name: str
    device: str


class ModelInfo(BaseModel):
    """The checkpoint."""

    name: str = Field(description="Its name on the hub, or that of its folder.")
    revision: str | None = Field(description="Commit on the hub; null for other checkpoints.")
    fingerprint: str | None = Field(
        description="A hash of all that results depend on besides the request: the checkpoint's files, how "
        "they are loaded, and the version; null if it has no files."
    )
    can_rank: bool
    can_prune: bool
    languages: list[str] = Field(description="Those it was trained on; empty if unknown.")
    max_length: int = Field(description="Tokens of a window. Longer documents are read in several.")
    score_activation: str = Field(description="sigmoid: scores are probabilities; identity: logits.")
    threshold: float = Field(description="Of mode `threshold`, if a request gives none.")
    keep_answers: float | None = Field(
        description="Promise of mode `dynamic`, if a request gives none; null without promises."
    )
    config: dict[str, Any] = Field(description="Its `provence` block: how it is used, and its rules.")
    promises: list[float] = Field(description="The values that `keep_answers` is rounded up to.")


class Info(BaseModel):
    """What clients need to know before their first request."""

    name: str
    version: str = Field(description="Of provence-rag.")
    model: ModelInfo
    backend: BackendInfo
    limits: dict[str, int] = Field(description="Of each request.")
    timeout: float = Field(description="Seconds after which a request is given up.")


def describe(settings: ServerSettings, model: Provence) -> Info:
    """Collect what `/info` says. Reads the checkpoint's files once."""
    config = model.config
    directory = model.directory
    return Info(
        name="provence-rag",
        version=version("provence-rag"),
        model=ModelInfo(
            name=model_name(settings, model),
            revision=directory.name if directory and directory.parent.name == "snapshots" else None,
            fingerprint=model.fingerprint,
            can_rank=config.can_rank,
            can_prune=config.can_prune,
            languages=list(config.languages),
            max_length=config.max_length,
            score_activation=config.score_activation,
            threshold=config.threshold,
            keep_answers=config.dynamic if isinstance(config.dynamic, float) else None,
            config=config.to_dict(),
            promises=sorted(config.promises),
        ),
        backend=BackendInfo(name=model.backend.name, device=model.backend.device),
        limits={name: getattr(settings, name) for name in LIMITS},
        timeout=settings.timeout,
    )


def model_name(settings: ServerSettings, model: Provence) -> str:
    """A checkpoint's name on the hub, or that of its folder: a server's paths are nobody's business."""
    if isinstance(settings.model, str) and not os.path.isdir(os.path.expanduser(settings.model)):
        return settings.model
    directory = model.directory
    return "provence" if directory is None else directory.resolve().name
