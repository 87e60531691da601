"""HTML in a text: where block-level tags say that a sentence ends."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["tag_borders"]

# https://developer.mozilla.org/docs/Glossary/Block-level_content, and what else stands on lines of its own.
# Cells of a table are left out: a row is read as a whole.
_BLOCK_ELEMENTS = (
    "address|article|aside|blockquote|body|br|caption|center|dd|details|dialog|dir|div|dl|dt|fieldset|figcaption|"
    "figure|footer|form|h[1-6]|head|header|hgroup|hr|html|legend|li|main|menu|nav|ol|optgroup|option|p|pre|"
    "script|section|select|style|summary|table|tbody|tfoot|thead|title|tr|ul"
)
_TAG = rf"<(?:/(?:{_BLOCK_ELEMENTS})|(?:{_BLOCK_ELEMENTS})(?=[\s/>]))[^<>]*>"
_TAGS = re.compile(rf"{_TAG}(?:\s*{_TAG})*", re.IGNORECASE)
_CLOSER = re.compile(r"<(?:/[^<>]*|[bh]r\b[^<>]*)>", re.IGNORECASE)


def tag_borders(text: str, start: int, end: int) -> Iterator[int]:
    """Yield one border for each run of block-level tags in `text[start:end]`.

    Tags that close an element, `<br>` and `<hr>` belong to the text before them, others to the text after.
    """
    if text.find("<", start, end) < 0:
        return
    limit = start + len(text[start:end].rstrip())
    for run in _TAGS.finditer(text, start, end):
        border = run.start()
        for closer in _CLOSER.finditer(text, run.start(), run.end()):
            border = closer.end()
        # Tags with no text before or after them are no sentence.
        if text[start : run.start()].strip() and run.end() < limit:
            yield border
            start = run.end()
