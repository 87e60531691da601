from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from provence_rag import ProvenceOutput, PrunedPassage, Sentence

DOCUMENT = "One. Two.\nThree. Four."
SPANS = [(0, 4), (5, 9), (10, 16), (17, 22)]


def passage(*kept: bool, text: str = "", **fields: Any) -> PrunedPassage:
    sentences = tuple(
        Sentence(
            text=DOCUMENT[start:end],
            start=start,
            end=end,
            score=0.25,
            kept=is_kept,
            token_start=2 * number,
            token_end=2 * number + 2,
        )
        for number, ((start, end), is_kept) in enumerate(zip(SPANS, kept, strict=False))
    )
    values = {"index": 3, "document": DOCUMENT, "title": None, "score": 0.5, "logit": 0.0}
    return PrunedPassage(**{**values, "text": text, "sentences": sentences, **fields})


@pytest.mark.parametrize(
    ("kept", "spans"),
    [
        ((True, True, True, True), [[0, 22]]),
        ((True, True, False, True), [[0, 9], [17, 22]]),
        ((False, True, True, False), [[5, 16]]),
        ((False, False, False, False), []),
        ((), []),
    ],
)
def test_kept_spans_merge_neighbours(kept: tuple[bool, ...], spans: list[list[int]]) -> None:
    assert passage(*kept).kept_spans == spans


def test_changing_kept_spans_does_not_change_the_passage() -> None:
    result = passage(True, False, False, False)
    result.kept_spans[0][1] = 99
    assert result.kept_spans == [[0, 4]]


def test_provenance_with_and_without_sentence_scores() -> None:
    result = passage(True, False, False, False, text="One.")
    figures = {"kept_spans": [[0, 4]], "compression": 1 - 4 / 22, "original_length": 22}
    assert result.provenance() == figures
    assert result.provenance(sentence_scores=True) == {
        **figures,
        "sentence_spans": [[0, 4], [5, 9], [10, 16], [17, 22]],
        "sentence_scores": [0.25] * 4,
    }


def test_figures() -> None:
    result = passage(True, False, True, False, text="One.\nThree.")
    assert result.compression == 0.5
    assert (result.num_tokens, result.num_kept_tokens) == (8, 4)
    assert not result.is_empty
    assert str(result) == "One.\nThree."


def test_passage_without_anything() -> None:
    result = passage(document="")
    assert result.is_empty
    assert result.compression == 0.0
    assert (result.num_tokens, result.num_kept_tokens) == (0, 0)


def test_results_are_immutable() -> None:
    result = passage(True)
    with pytest.raises(FrozenInstanceError):
        result.text = "other"  # type: ignore[misc]


def test_to_dict_holds_everything_as_plain_types() -> None:
    result = passage(True, text="One.", title="Numbers")
    assert result.to_dict() == {
        "index": 3,
        "document": DOCUMENT,
        "text": "One.",
        "title": "Numbers",
        "score": 0.5,
        "logit": 0.0,
        "sentences": [
            {
                "text": "One.",
                "start": 0,
                "end": 4,
                "score": 0.25,
                "kept": True,
                "token_start": 0,
                "token_end": 2,
                "needs": [],
            }
        ],
        "kept_whole": None,
        "kept_spans": [[0, 4]],
        "compression": 1 - 4 / 22,
        "num_tokens": 2,
        "num_kept_tokens": 2,
    }


def test_json_is_ascii_and_survives_lone_surrogates() -> None:
    result = passage(document="日本 \ud800", text="日本 \ud800")
    assert result.to_json().isascii()
    assert json.loads(result.to_json(indent=2)) == result.to_dict()


def test_output_aligns_passages() -> None:
    output = ProvenceOutput.from_passages([passage(True, False, text="One."), passage()])
    assert len(output) == 2
    assert output.to_dict() == {
        "ranking_scores": [0.5, 0.5],
        "ranking_logits": [0.0, 0.0],
        "pruning_masks": [[True, False], []],
        "pruning_probs": [[0.25, 0.25], []],
        "sentences": [["One.", "Two."], []],
        "sentence_boundaries": [[[0, 2], [2, 4]], []],
        "original_positions": [[[0, 4], [5, 9]], []],
        "pruning_logits": [[math.log(0.25) - math.log1p(-0.25)] * 2, []],
        "compression_ratios": [1 - 4 / 22, 1.0],
        "pruned_sentence_counts": [1, 0],
        "compression_ratio": 1 - 4 / 44,
        "num_pruned_sentences": 1,
        "pruned_documents": ["One.", ""],
        "untrained_languages": [None, None],
    }
    assert output.original_positions == [[(0, 4), (5, 9)], []]


def test_output_without_documents() -> None:
    assert ProvenceOutput.from_passages([passage()], return_documents=False).pruned_documents is None


def test_importing_results_does_not_import_rich() -> None:
    code = "import sys, provence_rag.results; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
