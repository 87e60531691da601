"""The compressor inside retrievers, pipelines, chains, graphs and web services, in threads and tasks."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any, TypedDict

import bm25s
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import CharacterTextSplitter
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import MemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import StateGraph

from langchain_provence import ProvenceCompressor
from provence_rag import InvalidInputError, Provence

QUERY = "Where do penguins live?"
PENGUINS = "Penguins live in Antarctica. The market fell today. Penguins live on ice."
PRUNED = "Penguins live in Antarctica. Penguins live on ice."
TEXTS = {
    "cars": "My car has new tyres. It is red.",
    "music": "Music was loud. Many penguins swim.",
    "penguins": PENGUINS,
    "markets": "Markets rise and fall. Traders deal with it.",
}


class BM25Retriever(BaseRetriever):
    """Like the one of old, it hands out its own documents, not copies."""

    documents: list[Document]
    index: Any = None

    def model_post_init(self, _: Any) -> None:
        self.index = bm25s.BM25()
        self.index.index(self._tokens([d.page_content for d in self.documents]), show_progress=False)

    def _tokens(self, texts: list[str]) -> Any:
        return bm25s.tokenize(texts, show_progress=False)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        found, _ = self.index.retrieve(self._tokens([query]), k=len(self.documents), show_progress=False)
        return [self.documents[number] for number in found[0]]


@pytest.fixture
def documents() -> list[Document]:
    return [Document(id=id_, page_content=text, metadata={"seen": [id_]}) for id_, text in TEXTS.items()]


@pytest.fixture
def bm25(documents: list[Document]) -> BM25Retriever:
    return BM25Retriever(documents=documents)


@pytest.fixture
def vectors(documents: list[Document]) -> BaseRetriever:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=16))
    store.add_documents(documents)
    return store.as_retriever()


@pytest.fixture
def compressor(model: Provence) -> ProvenceCompressor:
    return ProvenceCompressor(model=model)


def ids(documents: Sequence[Document]) -> list[str | None]:
    return [document.id for document in documents]


@pytest.mark.parametrize("base", ["bm25", "vectors"])
async def test_retrievers(compressor: ProvenceCompressor, base: str, request: pytest.FixtureRequest) -> None:
    base_retriever = request.getfixturevalue(base)
    retriever = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=base_retriever)
    before = deepcopy(base_retriever.invoke(QUERY))
    for _ in range(2):  # the second time on what the first has left
        results = retriever.invoke(QUERY)
        assert ids(results) == ["penguins", "music"]
        assert results[0].page_content == PRUNED
        assert results[0].metadata["seen"] == ["penguins"]
    assert await retriever.ainvoke(QUERY) == results
    assert base_retriever.invoke(QUERY) == before


async def test_pipeline(compressor: ProvenceCompressor, documents: list[Document]) -> None:
    splitter = CharacterTextSplitter(separator=" ", chunk_size=30, chunk_overlap=0)
    best = compressor.model_copy(update={"top_n": 1})
    pipeline = DocumentCompressorPipeline(transformers=[splitter, compressor, best])
    (result,) = pipeline.compress_documents(documents, QUERY)
    assert result.page_content == "Penguins live in Antarctica."
    assert await pipeline.acompress_documents(documents, QUERY) == [result]
    assert pipeline.compress_documents([], QUERY) == []


class Runs(BaseTracer):
    """The runs that a tracer hears of: the outermost of each call, with those inside."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)


def inside(run: Run) -> list[Run]:
    return [run, *(inner for child in run.child_runs for inner in inside(child))]


async def compress(
    compressor: ProvenceCompressor, documents: list[Document], query: str, tracer: Runs, *, is_async: bool
) -> Sequence[Document]:
    if is_async:
        return await compressor.acompress_documents(documents, query, callbacks=[tracer])
    return compressor.compress_documents(documents, query, callbacks=[tracer])


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_call_is_a_run(
    compressor: ProvenceCompressor, documents: list[Document], is_async: bool
) -> None:
    tracer = Runs()
    results = await compress(compressor, documents, QUERY, tracer, is_async=is_async)
    (run,) = tracer.roots
    assert (run.name, run.run_type, run.error, run.child_runs) == ("ProvenceCompressor", "chain", None, [])
    assert run.inputs == {"query": QUERY, "documents": documents}
    assert run.outputs == {"output": results}


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_failure_ends_the_run(
    compressor: ProvenceCompressor, documents: list[Document], is_async: bool
) -> None:
    tracer = Runs()
    with pytest.raises(InvalidInputError, match="query is blank"):
        await compress(compressor, documents, " ", tracer, is_async=is_async)
    (run,) = tracer.roots
    assert run.error is not None
    assert "query is blank" in run.error


def parent_of_own_run(tracer: Runs) -> str:
    (root,) = tracer.roots
    runs = {run.id: run for run in inside(root)}
    (own,) = [run for run in runs.values() if run.name == "ProvenceCompressor"]
    assert own.parent_run_id is not None
    return runs[own.parent_run_id].name


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_run_is_inside_that_of_a_retriever(
    compressor: ProvenceCompressor, bm25: BM25Retriever, is_async: bool
) -> None:
    pipeline = DocumentCompressorPipeline(transformers=[compressor])
    retriever = ContextualCompressionRetriever(base_compressor=pipeline, base_retriever=bm25)
    tracer = Runs()
    if is_async:
        await retriever.ainvoke(QUERY, {"callbacks": [tracer]})
    else:
        retriever.invoke(QUERY, {"callbacks": [tracer]})
    assert parent_of_own_run(tracer) == "ContextualCompressionRetriever"


def test_the_run_is_inside_that_of_a_node_which_passes_no_callbacks(
    compressor: ProvenceCompressor, bm25: BM25Retriever
) -> None:
    tracer = Runs()
    graph_of(compressor, bm25, MemorySaver()).invoke({"query": QUERY}, {"callbacks": [tracer], **THREAD})
    assert parent_of_own_run(tracer) == "prune"


def test_nothing_to_compress_is_no_run(compressor: ProvenceCompressor) -> None:
    tracer = Runs()
    assert compressor.compress_documents([], QUERY, callbacks=[tracer]) == []
    assert tracer.roots == []


async def test_as_a_runnable(compressor: ProvenceCompressor, bm25: BM25Retriever) -> None:
    def compress(state: dict[str, Any]) -> Sequence[Document]:
        return compressor.compress_documents(**state)

    async def acompress(state: dict[str, Any]) -> Sequence[Document]:
        return await compressor.acompress_documents(**state)

    chain = {"documents": bm25, "query": RunnableLambda(lambda query: query)} | RunnableLambda(
        compress, afunc=acompress
    )
    results = chain.invoke(QUERY)
    assert ids(results) == ["penguins", "music"]
    assert await chain.ainvoke(QUERY) == results
    assert chain.batch([QUERY, "Whose tyres are red?"])[1][0].id == "cars"


# --- graphs ----------------------------------------------------------------------------------------------


class State(TypedDict, total=False):
    query: str
    documents: Sequence[Document]


def graph_of(
    compressor: ProvenceCompressor, retriever: BaseRetriever, saver: BaseCheckpointSaver[Any]
) -> Any:
    def retrieve(state: State) -> State:
        return {"documents": retriever.invoke(state["query"])}

    async def aretrieve(state: State) -> State:
        return {"documents": await retriever.ainvoke(state["query"])}

    def prune(state: State) -> State:
        return {"documents": compressor.compress_documents(state["documents"], state["query"])}

    async def aprune(state: State) -> State:
        return {"documents": await compressor.acompress_documents(state["documents"], state["query"])}

    graph = StateGraph(State)
    graph.add_node("retrieve", RunnableLambda(retrieve, afunc=aretrieve))
    graph.add_node("prune", RunnableLambda(prune, afunc=aprune))
    graph.add_edge("__start__", "retrieve").add_edge("retrieve", "prune")
    return graph.compile(checkpointer=saver)


THREAD = {"configurable": {"thread_id": "one"}}


@pytest.fixture(params=["memory", "sqlite"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCheckpointSaver[Any]]:
    if request.param == "memory":
        yield MemorySaver()
    else:
        connection = sqlite3.connect(tmp_path / "checkpoints.sqlite", check_same_thread=False)
        yield SqliteSaver(connection)
        connection.close()


def test_documents_come_out_of_a_checkpoint_as_they_went_in(
    model: Provence, bm25: BM25Retriever, saver: BaseCheckpointSaver[Any]
) -> None:
    compressor = ProvenceCompressor(model=model, sentence_scores=True)
    graph = graph_of(compressor, bm25, saver)
    result = graph.invoke({"query": QUERY}, THREAD)
    stored = graph.get_state(THREAD).values["documents"]
    assert stored == result["documents"]
    assert ids(stored) == ["penguins", "music"]
    assert type(stored[0]) is Document
    assert type(stored[0].metadata["relevance_score"]) is float
    assert stored[0].metadata["provence"]["kept_spans"] == [[0, 28], [52, 73]]  # lists, no tuples


async def test_an_asynchronous_graph_with_a_database(
    compressor: ProvenceCompressor, bm25: BM25Retriever, tmp_path: Path, heartbeat: Any
) -> None:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "checkpoints.sqlite")) as saver:
        graph = graph_of(compressor, bm25, saver)
        async with heartbeat():
            result = await graph.ainvoke({"query": QUERY}, THREAD)
        assert (await graph.aget_state(THREAD)).values["documents"] == result["documents"]
        assert result["documents"][0].page_content == PRUNED


# --- web services ----------------------------------------------------------------------------------------


def test_a_compressed_document_is_a_response(compressor: ProvenceCompressor, bm25: BM25Retriever) -> None:
    retriever = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=bm25)
    app = FastAPI()

    @app.get("/documents")
    async def as_documents(query: str) -> list[Document]:
        return await retriever.ainvoke(query)

    @app.get("/metadata")
    def as_dictionaries(query: str) -> list[dict[str, Any]]:
        return [document.metadata for document in retriever.invoke(query)]

    expected = retriever.invoke(QUERY)
    with TestClient(app) as client:
        response = client.get("/documents", params={"query": QUERY})
        assert response.status_code == 200
        assert [Document.model_validate(document) for document in response.json()] == expected
        metadata = client.get("/metadata", params={"query": QUERY}).json()
    assert metadata == [document.metadata for document in expected]
    assert json.loads(json.dumps(metadata)) == metadata


# --- threads and tasks -----------------------------------------------------------------------------------

QUERIES = [QUERY, "Whose tyres are red?", "Who deals in markets?", "What music was loud?"]


async def test_the_event_loop_goes_on(
    compressor: ProvenceCompressor, documents: list[Document], bm25: BM25Retriever, heartbeat: Any
) -> None:
    async with heartbeat():
        results = await compressor.acompress_documents(documents, QUERY)
    assert ids(results) == ["penguins", "music"]
    retriever = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=bm25)
    async with heartbeat():
        assert ids(await retriever.ainvoke(QUERY)) == ids(results)


async def test_fifty_tasks_on_one_compressor(
    compressor: ProvenceCompressor, documents: list[Document], loads: list[dict[str, Any]]
) -> None:
    alone = [compressor.compress_documents(documents, query) for query in QUERIES]
    assert len({str(results) for results in alone}) == len(QUERIES)

    lazy = ProvenceCompressor(model="some/name")  # loaded by the first of the tasks
    tasks = [lazy.acompress_documents(documents, QUERIES[number % 4]) for number in range(50)]
    for number, results in enumerate(await asyncio.gather(*tasks)):
        assert results == alone[number % 4]
    assert len(loads) == 1


def test_eight_threads_on_the_bundled_model(documents: list[Document]) -> None:
    compressor = ProvenceCompressor()
    alone = [compressor.compress_documents(documents, query) for query in QUERIES]
    with ThreadPoolExecutor(8) as pool:
        together = pool.map(lambda n: compressor.compress_documents(documents, QUERIES[n % 4]), range(16))
        assert list(together) == [alone[number % 4] for number in range(16)]
