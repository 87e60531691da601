"""The new columns in pyarrow, with types that do not depend on what a batch happens to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from provence_rag.errors import InvalidInputError

__all__ = ["added_fields", "check_types", "with_arrays"]

_SPANS = pa.list_(pa.list_(pa.int64()))
_TYPES = {
    "pruned_text": pa.string(),
    "kept_spans": _SPANS,
    "relevance_score": pa.float64(),
    "sentence_spans": _SPANS,
    "sentence_scores": pa.list_(pa.float64()),
}

_LIST_TESTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
_TEXT_TESTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_null,
)

_EXPECTED = {
    "questions": "strings",
    "documents": "strings, structs or lists of these",
    "titles": "strings or lists of strings",
}
"""What the columns that are read may hold, in their order."""


def check_types(schema: pa.Schema, columns: Sequence[str], place: str) -> None:
    """Check that columns can hold what is read from them.

    Args:
        schema: The table's.
        columns: Those with the questions, the documents and, if there are any, the titles.
        place: What the message begins with.

    Raises:
        InvalidInputError: No cell of a column could be read.
    """
    for name, (what, expected) in zip(columns, _EXPECTED.items(), strict=False):
        given = schema.field(name).type
        if not _may_hold(given, what):
            raise InvalidInputError(
                f"{place}the column of {what}, {name!r}, must have {expected}, has {given}"
            )


def _may_hold(given: pa.DataType, what: str) -> bool:
    if pa.types.is_dictionary(given) or (what != "questions" and _is_list(given)):
        return _may_hold(given.value_type, what)
    return any(test(given) for test in _TEXT_TESTS) or (what == "documents" and pa.types.is_struct(given))


def _is_list(given: pa.DataType) -> bool:
    return any(test(given) for test in _LIST_TESTS)


def added_fields(names: Mapping[str, str], documents: pa.DataType) -> list[pa.Field]:
    """The new columns.

    Args:
        names: The column that holds each kind of result, as in `RESULTS`.
        documents: The type of the column with the documents: of lists, each new column has lists, too.
    """
    if pa.types.is_dictionary(documents):
        documents = documents.value_type
    is_list = _is_list(documents)
    text = documents.value_type if is_list else documents
    types = {**_TYPES, "pruned_text": pa.large_string()} if pa.types.is_large_string(text) else _TYPES
    return [pa.field(name, pa.list_(types[kind]) if is_list else types[kind]) for kind, name in names.items()]


def with_arrays(batch: Any, added: Mapping[str, list[Any]], names: Mapping[str, str], documents: str) -> Any:
    """A table or record batch with the new columns."""
    for field in added_fields(names, batch.schema.field(documents).type):
        batch = batch.append_column(field, pa.array(added[field.name], field.type))
    return batch
