"""What users complain about in other rerankers and pruners, and which tests prove that we do not have it.

A new adapter adds its tests to the lists. Paths are those under `tests/`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
_LEFT_OUT = {"skip", "skipif", "xfail"}

COMPLAINTS: dict[int, tuple[str, list[str]]] = {
    1: (
        "Documents that were passed in are changed, and earlier scores overwritten (langchain-nvidia PR 343)",
        [
            "integrations/test_langchain.py::test_copies_keep_id_and_class_and_the_input_stays_as_it_was",
            "integrations/test_langchain.py::test_pruning_twice_describes_the_second_time",
            "integrations/test_langchain_end_to_end.py::test_retrievers",
            "integrations/test_langchain_middleware.py::test_the_tool_and_its_message_are_not_changed",
            "integrations/llama_index/test_nodes.py::test_copies_keep_everything_and_the_input_stays_as_it_was",
            "integrations/llama_index/test_nodes.py::test_retrieval_score_on_request",
            "integrations/llama_index/test_engines.py::test_what_the_index_holds_is_not_changed",
        ],
    ),
    2: (
        "The id of a document is lost (langchain-cohere PR 131)",
        [
            "integrations/test_langchain.py::test_copies_keep_id_and_class_and_the_input_stays_as_it_was",
            "integrations/llama_index/test_nodes.py::test_copies_keep_everything_and_the_input_stays_as_it_was",
        ],
    ),
    3: (
        "Metadata are dropped (langchain 19142, LLMLingua 80)",
        [
            "integrations/test_langchain.py::test_metadata_tell_what_was_done",
            "integrations/llama_index/test_nodes.py::test_score_and_metadata_tell_what_was_done",
        ],
    ),
    4: (
        "numpy scores break JSON and FastAPI (llama_index 16743, 10780)",
        [
            "integrations/test_adapters.py::test_sentence_scores_on_request",
            "integrations/test_cross_encoder.py::test_scores_are_those_of_predict_as_python_floats",
            "integrations/sentence_transformers/test_pruning_cross_encoder.py::test_results_are_plain",
            "integrations/test_langchain_end_to_end.py::test_a_compressed_document_is_a_response",
            "integrations/llama_index/test_engines.py::test_a_pruned_node_is_a_fastapi_response",
            "integrations/llama_index/test_nodes.py::test_a_numpy_score_does_not_come_back",
            "integrations/llama_index/test_nodes.py::test_score_and_metadata_tell_what_was_done",
        ],
    ),
    5: (
        "numpy scalars break LangGraph's checkpoints (langgraph 8705)",
        [
            "integrations/test_langchain_end_to_end.py::test_documents_come_out_of_a_checkpoint_as_they_went_in",
            "integrations/test_langchain_end_to_end.py::test_an_asynchronous_graph_with_a_database",
        ],
    ),
    6: (
        "Raw logits make a threshold in [0, 1] useless (open-webui PR 20228)",
        ["integrations/test_adapters.py::test_scores_are_probabilities_that_a_threshold_can_be_set_on"],
    ),
    7: (
        "There is no score_threshold, or it is not inclusive (langchain PR 24016, langchain-cohere PR 137)",
        [
            "integrations/test_adapters.py::test_min_documents",
            "integrations/test_langchain.py::test_score_threshold_is_inclusive",
            "integrations/llama_index/test_postprocessor.py::test_score_threshold_is_inclusive",
        ],
    ),
    8: (
        "Kept sentences come in another order (llama_index PR 22354)",
        [
            "integrations/test_adapters.py::test_kept_sentences_stand_in_their_order",
            "inference/test_assembly.py::test_kept_sentences_stand_in_order_with_one_of_their_separators",
        ],
    ),
    9: (
        "A single or a very long sentence makes the pruner fail; at least one must stay (llama_index 6841)",
        [
            "integrations/test_adapters.py::test_single_and_very_long_sentences",
            "integrations/test_adapters.py::test_min_documents",
            "inference/test_engine.py::test_an_overlong_sentence_is_as_good_as_its_best_part",
        ],
    ),
    10: (
        "Essential content is lost (LLMLingua 213)",
        [
            "chunking/test_properties.py::test_spans_cover_the_text",
            "inference/test_engine.py::test_every_token_is_read_once_after_the_query",
            "integrations/sentence_transformers/test_pruning_cross_encoder.py::test_nothing_of_a_long_document_is_cut_off",
            "integrations/test_adapters.py::test_min_documents",
            "integrations/test_langchain.py::test_the_title_is_protected",
            "integrations/test_langchain_middleware.py::test_the_whole_text_stays_in_the_message",
            "test_bundled_model.py::test_the_answer_survives",
        ],
    ),
    11: (
        "Asynchronous calls fail, or block the event loop (llama_index 16911, 19379)",
        [
            "integrations/test_langchain_end_to_end.py::test_the_event_loop_goes_on",
            "integrations/test_langchain_end_to_end.py::test_fifty_tasks_on_one_compressor",
            "integrations/test_langchain_middleware.py::test_the_event_loop_goes_on",
            "integrations/llama_index/test_concurrency.py::test_fifty_tasks_ask_one_engine",
            "integrations/llama_index/test_concurrency.py::test_the_event_loop_goes_on",
        ],
    ),
    12: (
        "trust_remote_code is on by default (llama_index PR 23118)",
        [
            "integrations/test_adapters.py::test_a_wrong_value_is_reported_at_construction",
            "integrations/sentence_transformers/test_pruning_cross_encoder.py::test_no_code_of_a_checkpoint_is_run",
            "test_hub.py::test_a_name_is_downloaded_without_anything_that_could_be_run",
            "test_architecture.py::test_nothing_runs_foreign_code",
        ],
    ),
    13: (
        "top_n changes at run time, and scores land on the wrong node (llama_index PR 19221, 20597)",
        [
            "integrations/test_adapters.py::test_a_call_changes_no_field",
            "integrations/test_adapters.py::test_scores_belong_to_their_passages",
            "integrations/llama_index/test_postprocessor.py::test_fields_may_be_changed_between_calls",
        ],
    ),
    14: (
        "nltk downloads data, on read-only and offline hosts too (haystack 8836)",
        [
            "chunking/test_english.py::test_no_download_and_cheap_import",
            "integrations/test_langchain_end_to_end.py::test_eight_threads_on_the_bundled_model",
        ],
    ),
    15: (
        "No sentences around a hit, no budget across passages (llama_index 6842, 6884)",
        [
            "integrations/test_adapters.py::test_neighbours_of_a_hit",
            "integrations/test_adapters.py::test_one_budget_for_all_passages",
        ],
    ),
}


@cache
def collected(session: pytest.Session, file: str) -> set[str]:
    """The names of the tests that pytest finds in a file and does not skip."""
    module = pytest.Module.from_parent(session, path=TESTS / file)
    tests = [item for item in module.collect() if isinstance(item, pytest.Function)]
    return {test.originalname for test in tests if not _LEFT_OUT & {m.name for m in test.iter_markers()}}


def test_none_is_missing() -> None:
    assert list(COMPLAINTS) == list(range(1, 16))


@pytest.mark.parametrize("number", COMPLAINTS)
def test_what_proves_that_we_do_not_have_it_is_run(number: int, request: pytest.FixtureRequest) -> None:
    complaint, tests = COMPLAINTS[number]
    assert tests, complaint
    for test in tests:
        file, name = test.split("::")
        assert name in collected(request.session, file), (
            f"{test} is to prove that we do not have: {complaint}"
        )
