"""Storing, copying and restoring a postprocessor."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.schema import NodeWithScore
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from llama_index_provence import ProvencePostprocessor
from provence_rag import EnglishChunker, Provence
from provence_rag.testing import fake_provence

QUERY = "Where do penguins live?"


def run(postprocessor: ProvencePostprocessor, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
    return postprocessor.postprocess_nodes(nodes, query_str=QUERY)


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [item.node_id for item in nodes]


DUPLICATES = {
    "dict": lambda p: ProvencePostprocessor.from_dict(p.to_dict()),
    "json": lambda p: ProvencePostprocessor.from_json(p.to_json()),
    "pickle": lambda p: pickle.loads(pickle.dumps(p)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES.keys())
def test_a_used_postprocessor_can_be_stored(
    loads: list[dict[str, Any]], nodes: list[NodeWithScore], duplicate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    postprocessor = ProvencePostprocessor(model="some/name", top_n=1, ratio=0.5, title_key="name")
    run(postprocessor, nodes)
    other = duplicate(postprocessor)
    assert other.to_dict() == postprocessor.to_dict()
    assert other.to_dict()["class_name"] == "ProvencePostprocessor"
    assert ids(run(other, nodes)) == ids(run(postprocessor, nodes)) == ["r"]
    assert [load["name_or_path"] for load in loads] in (["some/name"], ["some/name"] * 2)
    assert not caplog.records


@pytest.mark.parametrize("field", ["model", "cache_folder"])
def test_a_path_is_serialised_as_text(field: str) -> None:
    postprocessor = ProvencePostprocessor(**{field: Path("checkpoints/mine")})
    assert postprocessor.to_dict()[field] == "checkpoints/mine"
    assert json.loads(postprocessor.to_json())[field] == "checkpoints/mine"


@pytest.mark.parametrize("fields", [{"model": fake_provence()}, {"chunker": EnglishChunker()}])
def test_objects_do_not_vanish_from_serialised_data(fields: dict[str, Any]) -> None:
    postprocessor = ProvencePostprocessor(**fields)
    with pytest.raises(
        PydanticSerializationError, match="object cannot be serialised: give the model as a name"
    ):
        postprocessor.to_dict()


def test_what_cannot_be_pickled_is_not_dropped() -> None:
    postprocessor = ProvencePostprocessor(chunker=lambda text: [text])
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(postprocessor)
    assert postprocessor.chunker is not None


def test_what_is_stored_is_complete() -> None:
    fields = {"model": "some/name", "top_n": 3, "title_key": ["title", "file"], "keep_retrieval_score": True}
    data = ProvencePostprocessor(**fields).to_dict()
    assert data.keys() == (ProvencePostprocessor.model_fields.keys() - {"callback_manager"}) | {"class_name"}
    assert data.items() >= fields.items()
    kept = copy.deepcopy(data)
    assert ProvencePostprocessor.from_dict(data, top_n=5).top_n == 5
    assert data == kept


def test_what_was_stored_is_checked_again() -> None:
    data = ProvencePostprocessor().to_dict()
    with pytest.raises(ValidationError, match="top_n"):
        ProvencePostprocessor.from_dict({**data, "top_n": 0})
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ProvencePostprocessor.from_dict({**data, "top_k": 3})


class Locked(LlamaDebugHandler):
    """Like many handlers, it holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__(print_trace_on_end=False)
        self.lock = Lock()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda p: p.model_copy(deep=True)])
def test_a_copy_shares_the_loaded_model_and_the_handlers(duplicate: Any, nodes: list[NodeWithScore]) -> None:
    handler = Locked()
    postprocessor = ProvencePostprocessor(
        model=Provence.from_pretrained(), top_n=2, callback_manager=CallbackManager([handler])
    )
    other = duplicate(postprocessor)
    other.top_n = 1
    assert postprocessor.top_n == 2
    assert other.model is postprocessor.model
    assert ids(run(other, nodes)) == ["r"]
    assert len(handler.get_event_pairs(CBEventType.RERANKING)) == 1
