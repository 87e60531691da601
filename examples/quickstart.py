"""Retrieve, rerank and prune: in LangChain and in LlamaIndex, in English and in Japanese, offline.

pip install -e '.[examples]' && python examples/quickstart.py
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import bm25s
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from llama_index.core.retrievers import BaseRetriever as LlamaIndexRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from rich.console import Console

from langchain_provence import ProvenceCompressor
from llama_index_provence import ProvencePostprocessor
from provence_rag import Provence
from provence_rag.rendering import terminal_view

QUESTIONS = [
    "Who invented the paper coffee filter?",
    "How often do I have to feed a sourdough starter in the fridge?",
    "東海道新幹線はいつ開業しましたか？",
    "返品は何日以内ならできますか？",
]
RETRIEVED = 4


class BM25:
    """BM25 over the example collection; words in English, pairs of characters in Japanese."""

    def __init__(self, path: Path) -> None:
        self.records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        self._index = bm25s.BM25()
        self._index.index([self._terms(r["text"]) for r in self.records], show_progress=False)

    @staticmethod
    def _terms(text: str) -> list[str]:
        runs = re.findall(r"[a-z0-9]+|[\u3040-\u9fff]+", text.lower())
        return [t for run in runs for t in ([run] if run.isascii() else map("".join, pairwise(run)))]

    def search(self, query: str) -> list[tuple[dict[str, str], float]]:
        """The best records with their BM25 scores."""
        found, scores = self._index.retrieve([self._terms(query)], k=RETRIEVED, show_progress=False)
        return [(self.records[i], float(s)) for i, s in zip(found[0], scores[0], strict=True)]


class LangChainBM25(BaseRetriever):
    """The search as a LangChain retriever."""

    bm25: object

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        assert isinstance(self.bm25, BM25)
        return [
            Document(id=r["id"], page_content=r["text"], metadata={"title": r["title"]})
            for r, _ in self.bm25.search(query)
        ]


class LlamaIndexBM25(LlamaIndexRetriever):
    """The search as a LlamaIndex retriever."""

    def __init__(self, bm25: BM25) -> None:
        super().__init__()
        self._bm25 = bm25

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(node=TextNode(id_=r["id"], text=r["text"], metadata={"title": r["title"]}), score=s)
            for r, s in self._bm25.search(query_bundle.query_str)
        ]


def main() -> None:
    console = Console()
    bm25 = BM25(Path(__file__).with_name("collection.jsonl"))
    model = Provence.from_pretrained()

    console.rule("What the model sees and keeps")
    for question in QUESTIONS:
        texts = [record["text"] for record, _ in bm25.search(question)]
        passages = model.process(question, texts, reorder=True)
        console.print(terminal_view(passages, query=question))
        before, after = sum(p.num_tokens for p in passages), sum(p.num_kept_tokens for p in passages)
        console.print(f"tokens: {before} -> {after} ({1 - after / before:.0%} less)\n")

    console.rule("LangChain")
    retriever = ContextualCompressionRetriever(
        base_compressor=ProvenceCompressor(model=model), base_retriever=LangChainBM25(bm25=bm25)
    )
    for question in QUESTIONS:
        console.print(f"[bold]{question}[/bold]")
        for document in retriever.invoke(question):
            console.print(
                f"  {document.metadata['relevance_score']:.2f}  {document.id}: {document.page_content}"
            )

    console.rule("LlamaIndex")
    postprocessor = ProvencePostprocessor(model=model, top_n=1)
    llama_retriever = LlamaIndexBM25(bm25)
    for question in QUESTIONS:
        console.print(f"[bold]{question}[/bold]")
        for node in postprocessor.postprocess_nodes(llama_retriever.retrieve(question), query_str=question):
            console.print(f"  {node.score:.2f}  {node.node_id}: {node.text}")


if __name__ == "__main__":
    main()
