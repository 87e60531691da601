"""Lone surrogates: halves of characters that broken sources leave in strings, and that have no encoding."""

from __future__ import annotations

import re

__all__ = ["without_surrogates"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def without_surrogates(text: str) -> str:
    """The text with U+FFFD in place of each lone surrogate, so that it can be encoded; of the same length."""
    try:
        text.encode()  # faster than a search
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text
