"""Retrieved nodes, and an embedding that needs no model."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode


class Page(TextNode):
    """A user's subclass."""

    number: int = 0


@pytest.fixture
def nodes() -> list[NodeWithScore]:
    """Three nodes about cars, penguins among others, and penguins, in this order."""
    text = "Penguins live in Antarctica. The market fell today. Penguins live on ice."
    page = Page(
        text=text,
        id_="r",
        number=7,
        metadata={"nested": {"deep": [1]}},
        excluded_llm_metadata_keys=["nested"],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book")},
        embedding=[0.5, 0.5],
        start_char_idx=100,
        end_char_idx=100 + len(text),
    )
    cars = TextNode(text="My car has new tyres. It is red.", id_="u", metadata={"name": "Cars"})
    partly = TextNode(text="Music was loud. Many penguins swim.", id_="p", metadata={"name": 1984})
    return [
        NodeWithScore(node=cars, score=0.9),
        NodeWithScore(node=partly, score=0.8),
        NodeWithScore(node=page, score=0.7),
    ]


class HashEmbedding(BaseEmbedding):
    """Counts of hashed words: texts with the same words are near each other."""

    def _get_text_embedding(self, text: str) -> list[float]:
        counts = np.full(256, 1e-6)
        for word in re.findall(r"\w{4,}", text.lower()):
            counts[zlib.crc32(word.encode()) % 256] += 1
        vector: list[float] = (counts / np.linalg.norm(counts)).tolist()
        return vector

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


@pytest.fixture
def embedding() -> HashEmbedding:
    return HashEmbedding()
