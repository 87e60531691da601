"""The collator: batches of tensors from examples of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from provence_rag.chunking import Span
from provence_rag.errors import InvalidInputError
from provence_rag.inference.encoding import PairTokenizer, sentence_bounds
from provence_rag.inference.pair_encoder import PairEncoder
from provence_rag.modeling.model import ProvenceModel
from provence_training.pairs.assembly import Assembler
from provence_training.pairs.pack import Pack, borders_of
from provence_training.pairs.packing import token_arrays
from provence_training.pairs.pair_set import Kind, PairSet, SentenceScores
from provence_training.pairs.targets import IGNORE
from provence_training.pairs.windows import whole_windows

__all__ = ["Example", "ProvenceCollator", "example_pairs", "pad_rows"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A query with a passage, and their targets.

    Raises:
        InvalidInputError: A list of targets does not have one entry per sentence.
    """

    query: str
    document: str

    sentences: Sequence[Span] = ()
    """Character spans of the document's sentences, in order."""

    label: float | None = None
    """Relevance of the passage, 0 to 1."""

    pruning_labels: Sequence[int] | None = None
    """For each sentence, 1 keep, 0 drop, or `IGNORE`."""

    teacher_score: float | None = None
    """A teacher's relevance logit."""

    sentence_teacher_scores: Sequence[float] | None = None
    """For each sentence, a teacher's keep logit, or NaN."""

    guided: bool = True
    """Whether to learn from a guide, if the training has one."""

    def __post_init__(self) -> None:
        """Check the lengths: sentences are numbered through a batch, so a gap would shift the rest."""
        for name in ("pruning_labels", "sentence_teacher_scores"):
            targets = getattr(self, name)
            if targets is not None and len(targets) != len(self.sentences):
                raise InvalidInputError(
                    f"{name} must have one entry for each of the {len(self.sentences)} sentences, "
                    f"got {len(targets)}"
                )


class ProvenceCollator:
    """Makes a padded batch and its targets from examples, for custom training loops.

    A passage that does not fit is cut; `PairSet.rows` describes what becomes of its targets. A document
    without sentences counts as one sentence without targets.

    Args:
        encoder: The model's encoder of pairs, which is also used for inference.
        pad_token_id: The model's padding token.
        uses_token_types: Whether the encoder has segment embeddings.
    """

    def __init__(self, encoder: PairEncoder, *, pad_token_id: int, uses_token_types: bool) -> None:
        self.encoder = encoder
        self.pad_token_id = pad_token_id
        self.uses_token_types = uses_token_types

    @classmethod
    def for_model(cls, model: ProvenceModel, tokenizer: PairTokenizer) -> ProvenceCollator:
        """A collator with a model's window, padding and token types."""
        return cls(
            PairEncoder(tokenizer, model.provence_config),
            pad_token_id=model.transformer.config.pad_token_id or 0,
            uses_token_types=model.uses_token_types,
        )

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """A batch: `input_ids`, `attention_mask`, `token_type_ids` (B, T) where used, and `targets`."""
        pairs = example_pairs(examples, self.encoder)
        assemble = Assembler(
            pairs.pack,
            passage_type=self.encoder.layout.passage_type,
            pad_token_id=self.pad_token_id,
            uses_token_types=self.uses_token_types,
            max_length=self.encoder.config.max_length,
        )
        return assemble(pairs.rows(range(len(pairs))))


def example_pairs(examples: Sequence[Example], encoder: PairEncoder) -> PairSet:
    """Examples as a set of pairs, in their order; those with the same query form a group.

    Args:
        examples: N examples.
        encoder: The checkpoint's encoder.
    """
    spans = [e.sentences or [Span(0, len(e.document))] for e in examples]
    documents = encoder.encode_documents([e.document for e in examples], spans)
    queries = encoder.encode_queries([e.query for e in examples])
    labels = [
        [*(e.pruning_labels or ())] or [IGNORE] * len(own) for e, own in zip(examples, spans, strict=True)
    ]
    scores = [[*(e.sentence_teacher_scores or ())] for e in examples]
    size = len(examples)
    own = np.arange(size)
    groups: dict[str, int] = {}
    nothing = np.zeros(0, dtype=np.int64)
    pack = Pack(
        **token_arrays(
            encoder,
            [tokens.ids for tokens in documents],
            [*map(sentence_bounds, documents, spans)],
            titles=[nothing] * size,
            questions=queries,
            keywords=[nothing] * size,
        ),
        sources=np.array(["examples"]),
        question_sources=np.zeros(size, dtype=np.int64),
        own=own,
        labels=np.array([label for row in labels for label in row], dtype=np.int64),
        label_borders=borders_of(np.array([len(row) for row in labels], dtype=np.int64)),
        relevance=_floats([e.label for e in examples]),
        given_scores=_floats([e.teacher_score for e in examples]),
        has_answer=np.zeros(size, dtype=bool),
        neighbours=np.zeros((size, 0), dtype=np.int64),
        others=np.zeros((size, 0), dtype=np.int64),
        first_junk=np.array(size),
    )
    return PairSet(
        pack=pack,
        encoder=encoder,
        groups=np.array([groups.setdefault(e.query, len(groups)) for e in examples], dtype=np.int64),
        questions=own,
        kinds=np.full(size, Kind.OWN),
        with_keywords=np.zeros(size, dtype=bool),
        with_title=np.zeros(size, dtype=bool),
        guided=np.array([e.guided for e in examples], dtype=bool),
        windows=np.stack([whole_windows(pack, own), np.zeros((size, 2), dtype=np.int64)], axis=1),
        labels=pack.relevance,
        with_pruning_labels=np.ones(size, dtype=bool),
        teacher_scores=pack.given_scores,
        sentence_scores=SentenceScores(
            np.array([score for row in scores for score in row], dtype=np.float32),
            borders_of(np.array([len(row) for row in scores], dtype=np.int64)),
        ),
    )


def pad_rows(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Input ids and attention mask of some texts, each of shape (B, T)."""
    shape = len(rows), max(map(len, rows))
    input_ids, attention_mask = torch.full(shape, pad_token_id), torch.zeros(shape, dtype=torch.long)
    for number, row in enumerate(rows):
        input_ids[number, : len(row)] = torch.tensor(row)
        attention_mask[number, : len(row)] = 1
    return input_ids, attention_mask


def _floats(values: Sequence[float | None]) -> NDArray[np.float32]:
    """NaN for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float32)
