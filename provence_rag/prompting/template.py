"""How a source looks in a prompt, and what keeps its text from looking like another source."""

from __future__ import annotations

import re
from string import Formatter

from provence_rag.errors import InvalidInputError
from provence_rag.prompting.markers import without_markers
from provence_rag.validation import check_text, shortened

__all__ = ["PLAIN_TEMPLATE", "SEPARATOR", "TEMPLATE", "SourceTemplate"]

TEMPLATE = "[{number}] {text}"
"""The template of a source with a number."""

PLAIN_TEMPLATE = "{text}"
"""The template of a source without one."""

SEPARATOR = "\n\n"
"""What stands between two sources."""

_FIELDS = ("number", "id", "title", "text")
_TAG = re.compile(r"</?([A-Za-z][\w.-]*)")
_BLANK_LINES_AT_START = re.compile(r"\A(?:[^\S\n]*\n)+")


class SourceTemplate:
    """A template for one source: text with the fields `{number}`, `{id}`, `{title}` and `{text}`.

    A line with `{title}` and without `{text}` or `{number}` is left out for a source without a title. A text
    of several lines begins on a line of its own.

    Args:
        template: The template; None is the usual one.
        citations: Whether it has to show numbers, which no text may forge then.

    Raises:
        InvalidInputError: The template has unknown fields or no `{text}`, or does not show the number in a
            way that texts cannot forge.
    """

    def __init__(self, template: str | None, *, citations: bool) -> None:
        if template is None:
            template = TEMPLATE if citations else PLAIN_TEMPLATE
        self._template = check_text("template", template)
        self._citations = citations
        self._check()
        tags = sorted({re.escape(name) for name in _TAG.findall(template)}, key=len, reverse=True)
        self._tags = re.compile(rf"<(?=\s*/?\s*(?:{'|'.join(tags)})\b)", re.IGNORECASE) if tags else None

    def _check(self) -> None:
        try:
            parts = list(Formatter().parse(self._template))
        except ValueError as error:
            raise InvalidInputError(f"template {shortened(self._template)} is not valid: {error}") from error
        fields = [field for _, field, _, _ in parts if field is not None]
        if unknown := [field for field in fields if field not in _FIELDS]:
            raise InvalidInputError(
                f"template has the field {{{unknown[0]}}}, but only {', '.join(f'{{{f}}}' for f in _FIELDS)} "
                "are known; write {{ and }} for braces"
            )
        if any(spec or conversion for _, _, spec, conversion in parts):
            raise InvalidInputError(f"template {shortened(self._template)} has a field with a format")
        if fields.count("text") != 1:
            raise InvalidInputError(f"template must have {{text}} once, got {shortened(self._template)}")
        in_tag = re.search(r"<[A-Za-z][^<>{}]*\{number\}[^<>]*>", self._template)
        if self._citations and "[{number}]" not in self._template and not in_tag:
            raise InvalidInputError(
                "template must show the number as [{number}] or in a tag such as "
                f'<source id="{{number}}">, which texts cannot forge, got {shortened(self._template)}'
            )

    def source(self, *, number: int, id_: str | int, title: str | None, text: str) -> str:
        """The source as it stands in the prompt.

        Args:
            number: Its number.
            id_: The id of its document.
            title: The title of its document.
            text: What `shown` returns.
        """
        template = self._template
        if title is None:
            lines = template.split("\n")
            template = "\n".join(line for line in lines if not _is_title_line(line))
        if "\n" in text:
            template = re.sub(r"(?<=\S)[ \t]+\{text\}", "\n{text}", template)
        fields = {"id": self._line(str(id_)), "title": self._line(title or "")}
        return template.format(number=number, text=text, **fields)

    def shown(self, text: str) -> str:
        """A passage's text as it stands in the prompt: it cannot forge a number, a tag or a new source."""
        text = _BLANK_LINES_AT_START.sub("", text).rstrip()
        if self._citations:
            text = without_markers(text)
        return text if self._tags is None else self._tags.sub("&lt;", text)

    def _line(self, text: str) -> str:
        """A field of one line; quotation marks would end the attribute of a tag."""
        line = " ".join(self.shown(text).split())
        return line if self._tags is None else line.replace('"', "&quot;").replace(">", "&gt;")


def _is_title_line(line: str) -> bool:
    return "{title}" in line and "{text}" not in line and "{number}" not in line
