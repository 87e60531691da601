"""What each strategy gives the LLM to read."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from provence_rag import InvalidInputError, PruningOptions
from provence_rag.testing import fake_provence
from provence_training.qa import QAQuestion, Strategy, parse_strategy
from provence_training.qa.rivals import FilterByEmbeddings

MODEL = fake_provence()
QUESTION = QAQuestion(
    id="1",
    text="Where do otters sleep?",
    language="en",
    answers=("rivers",),
    passages=("Cows moo loudly. Dogs bark.", "Many animals play. Otters sleep in rivers."),
    own=1,
    evidence="Otters sleep in rivers.",
)


def read_with(specification: str) -> list[str]:
    strategy = parse_strategy(specification, lambda: MODEL)
    assert isinstance(strategy, Strategy)
    assert strategy.name == specification
    passages = QUESTION.top(2)
    context = strategy.context(QUESTION, passages)
    assert passages == list(QUESTION.passages)
    return context


def test_strategies() -> None:
    assert read_with("none") == []
    assert read_with("all") == list(QUESTION.passages)
    assert read_with("oracle") == ["Otters sleep in rivers."]
    assert read_with("rerank:1") == [QUESTION.passages[1]]
    assert read_with("rerank:5") == [QUESTION.passages[1], QUESTION.passages[0]]


def test_pruning_is_that_of_the_library() -> None:
    for specification, options in {
        "prune": {},
        "prune:keep_answers=0.9": {"keep_answers": 0.9},
        "prune:threshold=0.05": {"threshold": 0.05},
        "prune:max_tokens=5": {"max_tokens": 5},
        "prune:context_before=1,keep_together=false": {"context_before": 1, "keep_together": False},
    }.items():
        pruned = MODEL.process(
            QUESTION.text,
            QUESTION.top(2),
            options=PruningOptions(**options),  # type: ignore[arg-type]
            reorder=True,
        )
        assert read_with(specification) == [passage.text for passage in pruned if passage.text]
    assert read_with("prune:top_k=1") == ["Otters sleep in rivers."]


def test_a_model_is_loaded_only_for_those_that_need_one() -> None:
    def refuse() -> Any:
        raise AssertionError("no model is needed")

    for name in ("none", "all", "oracle"):
        parse_strategy(name, refuse)


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        (
            "best",
            "strategy 'best' is unknown: it must be one of none, all, oracle, rerank:N, prune, prune:NAME",
        ),
        ("rerank", "strategy 'rerank' is unknown"),
        ("all:3", "strategy 'all:3' is unknown"),
        ("oracle:", "strategy 'oracle:' is unknown"),
        ("prune:", "strategy 'prune:' is unknown"),
        ("embedding-filter::0.3", "strategy 'embedding-filter::0.3' is unknown"),
        ("prune:top_k=abc", "top_k must be an integer >= 1, got 'abc'"),
        ("prune:top_k=0", "top_k must be an integer >= 1, got 0"),
        ("prune:score_threshold=high", "score_threshold must be a number between 0 and 1, got 'high'"),
        ("prune:top_k=1,top_k=2", "strategy 'prune:top_k=1,top_k=2' has top_k twice"),
        ("rerank:0", "top_n must be an integer >= 1, got 0"),
        (
            "prune:limit=0.1",
            "strategy 'prune:limit=0.1' has 'limit=0.1', which must be NAME=VALUE with",
        ),
        ("prune:threshold", "has 'threshold', which must be NAME=VALUE"),
        ("prune:threshold=2", "threshold must be a number between 0 and 1, got 2"),
        ("prune:threshold=high", "threshold must be a number between 0 and 1, got 'high'"),
        ("prune:keep_answers=0.999", "keep_answers"),
        ("llmlingua2:some/model", "strategy llmlingua2 needs a package: pip install llmlingua"),
        ("embedding-filter:some/model:3", "share must be a number between 0 and 1, got 3.0"),
    ],
)
def test_what_is_not_a_strategy(specification: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        parse_strategy(specification, lambda: MODEL)


def test_no_evidence_for_the_oracle() -> None:
    question = QAQuestion(id="x", text="?", language="en", answers=("a",), passages=("a",))
    with pytest.raises(InvalidInputError, match="question 'x' has no evidence"):
        parse_strategy("oracle", lambda: MODEL).context(question, ["a"])


class Encoder:
    """A bi-encoder that sees animals."""

    def encode_query(self, texts: list[str], **_: Any) -> Any:
        return np.array([[float("otter" in text.lower()), 1.0] for text in texts])

    encode_document = encode_query


def test_the_embedding_filter_keeps_a_share_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    import sentence_transformers

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", lambda *_, **__: Encoder())
    passages = QUESTION.top(2)
    assert FilterByEmbeddings("m", 0.1).context(QUESTION, passages) == ["Otters sleep in rivers."]
    assert FilterByEmbeddings("m", 1).context(QUESTION, passages) == passages
    assert FilterByEmbeddings("m", 0).context(QUESTION, passages) == []
    assert parse_strategy("embedding-filter:org/m:0.1", lambda: MODEL).name == "embedding-filter:org/m:0.1"
