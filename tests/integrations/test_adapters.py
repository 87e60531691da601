"""What both adapters have in common: their fields, and what those do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias, get_type_hints

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import BaseModel, ValidationError

from langchain_provence import ProvenceCompressor, ProvenceCrossEncoder
from llama_index_provence import ProvencePostprocessor
from provence_rag import InvalidInputError, Provence, PruningOptions
from provence_rag.adapters import AdapterFields, ModelFields
from provence_rag.options import OPTIONS
from provence_rag.testing import fake_provence

Result: TypeAlias = tuple[str, dict[str, Any]]

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


@pytest.mark.parametrize("name", OPTIONS)
def test_every_pruning_option_is_a_field_of_the_same_type_default_and_description(name: str) -> None:
    field = AdapterFields.model_fields[name]
    assert get_type_hints(AdapterFields)[name] == get_type_hints(PruningOptions)[name]
    assert field.default == getattr(PruningOptions, name)
    assert field.description == OPTIONS[name].help


def test_the_schema_tells_the_ranges() -> None:
    properties = AdapterFields.model_json_schema()["properties"]
    assert properties["ratio"].items() >= {"minimum": 0, "maximum": 1}.items()
    assert properties["max_tokens"]["minimum"] == 1
    assert "minimum" not in properties["mode"]


def test_the_fields_of_a_model_are_the_arguments_of_from_pretrained() -> None:
    arguments = signature(Provence.from_pretrained, eval_str=True).parameters
    own = {"name_or_path", "token", "api_key"}
    assert arguments.keys() - own == ModelFields.model_fields.keys() - {"model", "batch_size"}
    types = get_type_hints(ModelFields)
    for name in arguments.keys() - own:
        assert ModelFields.model_fields[name].default == arguments[name].default
        assert types[name] == arguments[name].annotation


DEFAULTS = {None: r"[^\d]*", "auto": "detected"}


def test_the_table_of_options_has_every_field_and_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "options.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| option \|.*\n\|[- |]+\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    documented = []
    for row in table.splitlines():
        first, *_, last = row.strip("| ").split(" | ") if not row.startswith("| **") else ("", "")
        names = re.findall(r"`(\w+)`", first)
        documented += names
        defaults = {AdapterFields.model_fields[n].default for n in names if n in AdapterFields.model_fields}
        if len(names) == 1 and defaults and names != ["backend"]:
            (default,) = defaults
            pattern = DEFAULTS.get(default, f"`?{default}`?")
            assert re.fullmatch(pattern, last.strip(" |")), f"docs/options.md says of {names[0]}: {last}"
    assert len(documented) == len(set(documented))
    assert documented
    assert set(documented) == AdapterFields.model_fields.keys()


QUERY = "Where do penguins live?"
GOOD = "Penguins live in Antarctica. The market fell today."
WEAK = "Music was loud. Many penguins swim."
CARS = "My car has new tyres. It is red."  # the model finds nothing in it worth keeping
ROADS = "Roads are long."


def langchain(texts: Sequence[str], metadata: Sequence[dict[str, Any]], **fields: Any) -> list[Result]:
    documents = [Document(page_content=text, metadata=m) for text, m in zip(texts, metadata, strict=True)]
    results = ProvenceCompressor(**fields).compress_documents(documents, QUERY)
    return [(document.page_content, document.metadata) for document in results]


def llama_index(texts: Sequence[str], metadata: Sequence[dict[str, Any]], **fields: Any) -> list[Result]:
    nodes = [
        NodeWithScore(node=TextNode(text=text, metadata=m)) for text, m in zip(texts, metadata, strict=True)
    ]
    results = ProvencePostprocessor(**fields).postprocess_nodes(nodes, query_str=QUERY)
    return [(item.text, item.metadata) for item in results]


@pytest.fixture(params=[langchain, llama_index])
def run(request: pytest.FixtureRequest, model: Provence) -> Callable[..., list[Result]]:
    """Sends texts through either adapter; gives text and metadata of what comes back."""

    def run(texts: Sequence[str], metadata: Sequence[dict[str, Any]] | None = None, **fields: Any) -> Any:
        return request.param(texts, metadata or [{} for _ in texts], **{"model": model, **fields})

    return run


def texts_of(results: list[Result]) -> list[str]:
    return [text for text, _ in results]


GOOD_PRUNED, WEAK_PRUNED = "Penguins live in Antarctica.", "Many penguins swim."


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({}, [GOOD_PRUNED, WEAK_PRUNED]),
        ({"min_documents": 1}, [GOOD_PRUNED, WEAK_PRUNED]),
        ({"min_documents": 3}, [GOOD_PRUNED, WEAK_PRUNED, "Roads are long."]),
        ({"min_documents": 99}, [GOOD_PRUNED, WEAK_PRUNED, "Roads are long.", "My car has new tyres."]),
        ({"score_threshold": 1.0}, []),
        ({"score_threshold": 1.0, "min_documents": 1}, [GOOD_PRUNED]),
        ({"score_threshold": 1.0, "min_documents": 3}, [GOOD_PRUNED, WEAK_PRUNED, "Roads are long."]),
        ({"score_threshold": 0.1, "min_documents": 1}, [GOOD_PRUNED, WEAK_PRUNED]),
        ({"score_threshold": 1.0, "min_documents": 2, "rerank": False}, [WEAK_PRUNED, GOOD_PRUNED]),
        ({"threshold": 1.0, "min_documents": 2}, [GOOD_PRUNED, WEAK_PRUNED]),
        ({"max_tokens": 5, "min_documents": 2}, [GOOD_PRUNED, WEAK_PRUNED]),
        ({"top_n": 1, "rerank": False, "min_documents": 1}, ["Roads are long."]),
        ({"keep_empty": True, "min_documents": 3}, [GOOD_PRUNED, WEAK_PRUNED, "Roads are long.", ""]),
    ],
)
def test_min_documents(run: Any, fields: dict[str, Any], texts: list[str]) -> None:
    assert texts_of(run([ROADS, WEAK, CARS, GOOD], **fields)) == texts


def test_min_documents_needs_no_second_reading(run: Any, calls: list[dict[str, Any]]) -> None:
    run([CARS, ROADS], score_threshold=1.0, min_documents=2)
    assert len(calls) == 1


def test_a_passage_that_min_documents_brings_back_is_described_as_it_is(run: Any) -> None:
    ((text, metadata),) = run([CARS], min_documents=1)
    assert text == "My car has new tyres."
    assert metadata["provence"]["kept_spans"] == [[0, len(text)]]
    assert metadata["provence"]["compression"] == 1 - len(text) / len(CARS)


def test_min_documents_with_a_model_that_only_prunes(run: Any) -> None:
    results = run([ROADS, CARS, GOOD], model=fake_provence(can_rank=False), min_documents=2)
    assert texts_of(results) == ["Roads are long.", GOOD_PRUNED]


def test_the_budget_is_not_spent_on_what_the_threshold_drops(run: Any) -> None:
    dense = "Penguins."  # its sentence is the best one, its score is low
    for min_documents in (0, 1):
        results = run([dense, GOOD], max_tokens=5, score_threshold=0.6, min_documents=min_documents)
        assert texts_of(results) == [GOOD_PRUNED]


def test_the_first_title_with_words_is_taken(run: Any, calls: list[dict[str, Any]]) -> None:
    metadata = [
        {"title": "Birds", "source": "birds.txt"},
        {"title": " ", "source": "fish.txt"},
        {"title": 7, "heading": None},
    ]
    run([GOOD, WEAK, CARS], metadata, title_key=["title", "heading", "source"])
    run([GOOD, WEAK, CARS], metadata, title_key="source")
    run([GOOD, WEAK, CARS], metadata)
    assert [call["titles"] for call in calls] == [
        ["Birds", "fish.txt", None],
        ["birds.txt", "fish.txt", None],
        [None, None, None],
    ]


def test_sentence_scores_on_request(run: Any) -> None:
    ((_, metadata),) = run([GOOD], sentence_scores=True)
    figures = metadata["provence"]
    assert figures["sentence_spans"] == [[0, 28], [29, len(GOOD)]]
    first, second = figures["sentence_scores"]
    assert 1 >= first > second >= 0
    assert json.loads(json.dumps(metadata)) == metadata
    assert "sentence_scores" not in run([GOOD])[0][1]["provence"]


def test_the_values_that_are_replaced_stay_in_the_record(run: Any) -> None:
    mine = {"relevance_score": 0.25, "provence": "a vineyard", "year": 1908}
    ((_, metadata),) = run([GOOD], [mine])
    assert metadata["provence"]["replaced"] == {"relevance_score": 0.25, "provence": "a vineyard"}
    assert metadata["relevance_score"] == run([GOOD])[0][1]["relevance_score"]
    assert metadata["year"] == 1908
    assert mine == {"relevance_score": 0.25, "provence": "a vineyard", "year": 1908}
    assert "replaced" not in run([GOOD], [{"year": 1908}])[0][1]["provence"]


def test_metadata_keys_can_be_chosen(run: Any) -> None:
    mine = {"relevance_score": 0.25, "provence": "a vineyard"}
    ((_, metadata),) = run([GOOD], [mine], score_key="score", record_key="pruning")
    ((_, usual),) = run([GOOD])
    assert metadata == {**mine, "score": usual["relevance_score"], "pruning": usual["provence"]}


def test_pruning_again_keeps_the_first_record(run: Any) -> None:
    ((text, first),) = run([GOOD])
    ((_, second),) = run([text], [first])
    assert second["provence"]["replaced"] == first
    assert second["provence"]["original_length"] == len(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"score_key": ""}, "at least 1 character"),
        ({"record_key": "relevance_score"}, "score_key and record_key must differ, got 'relevance_score'"),
        ({"min_documents": -1}, "greater than or equal to 0"),
        ({"min_documents": 3, "top_n": 2}, "min_documents=3 is more than top_n=2"),
        ({"title_key": 7}, "title_key"),
        ({"dtype": "int4"}, "dtype must be one of int8, float32, float16, bfloat16 for backend='auto'"),
        ({"device": "cuda", "backend": "onnx"}, "device='cuda' needs torch"),
        ({"max_length": 15}, "greater than or equal to 16"),
        ({"chunker": 7}, "chunker must be a BaseChunker"),
        ({"trust_remote_code": True}, "Extra inputs are not permitted"),
    ],
)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_wrong_value_is_reported_at_construction(
    adapter: type[BaseModel], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        adapter(**fields)


@pytest.mark.parametrize("adapter", [*ADAPTERS, ProvenceCrossEncoder])
def test_every_argument_of_from_pretrained_is_a_field_but_secrets(adapter: type[BaseModel]) -> None:
    secrets = {"token", "api_key"}
    arguments = set(signature(Provence.from_pretrained).parameters) - {"name_or_path"}
    assert arguments - secrets <= adapter.model_fields.keys()
    assert not secrets & adapter.model_fields.keys()


def test_the_fields_of_a_model_reach_from_pretrained(
    run: Any, loads: list[dict[str, Any]], tmp_path: Path
) -> None:
    settings = {"dtype": "float32", "revision": "v1", "cache_folder": tmp_path, "local_files_only": True}
    run([GOOD], model="some/name", **settings)
    assert loads == [{"name_or_path": "some/name", **settings}]


@pytest.mark.parametrize("adapter", [*ADAPTERS, ProvenceCrossEncoder])
@pytest.mark.parametrize(("name", "variable"), [("token", "HF_TOKEN"), ("api_key", "PROVENCE_API_KEY")])
def test_a_secret_is_refused_and_not_shown(adapter: type[BaseModel], name: str, variable: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} is no field.*{variable}") as construction:
        adapter(**{name: "hf_secret"})
    instance: Any = adapter()
    with pytest.raises(TypeError, match=f"^{name} is no field.*{variable}") as assignment:
        setattr(instance, name, "hf_secret")
    assert "hf_secret" not in f"{construction.value}{assignment.value}"


# --- what users of other rerankers and pruners complain about --------------------------------------------


def test_scores_are_probabilities_that_a_threshold_can_be_set_on(run: Any) -> None:
    results = run([CARS, GOOD], model=Provence.from_pretrained(), mode="off")
    scores = {text: metadata["relevance_score"] for text, metadata in results}
    assert 0 <= scores[CARS] < 0.5 < scores[GOOD] <= 1
    for threshold in (-1.0, 1.5):  # for a model whose scores are logits they would be all right
        with pytest.raises(InvalidInputError, match="score_threshold must be a number between 0 and 1"):
            run([CARS, GOOD], score_threshold=threshold)


def test_scores_belong_to_their_passages(run: Any) -> None:
    texts = [ROADS, WEAK, CARS, GOOD]
    alone = {text: run([text], mode="off")[0][1]["relevance_score"] for text in texts}
    assert len(set(alone.values())) == 3
    for fields in ({"mode": "off"}, {"mode": "off", "top_n": 2}, {"mode": "off", "rerank": False}):
        assert all(metadata["relevance_score"] == alone[text] for text, metadata in run(texts, **fields))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_call_changes_no_field(adapter: type[Any], model: Provence) -> None:
    instance = adapter(model=model, top_n=5, min_documents=2, score_threshold=0.5)
    before = dict(instance)
    for texts in ([GOOD], [GOOD, WEAK, CARS] * 4):
        results = instance.process(QUERY, texts, [{}] * len(texts))
        assert 1 <= len(results) <= 5
    assert dict(instance) == before


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    ("name", "value"), [("threshold", 1.5), ("top_n", 0), ("min_documents", 6), ("dtype", "int3")]
)
def test_a_refused_assignment_leaves_the_old_value(
    adapter: type[Any], model: Provence, name: str, value: Any
) -> None:
    instance = adapter(model=None if name == "dtype" else model, top_n=5, threshold=0.2)
    before = dict(instance)
    with pytest.raises(ValidationError):
        setattr(instance, name, value)
    assert dict(instance) == before
    instance.top_n = 2
    assert instance.top_n == 2


@pytest.mark.parametrize(
    "fields",
    [{}, {"threshold": 0.2}, {"ratio": 0.3}, {"max_tokens": 12}, {"min_sentences": 2}, {"context_before": 1}],
)
def test_kept_sentences_stand_in_their_order(run: Any, fields: dict[str, Any]) -> None:
    best_last = "Penguins swim. The market fell today. Penguins live on ice where it is cold. Penguins live."
    ((text, metadata),) = run([best_last], **fields)
    spans = metadata["provence"]["kept_spans"]
    assert spans == sorted(spans)
    assert text == " ".join(best_last[start:end] for start, end in spans)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Penguins", id="word"),
        pytest.param("Penguins live in Antarctica", id="sentence"),
        pytest.param("Penguins live here, " * 3000, id="very long sentence"),
        pytest.param("penguins" * 5000 + " penguins", id="very long word"),
        pytest.param("ペンギンは南極に住み、" * 500, id="Japanese"),
    ],
)
def test_single_and_very_long_sentences(run: Any, text: str) -> None:
    ((kept, _),) = run([text], min_documents=1)
    assert kept.strip() == text.strip()
    assert run([f"{CARS} {text}"], min_sentences=1)[0][0]


def test_neighbours_of_a_hit(run: Any) -> None:
    text = "It rains. The sea is near. Penguins live here. It snows. The sun is far."
    assert texts_of(run([text])) == ["Penguins live here."]
    assert texts_of(run([text], context_before=1)) == ["The sea is near. Penguins live here."]
    assert texts_of(run([text], context_after=2)) == ["Penguins live here. It snows. The sun is far."]


def test_keep_answers(run: Any) -> None:
    text = "Penguins live in the south. Cold penguins are far from here. The sun is far."
    few, more = (texts_of(run([text], keep_answers=share))[0] for share in (0.9, 0.97))
    assert more.startswith(few)
    assert len(more) > len(few)
    with pytest.raises(InvalidInputError, match=r"keep_answers=0\.999 is more than this checkpoint promises"):
        run([text], keep_answers=0.999)


def test_one_budget_for_all_passages(run: Any) -> None:
    other = "Traders met. Penguins live on ice. The sea was calm."
    results = run([GOOD, CARS, other], max_tokens=10)
    assert texts_of(results) == [GOOD_PRUNED, "Penguins live on ice."]
    assert texts_of(run([GOOD, CARS, other], max_tokens=5)) == [GOOD_PRUNED]
