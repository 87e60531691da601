"""Checked access to the fields of a record: an error names the field by its path."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from provence_rag.checks import shown
from provence_rag.chunking import Span
from provence_rag.errors import InvalidInputError

__all__ = [
    "Fields",
    "check_flags",
    "check_indices",
    "check_number",
    "check_share",
    "check_span",
    "check_spans",
    "expect",
]


class Fields:
    """A JSON object at some path of a record.

    Every method raises `InvalidInputError` for a value of another kind than it returns.

    Args:
        value: What should be an object.
        path: Where it is, such as `questions[2]`; empty for the record itself.
    """

    def __init__(self, value: Any, path: str = "") -> None:
        expect(isinstance(value, Mapping), path or "the record", "an object", value)
        self._value: Mapping[str, Any] = value
        self.own_path = path

    def __contains__(self, name: str) -> bool:
        return name in self._value

    def __iter__(self) -> Iterator[str]:
        return map(str, self._value)

    def path(self, name: str) -> str:
        """The path of a field."""
        return f"{self.own_path}.{name}" if self.own_path else name

    def get(self, name: str) -> Any:
        """A field's value; the field has to be there, though it may be null."""
        if name not in self._value:
            raise InvalidInputError(f"{self.path(name)}: there is no such field")
        return self._value[name]

    def optional(self, name: str) -> Any:
        """A field's value, None if there is no such field."""
        return self._value.get(name)

    def string(self, name: str, default: str | None = None) -> str:
        """A string; without a default it has to be there."""
        value = self.get(name) if default is None else self._value.get(name)
        if value is None and default is not None:
            return default
        expect(isinstance(value, str), self.path(name), "a string", value)
        return str(value)

    def question(self, name: str) -> str:
        """A string with words in it."""
        text = self.string(name)
        expect(bool(text.strip()), self.path(name), "more than white space", text)
        return text

    def identifier(self, default: str) -> str:
        """The field `id`: a string or an integer."""
        value = self._value.get("id")
        if value is None:
            return default
        expect(isinstance(value, str) or _is_integer(value), self.path("id"), "a string or an integer", value)
        return str(value)

    def index(self, name: str, length: int, whose: str) -> int:
        """The index of one of something."""
        value, path = self.get(name), self.path(name)
        is_index = _is_integer(value) and 0 <= value < length
        expect(is_index, path, f"the index of one of the {length} {whose}", value)
        return int(value)

    def array(self, name: str) -> list[Any]:
        """A JSON array."""
        value = self.get(name)
        expect(isinstance(value, list), self.path(name), "a list", value)
        return [*value]

    def parallel(self, name: str, length: int, whose: str) -> list[Any] | None:
        """A list with an entry for each of something; None if there is none."""
        if self._value.get(name) is None:
            return None
        values = self.array(name)
        _check_length(values, self.path(name), length, whose)
        return values

    def share(self, name: str) -> float | None:
        """A number in [0, 1]; None if there is none."""
        value = self._value.get(name)
        return None if value is None else check_share(value, self.path(name))


def check_share(value: Any, path: str) -> float:
    """A number in [0, 1]."""
    expect(isinstance(value, Real) and 0 <= float(value) <= 1, path, "a number between 0 and 1", value)
    return float(value)


def check_number(value: Any, path: str) -> float:
    """A finite number."""
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    expect(is_number, path, "a number", value)
    return float(value)


def check_spans(values: Any, path: str, text: str) -> list[Span]:
    """Spans `[start, end]` of a text, in order and without overlap."""
    expect(isinstance(values, list), path, "a list of [start, end]", values)
    spans: list[Span] = []
    for number, value in enumerate(values):
        own = f"{path}[{number}]"
        expect(isinstance(value, (list, tuple)) and len(value) == 2, own, "[start, end]", value)
        span = check_span(value[0], value[1], own, text)
        if spans and span.start < spans[-1].end:
            raise InvalidInputError(f"{own}: begins before the end of the span in front of it")
        spans.append(span)
    return spans


def check_span(start: Any, end: Any, path: str, text: str) -> Span:
    """A span of a text, not empty."""
    for name, value in (("start", start), ("end", end)):
        expect(_is_integer(value), f"{path}.{name}", "an integer", value)
    if not 0 <= start < end <= len(text):
        raise InvalidInputError(
            f"{path}: {(start, end)} is no span of its text, which has {len(text)} characters"
        )
    return Span(int(start), int(end))


def check_flags(values: Any, path: str, length: int, whose: str) -> list[int]:
    """A 0 or 1 for each of something."""
    expect(isinstance(values, list), path, "a list of 0 and 1", values)
    for number, value in enumerate(values):
        expect(value in (0, 1), f"{path}[{number}]", "0 or 1", value)
    _check_length(values, path, length, whose)
    return [int(value) for value in values]


def check_indices(values: Any, path: str, length: int, whose: str) -> list[int]:
    """Indices of some of something, in order."""
    expect(isinstance(values, list), path, "a list of indices", values)
    for number, value in enumerate(values):
        is_index = _is_integer(value) and 0 <= value < length
        expect(is_index, f"{path}[{number}]", f"the index of one of the {length} {whose}", value)
    return sorted({int(value) for value in values})


def expect(holds: bool, path: str, expected: str, value: Any) -> None:
    """Raise `InvalidInputError` unless something holds of a value."""
    if not holds:
        raise InvalidInputError(f"{path}: must be {expected}, got {shown(value)}")


def _check_length(values: Sequence[Any], path: str, length: int, whose: str) -> None:
    if len(values) != length:
        raise InvalidInputError(
            f"{path}: must have an entry for each of the {length} {whose}, got {len(values)}"
        )


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
