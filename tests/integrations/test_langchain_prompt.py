"""The prompt in chains with real documents, compressors and chat models."""

from __future__ import annotations

import json
import pickle
from fractions import Fraction
from operator import itemgetter
from typing import Any

import numpy as np
import pytest
from langchain_classic.chains.retrieval import create_retrieval_chain
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from pydantic import ValidationError

from langchain_provence import ProvenceCompressor, ProvencePrompt, context_passage
from provence_rag import InvalidInputError, Provence
from provence_rag.prompting import resolve_citations

QUERY = "Where do penguins live?"
REPLY = "In Antarctica [1], with fish [2], maybe [3]."
CONTEXT = "[1] Penguins live in Antarctica. Penguins live on ice.\n\n[2] Many penguins swim."


@pytest.fixture
def documents() -> list[Document]:
    return [
        Document(
            id="birds",
            page_content="Penguins live in Antarctica. The market fell today. Penguins live on ice.",
            metadata={"source": "birds.md", "title": "Birds"},
        ),
        Document(id="music", page_content="Music was loud. Many penguins swim. Penguins live on ice!"),
        Document(id="cars", page_content="My car has new tyres."),
    ]


@pytest.fixture
def retriever(model: Provence, documents: list[Document]) -> Runnable[Any, Any]:
    compressor = ProvenceCompressor(model=model, rerank=False)
    return RunnableLambda(
        lambda question: compressor.compress_documents(documents, question),
        afunc=lambda question: compressor.acompress_documents(documents, question),
    )


@pytest.fixture
def chain(retriever: Runnable[Any, Any]) -> Runnable[Any, Any]:
    return (
        RunnablePassthrough.assign(documents=itemgetter("question") | retriever)
        .assign(prompt=ProvencePrompt(order="given"))
        .assign(answer=itemgetter("prompt") | FakeListChatModel(responses=[REPLY]) | StrOutputParser())
    )


def assert_resolved(result: dict[str, Any], documents: list[Document]) -> None:
    reply = resolve_citations(result["answer"], result["prompt"].context)
    assert reply.unknown == [3]
    by_id = {document.id: document for document in documents}
    spans = [(span.id, span.start, span.end) for span in reply.citations[0].spans]
    assert spans == [("birds", 0, 28), ("birds", 52, 73), ("music", 36, 57)]
    for citation in reply.citations:
        for span in citation.spans:
            assert by_id[span.id].page_content[span.start : span.end] == span.text  # type: ignore[index]


async def test_a_chain(chain: Runnable[Any, Any], documents: list[Document]) -> None:
    result = chain.invoke({"question": QUERY})
    assert f"Sources:\n\n{CONTEXT}\n\nQuestion: {QUERY}" in result["prompt"].to_string()
    assert [message.type for message in result["prompt"].to_messages()] == ["system", "human"]
    assert_resolved(result, documents)
    assert await chain.ainvoke({"question": QUERY}) == result


async def test_a_chain_streams(chain: Runnable[Any, Any], documents: list[Document]) -> None:
    def together(chunks: list[dict[str, Any]]) -> dict[str, Any]:
        answer = [chunk["answer"] for chunk in chunks if "answer" in chunk]
        assert len(answer) > 10
        (prompt,) = [chunk["prompt"] for chunk in chunks if "prompt" in chunk]
        return {"answer": "".join(answer), "prompt": prompt}

    assert_resolved(together(list(chain.stream({"question": QUERY}))), documents)
    assert_resolved(together([chunk async for chunk in chain.astream({"question": QUERY})]), documents)


def test_a_retrieval_chain(retriever: Runnable[Any, Any], documents: list[Document]) -> None:
    """What `create_retrieval_chain` passes on: `input` and `context`."""
    model = FakeListChatModel(responses=[REPLY])
    answer = RunnablePassthrough.assign(prompt=ProvencePrompt(order="given")).assign(
        answer=itemgetter("prompt") | model | StrOutputParser()
    )
    result = create_retrieval_chain(itemgetter("input") | retriever, answer).invoke({"input": QUERY})
    assert_resolved(result["answer"], documents)


def test_prompts_of_your_own(retriever: Runnable[Any, Any]) -> None:
    inputs = {"input": QUERY, "context": retriever.invoke(QUERY), "history": [("user", "Hello {x}")]}
    chat = ChatPromptTemplate([("placeholder", "{history}"), ("user", "{context}\n\n{question} {input}")])
    value = ProvencePrompt(prompt=chat, order="given").invoke(inputs)
    assert [message.content for message in value.to_messages()] == [
        "Hello {x}",
        f"{CONTEXT}\n\n{QUERY} {QUERY}",
    ]
    text = PromptTemplate.from_template("{context}\nQ: {question}")
    value = ProvencePrompt(prompt=text, order="given", citations=False).invoke(inputs)
    assert value.to_string() == f"{CONTEXT.replace('[1] ', '').replace('[2] ', '')}\nQ: {QUERY}"


def test_options_reach_the_context(documents: list[Document]) -> None:
    prompt = ProvencePrompt(
        max_tokens=12,
        template="[{number}] {title}\n{text}",
        title_key="title",
        id_key="source",
        count_tokens=lambda text: len(text.split()),
        language="ja",
    )
    value = prompt.invoke({"query": QUERY, "documents": documents[:1]})
    assert value.context.text == "[1] Birds\nPenguins live in Antarctica. The market fell today."
    assert value.context.sources[0].id == "birds.md"
    assert value.context.num_tokens == 10
    assert "角括弧" in value.to_string()


def test_documents_pruned_to_the_same_words_about_different_things(model: Provence) -> None:
    kept = "They live there in winter."
    documents = [
        Document(id=name, page_content=f"{name} are big animals. {kept}") for name in ("Seals", "Bears")
    ]
    found = ProvenceCompressor(model=model).compress_documents(documents, QUERY)
    assert [document.page_content for document in found] == [kept, kept]
    context = ProvencePrompt().invoke({"question": QUERY, "documents": found}).context
    assert [[span.id for span in source.spans] for source in context.sources] == [["Seals"], ["Bears"]]


@pytest.mark.parametrize(
    ("sentence_scores", "expected"), [(True, "[1] Penguins live there."), (False, "[1] Fish swim below.")]
)
def test_a_budget_takes_the_best_sentences_if_their_scores_are_known(
    model: Provence, sentence_scores: bool, expected: str
) -> None:
    texts = ["Fish swim below. Penguins live there.", "Many penguins swim very far away."]
    compressor = ProvenceCompressor(model=model, threshold=0.0, sentence_scores=sentence_scores)
    found = compressor.compress_documents(list(map(Document, texts)), QUERY)
    prompt = ProvencePrompt(max_tokens=6, count_tokens=lambda text: len(text.split()))
    assert prompt.invoke({"question": QUERY, "documents": found}).context.text == expected


def test_a_document_that_was_not_pruned(documents: list[Document]) -> None:
    passage = context_passage(documents[0])
    assert (passage.id, passage.score, passage.kept_spans, passage.title) == ("birds", None, None, None)


@pytest.mark.parametrize("score", [1, 0.25, np.float32(0.25), np.float64(0.25), Fraction(1, 4)])
def test_a_score_is_any_real_number(score: Any) -> None:
    found = context_passage(Document("Penguins.", metadata={"relevance_score": score})).score
    assert type(found) is float
    assert found == score


@pytest.mark.parametrize("score", [None, True, "0.25"])
def test_what_is_no_score(score: Any) -> None:
    assert context_passage(Document("Penguins.", metadata={"relevance_score": score})).score is None


def test_a_prompt_value_can_be_stored(chain: Runnable[Any, Any]) -> None:
    value = chain.invoke({"question": QUERY})["prompt"]
    assert pickle.loads(pickle.dumps(value)) == value
    assert json.loads(value.model_dump_json())["context"]["text"] == CONTEXT


def test_documents_are_not_changed(documents: list[Document]) -> None:
    before = [document.model_copy(deep=True) for document in documents]
    ProvencePrompt().invoke({"question": QUERY, "documents": documents})
    assert documents == before


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"question": QUERY}, "input must hold the documents under documents or context, has question"),
        ({"documents": []}, "input must hold the question under question or input or query, has documents"),
        (QUERY, "input must be a dictionary, got a str"),
        ({"question": " ", "documents": []}, "question is blank (' '): a query needs words"),
        *(
            (
                {"question": QUERY, "documents": documents},
                f"input must hold the documents as a list, got a {type(documents).__name__}: put a single "
                "one into a list, and do not join them before the prompt as "
                "create_stuff_documents_chain does",
            )
            for documents in ("abc", Document("abc"), {"a": "b"}, 3)
        ),
        (
            {"question": QUERY, "documents": [3]},
            "passages[0] must be a PrunedPassage, a ContextPassage, a string or (id, passage), got int 3",
        ),
    ],
)
def test_inputs_that_cannot_be_used(inputs: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        ProvencePrompt().invoke(inputs)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"citations": False}, "citations=False needs a prompt of your own: the usual one asks for numbers"),
        ({"prompt": "x"}, "prompt must be a prompt template, got a str"),
        (
            {"prompt": PromptTemplate.from_template("{question}")},
            "prompt must have the variable {context}, its variables are: question",
        ),
        ({"template": "{text}"}, "template must show the number as"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"top_n": 1}, "Extra inputs are not permitted"),
    ],
)
def test_fields_that_cannot_be_used(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        ProvencePrompt(**fields)
    assert message in str(error.value)
