"""What comes back: plain, immutable, JSON-safe, and able to show itself in a terminal and a notebook."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable

__all__ = ["ProvenceOutput", "PrunedPassage", "RankedDocument", "Sentence", "finite"]


def finite(score: float | None) -> float | None:
    """A score that JSON can hold: None in place of an infinite one, which a document of white space has."""
    return score if score is not None and math.isfinite(score) else None


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One sentence of a document, its score and whether it is kept."""

    text: str
    """The sentence, verbatim: `document[start:end]`."""

    start: int
    """Offset of its first character in the document."""

    end: int
    """Offset after its last character."""

    score: float | None
    """Keep probability in [0, 1]; 0 for a sentence mostly of characters that the checkpoint's vocabulary
    lacks, and for a frame of structured data, which is kept for its records only; None where the checkpoint
    has no pruning head."""

    kept: bool
    """Whether it is part of the pruned text."""

    token_start: int
    """Index of its first token among the document's tokens."""

    token_end: int
    """Index after its last token."""

    needs: tuple[int, ...] = ()
    """Numbers of the sentences without which it cannot stand: a record's brackets, an answer's question."""

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
    None where the checkpoint has no ranking head. A document of white space, or mostly of characters that
    the checkpoint's vocabulary lacks, is not read and has 0 (or -inf)."""

    logit: float | None
    """The relevance score before its activation, -inf for a document that is not read; None like `score`."""

    sentences: tuple[Sentence, ...]
    """All sentences, in order. Empty for a document of white space. Of structured data, each is a record or a
    frame around records, such as a bracket."""

    kept_whole: str | None = None
    """Why the document was not pruned, in words: it is structured data that would break. None where it could
    be pruned, whatever was kept."""

    untrained_language: str | None = None
    """ISO 639-1 code of the query's language, if the checkpoint was not trained on it: its scores say little
    then. None if it was, or if either is unknown."""

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
        """Share of the document's characters that was removed, in [0, 1]."""
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
        """How `text` was cut from `document`, for the metadata of the text.

        `untrained_language` is left out if it is None.

        Args:
            sentence_scores: Also give `sentence_spans` and `sentence_scores`: `[start, end]` and the keep
                probability of each sentence.
        """
        provenance: dict[str, Any] = {
            "kept_spans": self.kept_spans,
            "compression": self.compression,
            "original_length": len(self.document),
        }
        if self.kept_whole is not None:
            provenance["kept_whole"] = self.kept_whole
        if sentence_scores:
            provenance["sentence_spans"] = [[sentence.start, sentence.end] for sentence in self.sentences]
            provenance["sentence_scores"] = [sentence.score for sentence in self.sentences]
        if self.untrained_language is not None:
            provenance["untrained_language"] = self.untrained_language
        return provenance

    def to_dict(self) -> dict[str, Any]:
        """All fields and figures as plain Python types that JSON can hold; None stands for -inf.

        `untrained_language` is left out if it is None.
        """
        passage = {**asdict(self), "score": finite(self.score), "logit": finite(self.logit)}
        if self.untrained_language is None:
            del passage["untrained_language"]
        # asdict keeps tuples
        passage["sentences"] = [{**one, "needs": list(one["needs"])} for one in passage["sentences"]]
        return {
            **passage,
            "kept_spans": self.kept_spans,
            "compression": self.compression,
            "num_tokens": self.num_tokens,
            "num_kept_tokens": self.num_kept_tokens,
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """`to_dict()` as JSON in ASCII; other characters, even lone surrogates, are escaped."""
        return json.dumps(self.to_dict(), indent=indent)

    def __str__(self) -> str:
        return self.text

    # Rendering is imported where it is used: importing rich takes time that users of the data need not spend.

    def __rich__(self) -> ConsoleRenderable:
        from provence_rag.rendering import terminal_view

        return terminal_view([self])

    def _repr_html_(self) -> str:
        from provence_rag.rendering import html_fragment

        return html_fragment(self)


class RankedDocument(TypedDict, total=False):
    """An entry of `rank`, as in sentence-transformers' CrossEncoder."""

    corpus_id: int
    score: float
    text: str


@dataclass(frozen=True, kw_only=True)
class ProvenceOutput:
    """Results for N query-document pairs, as aligned lists with one entry per pair, and two totals."""

    ranking_scores: list[float | None]
    """Relevance of each document, as in `PrunedPassage.score`."""

    ranking_logits: list[float | None]
    """Relevance before the activation, as in `PrunedPassage.logit`."""

    pruning_masks: list[list[bool]]
    """Whether each sentence is kept."""

    pruning_probs: list[list[float | None]]
    """Keep probability of each sentence, in [0, 1]; None where the checkpoint has no pruning head."""

    pruning_logits: list[list[float | None]]
    """Logit of each keep probability, log(p / (1 - p)); None like `pruning_probs`."""

    sentences: list[list[str]]
    """The sentences, verbatim."""

    sentence_boundaries: list[list[tuple[int, int]]]
    """Span of each sentence among the document's tokens."""

    original_positions: list[list[tuple[int, int]]]
    """Span of each sentence among the document's characters."""

    compression_ratios: list[float]
    """Share of each document's characters that was removed, in [0, 1]."""

    pruned_sentence_counts: list[int]
    """Number of sentences removed from each document."""

    compression_ratio: float
    """Share of the characters of all documents that was removed, in [0, 1]."""

    num_pruned_sentences: int
    """Number of sentences removed from all documents."""

    pruned_documents: list[str] | None
    """The pruned texts; None with `return_documents=False`."""

    untrained_languages: list[str | None]
    """As `PrunedPassage.untrained_language`."""

    @classmethod
    def from_passages(cls, passages: list[PrunedPassage], *, return_documents: bool = True) -> ProvenceOutput:
        """Turn passages into aligned lists, in the same order."""
        counts = [sum(not s.kept for s in p.sentences) for p in passages]
        length = sum(len(p.document) for p in passages)
        return cls(
            ranking_scores=[p.score for p in passages],
            ranking_logits=[p.logit for p in passages],
            pruning_masks=[[s.kept for s in p.sentences] for p in passages],
            pruning_probs=[[s.score for s in p.sentences] for p in passages],
            pruning_logits=[[_logit(s.score) for s in p.sentences] for p in passages],
            sentences=[[s.text for s in p.sentences] for p in passages],
            sentence_boundaries=[[(s.token_start, s.token_end) for s in p.sentences] for p in passages],
            original_positions=[[(s.start, s.end) for s in p.sentences] for p in passages],
            compression_ratios=[p.compression for p in passages],
            pruned_sentence_counts=counts,
            compression_ratio=1.0 - sum(len(p.text) for p in passages) / length if length else 0.0,
            num_pruned_sentences=sum(counts),
            pruned_documents=[p.text for p in passages] if return_documents else None,
            untrained_languages=[p.untrained_language for p in passages],
        )

    def __len__(self) -> int:
        return len(self.ranking_scores)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python types that JSON can hold; spans are lists, None stands for infinity."""
        return {
            **asdict(self),
            "ranking_scores": list(map(finite, self.ranking_scores)),
            "ranking_logits": list(map(finite, self.ranking_logits)),
            "pruning_logits": [list(map(finite, logits)) for logits in self.pruning_logits],
            "sentence_boundaries": [[list(span) for span in spans] for spans in self.sentence_boundaries],
            "original_positions": [[list(span) for span in spans] for spans in self.original_positions],
        }


def _logit(probability: float | None) -> float | None:
    if probability is None or not 0 < probability < 1:
        return None if probability is None else math.copysign(math.inf, probability - 0.5)
    return math.log(probability) - math.log1p(-probability)
