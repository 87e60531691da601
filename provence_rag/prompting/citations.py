"""From the numbers in a reply to the places in the documents that they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from provence_rag.errors import InvalidInputError
from provence_rag.prompting.context import CitedSpan, ContextSource, PromptContext
from provence_rag.prompting.markers import Marker, find_markers
from provence_rag.validation import check_text, shown

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable

__all__ = ["Citation", "CitedReply", "resolve_citations"]


@dataclass(frozen=True, kw_only=True)
class Citation:
    """One citation in a reply, such as `[1, 3]`."""

    start: int
    """Offset of its first character in the reply."""

    end: int
    """Offset after its last character."""

    numbers: tuple[int, ...]
    """The numbers that the context has, in the order of the citation, each once."""

    unknown: tuple[int, ...]
    """Numbers that the context does not have; the model made them up. Of a range, its ends."""

    spans: tuple[CitedSpan, ...]
    """What the numbers stand for."""


@dataclass(frozen=True, kw_only=True)
class CitedReply:
    """A reply and what it cites. `str(reply)` is its text."""

    text: str
    """The reply, verbatim."""

    citations: tuple[Citation, ...]
    """Its citations, in order."""

    context: PromptContext = field(repr=False)
    """The context that they refer to."""

    @property
    def sources(self) -> list[ContextSource]:
        """The sources that are cited, in the order of their first citation."""
        numbers = _unique(number for citation in self.citations for number in citation.numbers)
        return [self.context.sources[number - 1] for number in numbers]

    @property
    def unknown(self) -> list[int]:
        """The numbers that are cited and do not exist, in the order of their first citation."""
        return list(_unique(number for citation in self.citations for number in citation.unknown))

    def to_dict(self) -> dict[str, Any]:
        """The text and its citations as plain Python types that JSON can hold."""
        return {
            "text": self.text,
            "citations": [
                {
                    "start": one.start,
                    "end": one.end,
                    "numbers": list(one.numbers),
                    "unknown": list(one.unknown),
                    "spans": list(map(asdict, one.spans)),
                }
                for one in self.citations
            ],
            "unknown": self.unknown,
        }

    def html_page(self, question: str) -> str:
        """A complete web page: the question, the reply, and its sources with the cited spans marked."""
        from provence_rag.prompting.views import html_page

        return html_page(question, self)

    def __str__(self) -> str:
        return self.text

    def __rich__(self) -> ConsoleRenderable:
        from provence_rag.prompting.views import terminal_reply

        return terminal_reply(self)

    def _repr_html_(self) -> str:
        from provence_rag.prompting.views import html_reply

        return html_reply(self)


def resolve_citations(reply: str, context: PromptContext) -> CitedReply:
    r"""Find the citations in a model's reply and the spans of the documents that they stand for.

    A citation is `[1]`, `[1, 3]`, `[1 and 3]` or `[1-3]`, also with full-width digits or with the brackets
    `［］`, `【】` or `〔〕`; with a word or sign before a number, as in `[Source 1]`, `[出典1]`, `[^1]` and
    `[#1]`; and with a place after a dagger, as in `【1†source】` and `[1†L1-L3]`. `[1][2]` is two. Code
    between backticks, Markdown links (`[1](https://...)`, `[1]: https://...`), slices (`[0:3]`), numbers of
    more than four digits (`[12345]`) and `\[1]` are not citations.

    A number stands for all that was sent of its source: the model does not say which of its sentences it
    means.

    Args:
        reply: The model's reply.
        context: The context that was in its prompt.

    Raises:
        InvalidInputError: The reply is not a string, or the context has no numbers.
    """
    reply = check_text("reply", reply)
    if not isinstance(context, PromptContext):
        raise InvalidInputError(f"context must be a PromptContext, got {shown(context)}")
    if not context.citations:
        raise InvalidInputError(
            "context was built with citations=False: its sources have no numbers that a reply could cite"
        )
    citations = tuple(_citation(marker, context) for marker in find_markers(reply))
    return CitedReply(text=reply, citations=citations, context=context)


def _citation(marker: Marker, context: PromptContext) -> Citation:
    last = len(context.sources)
    numbers = _unique(number for a, b in marker.ranges for number in range(max(a, 1), min(b, last) + 1))
    unknown = _unique(number for ends in marker.ranges for number in ends if not 1 <= number <= last)
    spans = tuple(span for number in numbers for span in context.sources[number - 1].spans)
    return Citation(start=marker.start, end=marker.end, numbers=numbers, unknown=unknown, spans=spans)


def _unique(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(numbers))
