"""What `build_context` returns: the text for a prompt, and where each part of it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from provence_rag.errors import InvalidInputError
from provence_rag.results import finite
from provence_rag.validation import shown

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable
    from typing_extensions import Self

__all__ = ["CitedSpan", "ContextSource", "PromptContext"]


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("number", "index", "start", "end"), (int,)),
    "id": (str, int),
    "text": (str,),
    "title": (str, type(None)),
    "score": (float, int, type(None)),
    "num_tokens": (int, type(None)),
    "citations": (bool,),
}
"""Types of the fields in JSON, which have one meaning in all classes here."""


@dataclass(frozen=True, kw_only=True)
class CitedSpan:
    """A piece of an original document: `document[start:end]`."""

    id: str | int
    """The id that was given with the passage, or `index`."""

    index: int
    """The document's position: of a `PrunedPassage` its `index`, among the documents given to `process`; of
    other passages the position in the list given to `build_context`."""

    start: int
    """Offset of the first character in the original document."""

    end: int
    """Offset after the last character."""

    text: str
    """The text of the span, verbatim."""


@dataclass(frozen=True, kw_only=True)
class ContextSource:
    """One numbered source of a context: what is sent of one passage."""

    number: int
    """Its number, from 1, in the order of the context."""

    id: str | int
    """The document's id, as in `CitedSpan`."""

    index: int
    """The document's position, as in `CitedSpan`."""

    title: str | None
    """The document's title, if it is known."""

    score: float | None
    """The passage's relevance, if it is known."""

    text: str
    """Its text as it stands in the context."""

    spans: tuple[CitedSpan, ...]
    """What its number stands for: spans of its own document, then those of other documents that hold copies
    of its sentences and for which these were not sent again."""


@dataclass(frozen=True, kw_only=True)
class PromptContext:
    """The context of a prompt. `str(context)` is its text."""

    text: str
    """The text for the prompt. Empty if nothing was kept, or nothing fits the budget."""

    sources: tuple[ContextSource, ...]
    """Its sources, in the order of the text."""

    left_out: tuple[CitedSpan, ...]
    """What was left out to stay within the budget."""

    num_tokens: int | None
    """Length of the text in tokens; None if it was built without a budget."""

    citations: bool
    """Whether the text shows the numbers of its sources."""

    documents: Mapping[tuple[str | int, int], str] = field(default_factory=dict, repr=False, compare=False)
    """The original documents by `(id, index)`, as far as they are known, for views."""

    def source(self, number: int) -> ContextSource | None:
        """The source with a number, or None if no source has it."""
        return self.sources[number - 1] if 1 <= number <= len(self.sources) else None

    def to_dict(self) -> dict[str, Any]:
        """All fields but `documents` as plain Python types that JSON can hold; None stands for -inf."""
        sources = [
            {**asdict(one), "score": finite(one.score), "spans": list(map(asdict, one.spans))}
            for one in self.sources
        ]
        return {
            "text": self.text,
            "sources": sources,
            "left_out": list(map(asdict, self.left_out)),
            "num_tokens": self.num_tokens,
            "citations": self.citations,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The context that `to_dict` has written; it lacks `documents`.

        Raises:
            InvalidInputError: `values` is not what `to_dict` writes.
        """
        try:
            sources = [
                ContextSource(**{**_typed(one), "spans": tuple(CitedSpan(**_typed(s)) for s in one["spans"])})
                for one in values["sources"]
            ]
            if [one.number for one in sources] != list(range(1, len(sources) + 1)):
                raise ValueError("the sources are not numbered in order")
            left_out = tuple(CitedSpan(**_typed(span)) for span in values["left_out"])
            return cls(**{**_typed(values), "sources": tuple(sources), "left_out": left_out})
        except (TypeError, KeyError, ValueError) as error:
            raise InvalidInputError(
                f"values must be what PromptContext.to_dict() returns, got {shown(values)}"
            ) from error

    def to_json(self, *, indent: int | None = None) -> str:
        """`to_dict()` as JSON in ASCII."""
        return json.dumps(self.to_dict(), indent=indent)

    def __str__(self) -> str:
        return self.text

    def __rich__(self) -> ConsoleRenderable:
        from provence_rag.prompting.views import terminal_sources

        return terminal_sources(self)

    def _repr_html_(self) -> str:
        from provence_rag.prompting.views import html_sources

        return html_sources(self)


def _typed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of an object, or a TypeError if one has another type than `_TYPES` says."""
    for name, types in _TYPES.items():
        if name in values:
            value = values[name]
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                raise TypeError(f"{name} has another type")
    return values
