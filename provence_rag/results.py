"""What comes back: plain, immutable, JSON-safe, and able to show itself in a terminal and a notebook."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable

__all__ = ["ProvenceOutput", "PrunedPassage", "Sentence", "finite"]


def finite(score: float | None) -> float | None:
    """A score as JSON knows it, which has no infinity: None for that of a document of white space."""
    return score if score is not None and math.isfinite(score) else None


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One sentence of a document and what became of it."""

    text: str
    """The sentence, verbatim: `document[start:end]`."""

    start: int
    """Offset of its first character in the document."""

    end: int
    """Offset behind its last character."""

    score: float | None
    """Keep probability in [0, 1]; None where the checkpoint has no pruning head."""

    kept: bool
    """Whether it is part of the pruned text."""

    token_start: int
    """Index of its first token among the document's tokens."""

    token_end: int
    """Index behind its last token."""

    @property
    def num_tokens(self) -> int:
        """Its length in tokens of the checkpoint's tokenizer."""
        return self.token_end - self.token_start


@dataclass(frozen=True, kw_only=True)
class PrunedPassage:
    """One document after reranking and pruning. `str(passage)` is the pruned text."""

    index: int
    """Position of the document in the caller's list."""

    document: str
    """The document as it was given."""

    text: str
    """What is left of it: kept sentences cut out of `document` by their offsets."""

    title: str | None
    """The title it was scored with, if one was given."""

    score: float | None
    """Relevance to the query: a probability in [0, 1] unless the checkpoint's activation is the identity;
    None where the checkpoint has no ranking head. A document of white space is not read: 0 (or -inf)."""

    logit: float | None
    """The relevance score before its activation, -inf for a document of white space; None like `score`."""

    sentences: tuple[Sentence, ...]
    """All sentences, in order. Empty for a document of white space."""

    @property
    def kept_spans(self) -> list[list[int]]:
        """Character spans `[start, end]` of `document` that make up `text`, neighbours merged."""
        runs = [list(run) for kept, run in groupby(self.sentences, key=attrgetter("kept")) if kept]
        return [[run[0].start, run[-1].end] for run in runs]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return not self.text

    @property
    def compression(self) -> float:
        """Share of the document's characters that is gone, in [0, 1]."""
        return 1.0 - len(self.text) / len(self.document) if self.document else 0.0

    @property
    def num_tokens(self) -> int:
        """Tokens of all sentences."""
        return sum(sentence.num_tokens for sentence in self.sentences)

    @property
    def num_kept_tokens(self) -> int:
        """Tokens of the kept sentences."""
        return sum(sentence.num_tokens for sentence in self.sentences if sentence.kept)

    def provenance(self, *, sentence_scores: bool = False) -> dict[str, Any]:
        """How `text` came out of `document`, for the metadata of whatever carries the text further.

        Args:
            sentence_scores: Also give `sentence_spans` and `sentence_scores`, with an entry for each
                sentence: `[start, end]` and the keep probability.
        """
        provenance: dict[str, Any] = {
            "kept_spans": self.kept_spans,
            "compression": self.compression,
            "original_length": len(self.document),
        }
        if sentence_scores:
            provenance["sentence_spans"] = [[sentence.start, sentence.end] for sentence in self.sentences]
            provenance["sentence_scores"] = [sentence.score for sentence in self.sentences]
        return provenance

    def to_dict(self) -> dict[str, Any]:
        """All fields and figures as plain Python types that JSON knows; None for -inf."""
        passage = {**asdict(self), "score": finite(self.score), "logit": finite(self.logit)}
        passage["sentences"] = list(passage["sentences"])  # asdict leaves a tuple a tuple
        return {
            **passage,
            "kept_spans": self.kept_spans,
            "compression": self.compression,
            "num_tokens": self.num_tokens,
            "num_kept_tokens": self.num_kept_tokens,
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """`to_dict()` as JSON text in ASCII: all else, a lone surrogate too, is written as its escape."""
        return json.dumps(self.to_dict(), indent=indent)

    def __str__(self) -> str:
        return self.text

    # Rendering is imported where it is used: who only wants the data does not pay for rich.

    def __rich__(self) -> ConsoleRenderable:
        from provence_rag.rendering import terminal_view

        return terminal_view([self])

    def _repr_html_(self) -> str:
        from provence_rag.rendering import html_fragment

        return html_fragment(self)


@dataclass(frozen=True, kw_only=True)
class ProvenceOutput:
    """Aligned results for N query-document pairs; every list has one entry a pair."""

    ranking_scores: list[float | None]
    """Relevance, as in `PrunedPassage.score`."""

    ranking_logits: list[float | None]
    """Relevance before the activation."""

    pruning_masks: list[list[bool]]
    """For each sentence, whether it is kept."""

    pruning_probs: list[list[float | None]]
    """For each sentence, its keep probability."""

    sentences: list[list[str]]
    """The sentences, verbatim."""

    sentence_boundaries: list[list[tuple[int, int]]]
    """For each sentence, its span among the document's tokens."""

    original_positions: list[list[tuple[int, int]]]
    """For each sentence, its character span in the document."""

    compression_ratio: list[float]
    """Share of the characters that is gone, in [0, 1]."""

    num_pruned_sentences: list[int]
    """How many sentences are gone."""

    pruned_documents: list[str] | None
    """The pruned texts; None with `return_documents=False`."""

    @classmethod
    def from_passages(cls, passages: list[PrunedPassage], *, return_documents: bool = True) -> ProvenceOutput:
        """Turn passages, in their order, into aligned lists."""
        return cls(
            ranking_scores=[p.score for p in passages],
            ranking_logits=[p.logit for p in passages],
            pruning_masks=[[s.kept for s in p.sentences] for p in passages],
            pruning_probs=[[s.score for s in p.sentences] for p in passages],
            sentences=[[s.text for s in p.sentences] for p in passages],
            sentence_boundaries=[[(s.token_start, s.token_end) for s in p.sentences] for p in passages],
            original_positions=[[(s.start, s.end) for s in p.sentences] for p in passages],
            compression_ratio=[p.compression for p in passages],
            num_pruned_sentences=[sum(not s.kept for s in p.sentences) for p in passages],
            pruned_documents=[p.text for p in passages] if return_documents else None,
        )

    def __len__(self) -> int:
        return len(self.compression_ratio)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python types that JSON knows; spans are lists, and None stands for -inf."""
        return {
            **asdict(self),
            "ranking_scores": list(map(finite, self.ranking_scores)),
            "ranking_logits": list(map(finite, self.ranking_logits)),
            "sentence_boundaries": [[list(span) for span in spans] for spans in self.sentence_boundaries],
            "original_positions": [[list(span) for span in spans] for spans in self.original_positions],
        }
