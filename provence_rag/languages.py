"""How a language is named."""

from __future__ import annotations

__all__ = ["language_code"]


def language_code(name: str) -> str:
    """The ISO 639-1 code of a language, whose name may have a region: "zh" for "zh-TW" or "zh_tw"."""
    return name.lower().replace("_", "-").partition("-")[0]
