"""Questions from files with marked answers, from files with passages, and from retrievers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever as LlamaIndexRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from provence_rag import InvalidInputError
from provence_training.qa import QAQuestion, load_questions, retrieved_questions

DATA = Path(__file__).parents[3] / "examples" / "evaluation.jsonl"
FOUND = ["Dogs bark. Cats purr at night.", "Rivers flow.", "Cows moo."]


def test_each_question_meets_its_own_passage_among_others(questions: list[QAQuestion]) -> None:
    for question in questions:
        assert question.own is not None
        assert question.evidence is not None
        assert len(set(question.passages)) == 4
        own = question.passages[question.own]
        assert all(answer in own for answer in question.answers)
        assert all(answer in question.evidence for answer in question.answers)
        assert len(question.evidence) < len(own)
        for k in (1, 2, 3, 4):
            context = question.top(k)
            assert len(context) == k
            assert own in context
            # The order is the retriever's, whatever k is.
            assert context == [text for text in question.passages if text in context]


def test_the_own_passage_is_not_always_first() -> None:
    questions = load_questions(DATA, k=4)
    assert {question.own == 0 for question in questions} == {True, False}


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    whole = load_questions(DATA, k=2)
    assert len(whole) == 24
    for limit in (1, 5, 23, 100):
        assert load_questions(DATA, k=2, limit=limit) == whole[:limit]


def test_passages_begin_with_their_titles(tmp_path: Path) -> None:
    tower = "It opened in 1976. A staircase of it has 2,579 steps."
    start = tower.index("2,579")
    question = {"question": "How many steps has the tower?", "answers": [{"start": start, "end": start + 5}]}
    records = [
        {"title": "CN Tower", "text": tower, "questions": [question]},
        {"title": "Steps", "text": "Steps are stairs of a tower.", "questions": []},
        {"text": "A tower has many steps.", "questions": []},
    ]
    path = tmp_path / "titled.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    (found,) = load_questions(path, k=3)
    assert set(found.passages) == {
        f"CN Tower\n{tower}",
        "Steps are stairs of a tower.",  # its title is there
        "A tower has many steps.",
    }
    assert found.own is not None
    assert found.passages[found.own] == f"CN Tower\n{tower}"
    assert found.evidence == "CN Tower\nA staircase of it has 2,579 steps."


def test_questions_without_marked_answers(tmp_path: Path) -> None:
    record = {"text": "Cats purr.", "questions": [{"question": "Do cats purr?", "answers": None}]}
    path = tmp_path / "unmarked.jsonl"
    path.write_text(json.dumps(record))
    with pytest.raises(InvalidInputError, match=r"unmarked\.jsonl has no question with marked answers"):
        load_questions(path, k=2)


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def test_passages_of_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.jsonl",
        {
            "id": 7,
            "question": "What do cats do?",
            "answers": ["purr", "Purr"],
            "passages": FOUND,
            "lang": "en",
        },
    )
    (question,) = load_questions(path, k=2)
    assert question == QAQuestion(
        id="7",
        text="What do cats do?",
        language="en",
        answers=("purr", "Purr"),
        passages=tuple(FOUND[:2]),
        evidence="Cats purr at night.",
    )
    assert question.top(1) == FOUND[:1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": []}, "answers: must have at least 1 entry, got 0"),
        ({"answers": ["  "]}, r"answers\[0\]: must be a string with more than white space"),
        ({"question": ""}, "question: must be a string with more than white space"),
        ({"passages": "text"}, "passages: must be a list, got str"),
        ({"lang": "xx-yy"}, "lang"),
    ],
)
def test_what_a_record_cannot_be(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    record = {"question": "What?", "answers": ["purr"], "passages": FOUND} | change
    path = write(tmp_path / "mine.jsonl", record)
    with pytest.raises(InvalidInputError, match=rf"mine\.jsonl:1: {message}"):
        load_questions(path, k=2)


class Retriever(BaseRetriever):
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [Document(page_content=text) for text in FOUND]


class Nodes(LlamaIndexRetriever):
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=text, metadata={"page": 1}), score=1.0) for text in FOUND]


class SilentLLM(MockLLM):
    def complete(self, *_: Any, **__: Any) -> CompletionResponse:
        raise AssertionError("retrieval needs no LLM")


@pytest.mark.parametrize(
    "retriever",
    [Retriever(), Nodes(), RetrieverQueryEngine.from_args(Nodes(), llm=SilentLLM())],
    ids=["LangChain retriever", "LlamaIndex retriever", "LlamaIndex query engine"],
)
def test_retrievers(retriever: Any) -> None:
    asked = [{"question": "What do cats do?", "answers": ["purr"], "lang": "en"}]
    (question,) = retrieved_questions(retriever, asked, k=2)
    assert question.passages == tuple(FOUND[:2])
    assert question.evidence == "Cats purr at night."
    assert question.own is None
    assert asked == [{"question": "What do cats do?", "answers": ["purr"], "lang": "en"}]


def test_what_is_not_a_retriever() -> None:
    with pytest.raises(InvalidInputError, match="retriever must be one of LangChain"):
        retrieved_questions(len, [], k=2)


def test_a_question_without_answers() -> None:
    with pytest.raises(InvalidInputError, match=r"questions\[0\]\.answers: is missing"):
        retrieved_questions(Retriever(), [{"question": "What?"}], k=2)
