"""Pruned text, cut from the original by offsets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from provence_rag.chunking import Span
from provence_rag.chunking.lines import LINE_BREAK

__all__ = ["assemble"]

_INDENTATION = re.compile(rf"(?:{LINE_BREAK.pattern})([ \t\u3000]*)$")


def assemble(text: str, spans: Sequence[Span], mask: NDArray[np.bool_]) -> str:
    """Join the kept sentences.

    Kept neighbours keep the text between them. A gap keeps the strongest of its separators: a paragraph break
    before a line break, a line break before a space, and nothing if the sentences have no space between
    them, as in Japanese. If all sentences are kept, the document is returned unchanged.

    Args:
        text: The document.
        spans: Its sentences, in order.
        mask: True for the sentences to keep, shape (sentences,).
    """
    if mask.all() and len(spans):
        return text
    kept = np.flatnonzero(mask).tolist()
    parts: list[str] = []
    for previous, index in zip([None, *kept], kept, strict=False):
        if previous is not None:
            parts.append(_separator(text, spans[previous : index + 1]))
        parts.append(text[spans[index].start : spans[index].end])
    return "".join(parts)


def _separator(text: str, spans: Sequence[Span]) -> str:
    separators = [text[a.end : b.start] for a, b in pairwise(spans)]
    if any(map(str.strip, separators)):
        # Commas: there is one after each value, but after an opening and before a closing bracket.
        first, last = separators[0], separators[-1]
        return last if first.strip() and not last.strip() else first
    strongest = max(separators, key=lambda s: (len(LINE_BREAK.findall(s)), bool(s), -len(s)))
    indentation = _INDENTATION.search(separators[-1])
    if indentation is None:
        return strongest
    # What begins a line keeps its indentation: in YAML and code it says what the line belongs to.
    return strongest.rstrip(" \t\u3000") + indentation.group(1)
