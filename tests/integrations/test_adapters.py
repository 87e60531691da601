from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from langchain_provence import ProvenceCompressor, ProvenceCrossEncoder
from llama_index_provence import ProvencePostprocessor
from provence_rag import PruningOptions
from provence_rag.adapters import AdapterFields, ModelFields

ADAPTERS = [ProvenceCompressor, ProvencePostprocessor]
FRAMEWORK_OWN = {"callback_manager"}


@pytest.mark.parametrize(
    ("adapter", "shared", "own"),
    [
        (ProvenceCompressor, AdapterFields, set()),
        (ProvencePostprocessor, AdapterFields, {"keep_retrieval_score", *FRAMEWORK_OWN}),
        (ProvenceCrossEncoder, ModelFields, set()),
    ],
)
def test_the_shared_fields_are_the_same_everywhere(
    adapter: type[BaseModel], shared: type[BaseModel], own: set[str]
) -> None:
    fields = adapter.model_fields
    assert fields.keys() - shared.model_fields.keys() == own
    for name, field in shared.model_fields.items():
        assert repr(fields[name]) == repr(field), name  # type, default, bounds and description


@pytest.mark.parametrize("adapter", [*ADAPTERS, ProvenceCrossEncoder])
def test_every_field_has_a_description(adapter: type[BaseModel]) -> None:
    for name in adapter.model_fields.keys() - FRAMEWORK_OWN:
        description = adapter.model_fields[name].description
        assert description, name
        assert description.endswith("."), name


@pytest.mark.parametrize("adapter", [*ADAPTERS, ProvenceCrossEncoder])
def test_the_frameworks_do_not_loosen_the_configuration(adapter: type[BaseModel]) -> None:
    assert adapter.model_config.items() >= ModelFields.model_config.items()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_pruning_option_is_a_field_with_the_same_default(adapter: type[Any]) -> None:
    assert adapter()._options() == PruningOptions()
