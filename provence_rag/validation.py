"""Checks of what a caller passes in. Each message names the argument, the value and what is expected."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Set
from numbers import Integral, Real
from typing import Any

from provence_rag.errors import InvalidInputError

__all__ = [
    "check_count",
    "check_document",
    "check_flag",
    "check_number",
    "check_rows",
    "check_share",
    "check_text",
    "check_texts",
    "check_titles",
    "cut",
    "parse_json",
    "shortened",
    "shown",
]

_LONGEST = 60
"""Characters of a value that a message quotes."""


def check_number(name: str, value: Any) -> None:
    """Raise `InvalidInputError` unless `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InvalidInputError(f"{name} must be a number, got {shortened(value)}")


def check_share(name: str, value: Any) -> None:
    """Raise `InvalidInputError` unless `value` is a number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InvalidInputError(f"{name} must be a number between 0 and 1, got {shortened(value)}")


def check_count(name: str, value: Any, minimum: int) -> None:
    """Raise `InvalidInputError` unless `value` is an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise InvalidInputError(f"{name} must be an integer >= {minimum}, got {shortened(value)}")


def check_flag(name: str, value: Any) -> None:
    """Raise `InvalidInputError` unless `value` is True or False."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} must be True or False, got {shortened(value)}")


def check_text(name: str, value: Any, *, blank: bool = True) -> str:
    """Return `value` as a plain string; with `blank=False` it must hold more than white space."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a string, got {shown(value)}")
    if not blank and not value.strip():
        raise InvalidInputError(f"{name} is blank ({shortened(value)}): a query needs words")
    return str.__str__(value)  # numpy's strings and those of enumerations are subclasses


def check_texts(name: str, values: Any, *, blank: bool = True) -> list[str]:
    """Return `values`, any ordered iterable of strings, as a list of plain strings."""
    return [
        check_text(f"{name}[{number}]", value, blank=blank)
        for number, value in enumerate(check_rows(name, values, of="strings"))
    ]


def check_titles(name: str, values: Any, length: int) -> list[str | None]:
    """Return `length` titles, blank ones as None; `values` may be None for no titles at all."""
    if values is None:
        return [None] * length
    rows = check_rows(name, values, of="strings", length=length, whose="documents")
    titles = [None if row is None else check_text(f"{name}[{i}]", row) for i, row in enumerate(rows)]
    return [title if title and title.strip() else None for title in titles]


def check_document(name: str, value: Any) -> tuple[str, str | None]:
    """Return text and title of a document in a file or a table: a string, or an object with these keys."""
    if isinstance(value, str):
        return str.__str__(value), None
    text = value.get("text", value.get("page_content")) if isinstance(value, Mapping) else None
    if not isinstance(text, str):
        raise InvalidInputError(
            f"{name}: expected a string, or an object with text or page_content as a string, "
            f"got {_json_kind(value)}"
        )
    title = value.get("title")
    if not isinstance(title, str | None):
        raise InvalidInputError(f"{name}: title must be a string, got {title!r}")
    return text, title


def check_rows(name: str, values: Any, *, of: str, length: int | None = None, whose: str = "") -> list[Any]:
    """Return `values`, any ordered iterable, as a list. It is read once, so a generator will do.

    Args:
        name: The argument.
        values: Its value.
        of: What it is a list of.
        length: The number of entries that it must have; None allows any.
        whose: What it must have as many entries as.
    """
    # A string is a sequence of strings; mappings and sets have no order that results could keep.
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        hint = ": put a single one into a list" if isinstance(values, str) else ""
        raise InvalidInputError(f"{name} must be a list of {of}, got {shown(values)}{hint}")
    rows = list(values)
    if length is not None and len(rows) != length:
        raise InvalidInputError(
            f"{name} must have an entry for each of the {length} {whose}, got {len(rows)}"
        )
    return rows


def _json_kind(value: Any) -> str:
    """What JSON calls a value, which itself may be long; of other types, the name."""
    if isinstance(value, Real) and not isinstance(value, bool):
        return "a number"
    names = {dict: "an object", list: "an array", bool: "a boolean", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def parse_json(name: str, text: str | bytes) -> Any:
    """Return what a JSON text says; messages begin with `name`, the place that it was read from."""
    try:
        return json.loads(text, parse_float=_finite_float, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise InvalidInputError(f"{name}: not JSON: {error.msg} at {place}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{name}: not UTF-8: {error.reason}") from error
    except RecursionError as error:
        raise InvalidInputError(f"{name}: the JSON is nested too deeply") from error
    except ValueError as error:  # also an integer with thousands of digits
        raise InvalidInputError(f"{name}: a number cannot be read: {error}") from error


def _finite_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large")
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON: write null")


def shown(value: Any) -> str:
    """The type and the beginning of a value, for a message."""
    return f"{type(value).__name__} {shortened(value)}"


def shortened(value: Any) -> str:
    """The beginning of a value, as Python writes it, for a message."""
    return cut(repr(value))


def cut(text: str) -> str:
    """The beginning of a text, for a message."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
