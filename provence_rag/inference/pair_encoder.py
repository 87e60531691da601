"""How a checkpoint reads a query, a title and a document, in inference and in training."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from provence_rag.chunking import Span
from provence_rag.config import ProvenceConfig
from provence_rag.errors import CheckpointError
from provence_rag.inference.arrays import IntArray
from provence_rag.inference.encoding import (
    PairTokenizer,
    TextTokenizer,
    TokenizedText,
    tokenize_documents,
    tokenize_sentences,
)

__all__ = ["PairEncoder"]

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)

Length = TypeVar("Length", int, IntArray)


class PairEncoder:
    """Turns the parts of a pair into token ids, as the checkpoint's configuration says.

    A window is `before query between title passage after`, where `before`, `between` and `after` are the
    special tokens of `layout`. A query takes at most half of the window, a title at most half of the rest.

    Args:
        tokenizer: The checkpoint's tokenizer.
        config: The checkpoint's configuration.

    Raises:
        CheckpointError: The windows are too short for the tokenizer's special tokens.
    """

    def __init__(self, tokenizer: TextTokenizer, config: ProvenceConfig) -> None:
        self.layout = tokenizer.layout
        self.config = config
        self.tokenizer = tokenizer
        # After half of the window for the query and half of the rest for the title, a token must be left.
        if self.layout.num_special_tokens >= config.max_length // 2:
            raise CheckpointError(
                f"max_length={config.max_length} leaves no room for a passage after a query and "
                f"{self.layout.num_special_tokens} special tokens"
            )

    @classmethod
    def from_directory(cls, directory: Path) -> PairEncoder:
        """The encoder of a checkpoint directory.

        Raises:
            CheckpointError: The directory holds no checkpoint.
        """
        config = ProvenceConfig.from_directory(directory)
        return cls(PairTokenizer.from_directory(directory, config.pair_template), config)

    @property
    def query_limit(self) -> int:
        """The largest number of query tokens that are read."""
        return self.config.max_length // 2

    def title_limit(self, query_tokens: Length) -> Length:
        """The largest number of title tokens that are read after `query_tokens` tokens (one number or many).

        The last token of a longer title is kept, because it ends the line.
        """
        return (self.config.max_length - self.layout.num_special_tokens - query_tokens) // 2

    def encode_queries(self, queries: Sequence[str]) -> list[IntArray]:
        """Token ids of each query, in full."""
        read = [_normalized(query) for query in queries] if self.config.normalize_query else queries
        return [tokens.ids for tokens in self.tokenizer.tokenize(read)]

    def encode_titles(self, titles: Sequence[str]) -> list[IntArray]:
        """Token ids of each title, in full. A title is read as one line."""
        lines = [f"{' '.join(title.split())}\n" for title in titles]
        return [tokens.ids for tokens in self.tokenizer.tokenize(lines)]

    def encode_documents(self, texts: Sequence[str], spans: Sequence[Sequence[Span]]) -> list[TokenizedText]:
        """Tokens of each document, in full.

        Args:
            texts: N documents.
            spans: The sentences of each.
        """
        if self.config.tokenization != "document":
            spaced = self.config.tokenization == "spaced"
            return tokenize_sentences(self.tokenizer, texts, spans, spaced=spaced)
        return tokenize_documents(self.tokenizer, texts, spans)


def _normalized(query: str) -> str:
    """Lower case, without ASCII punctuation, with single spaces."""
    return " ".join(query.lower().translate(_NO_PUNCTUATION).split())
