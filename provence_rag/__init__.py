"""Rerank and prune retrieved passages in one forward pass."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provence_rag.chunking import (
        BaseChunker,
        EnglishChunker,
        JapaneseChunker,
        MarkdownChunker,
        MultilingualChunker,
    )
    from provence_rag.config import ProvenceConfig
    from provence_rag.errors import (
        CheckpointError,
        InvalidInputError,
        LanguageWarning,
        MissingExtraError,
        ProvenceError,
        RemoteError,
    )
    from provence_rag.options import PruningMode, PruningOptions
    from provence_rag.provence import Provence
    from provence_rag.remote import RemoteProvence
    from provence_rag.results import ProvenceOutput, PrunedPassage, Sentence
    from provence_rag.transformers_bridge import attach_pruning_head

# Resolved on first use (PEP 562), so that importing the package stays cheap.
_ROOMS = {
    "chunking": (
        "BaseChunker",
        "EnglishChunker",
        "JapaneseChunker",
        "MarkdownChunker",
        "MultilingualChunker",
    ),
    "config": ("ProvenceConfig",),
    "errors": (
        "CheckpointError",
        "InvalidInputError",
        "LanguageWarning",
        "MissingExtraError",
        "ProvenceError",
        "RemoteError",
    ),
    "options": ("PruningMode", "PruningOptions"),
    "provence": ("Provence",),
    "remote": ("RemoteProvence",),
    "results": ("ProvenceOutput", "PrunedPassage", "Sentence"),
    "transformers_bridge": ("attach_pruning_head",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "BaseChunker",
    "CheckpointError",
    "EnglishChunker",
    "InvalidInputError",
    "JapaneseChunker",
    "LanguageWarning",
    "MarkdownChunker",
    "MissingExtraError",
    "MultilingualChunker",
    "Provence",
    "ProvenceConfig",
    "ProvenceError",
    "ProvenceOutput",
    "PrunedPassage",
    "PruningMode",
    "PruningOptions",
    "RemoteError",
    "RemoteProvence",
    "Sentence",
    "attach_pruning_head",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("provence-rag")
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
