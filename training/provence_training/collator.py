"""From examples to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from provence_rag.chunking import Span
from provence_rag.errors import InvalidInputError
from provence_rag.inference.encoding import PairTokenizer, sentence_bounds
from provence_rag.modeling.model import ProvenceModel
from provence_training.loss import IGNORE, Targets

__all__ = ["Example", "ProvenceCollator", "pad_rows"]

IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A query with a passage, and what is known of them.

    Raises:
        InvalidInputError: A list of targets has not one entry a sentence.
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
    """Whether a guide is learned from, if the training has one."""

    def __post_init__(self) -> None:
        """Check the lengths: sentences are numbered through a batch, so one too few would shift the rest."""
        for name in ("pruning_labels", "sentence_teacher_scores"):
            targets = getattr(self, name)
            if targets is not None and len(targets) != len(self.sentences):
                raise InvalidInputError(
                    f"{name} must have one entry for each of the {len(self.sentences)} sentences, "
                    f"got {len(targets)}"
                )


class ProvenceCollator:
    """Makes a padded batch and its targets of examples.

    A passage that does not fit behind its query is cut at `max_length` tokens; a sentence that loses all of
    its tokens loses its targets with them, and a passage that loses all the sentences that are to be kept
    loses its relevance label: what is left of it may not answer. Of a query, at most half a window is read,
    as in inference.

    Args:
        tokenizer: The model's tokenizer.
        max_length: Tokens of a window.
        pad_token_id: The model's padding token.
        uses_token_types: Whether the encoder has segment embeddings.
    """

    def __init__(
        self, tokenizer: PairTokenizer, *, max_length: int, pad_token_id: int, uses_token_types: bool
    ) -> None:
        # Not `tokenizer`: transformers' Trainer calls save_pretrained on a collator's attribute of that name.
        self._tokenizer = tokenizer
        self.max_length = max_length
        self.pad_token_id = pad_token_id
        self.uses_token_types = uses_token_types

    @classmethod
    def for_model(cls, model: ProvenceModel, tokenizer: PairTokenizer) -> ProvenceCollator:
        """One for a model's window, padding and token types."""
        return cls(
            tokenizer,
            max_length=model.provence_config.max_length,
            pad_token_id=model.transformer.config.pad_token_id or 0,
            uses_token_types=model.uses_token_types,
        )

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """A batch: `input_ids`, `attention_mask`, `token_type_ids` (B, T) where used, and `targets`."""
        layout = self._tokenizer.layout
        queries = self._tokenizer.tokenize([e.query for e in examples])
        documents = self._tokenizer.tokenize([e.document for e in examples])
        heads = [[*layout.before, *q.ids[: self.max_length // 2], *layout.between] for q in queries]
        bodies = [
            d.ids[: self.max_length - len(head) - len(layout.after)]
            for head, d in zip(heads, documents, strict=True)
        ]
        rows = [[*head, *body, *layout.after] for head, body in zip(heads, bodies, strict=True)]
        shape = (len(rows), max(map(len, rows)))
        input_ids = np.full(shape, self.pad_token_id, dtype=np.int64)
        attention_mask = np.zeros(shape, dtype=np.int64)
        token_type_ids = np.zeros(shape, dtype=np.int64)
        sentence_ids = np.full(shape, -1, dtype=np.int64)
        num_sentences = 0
        for i, (example, row) in enumerate(zip(examples, rows, strict=True)):
            start = len(heads[i])
            input_ids[i, : len(row)] = row
            attention_mask[i, : len(row)] = 1
            token_type_ids[i, start : len(row)] = layout.passage_type
            bounds = np.minimum(sentence_bounds(documents[i], example.sentences), len(bodies[i]))
            for sentence, (first, end) in enumerate(pairwise(bounds), num_sentences):
                sentence_ids[i, start + first : start + end] = sentence
            num_sentences += len(example.sentences)
        batch: dict[str, Any] = {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(attention_mask),
            "targets": _targets(examples, sentence_ids),
        }
        if self.uses_token_types:
            batch["token_type_ids"] = torch.from_numpy(token_type_ids)
        return batch


def pad_rows(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Input ids and attention mask of some texts, each of shape (B, T)."""
    shape = len(rows), max(map(len, rows))
    input_ids, attention_mask = torch.full(shape, pad_token_id), torch.zeros(shape, dtype=torch.long)
    for number, row in enumerate(rows):
        input_ids[number, : len(row)] = torch.tensor(row)
        attention_mask[number, : len(row)] = 1
    return input_ids, attention_mask


def _targets(examples: Sequence[Example], sentence_ids: IntArray) -> Targets:
    pruning_labels: list[int] = []
    teacher: list[float] = []
    owners: list[int] = []
    for row, e in enumerate(examples):
        unknown = len(e.sentences)
        pruning_labels += [IGNORE] * unknown if e.pruning_labels is None else e.pruning_labels
        teacher += [torch.nan] * unknown if e.sentence_teacher_scores is None else e.sentence_teacher_scores
        owners += [row] * unknown
    # A sentence cut off by the window has no tokens: its pooled logit would be a constant.
    unseen = ~np.isin(np.arange(len(teacher)), sentence_ids)
    kept = np.array(pruning_labels, dtype=np.int64) == 1
    rows = np.array(owners, dtype=np.int64)
    lost = np.zeros(len(examples), dtype=bool)
    lost[rows[kept]] = True
    lost[rows[kept & ~unseen]] = False
    query_numbers: dict[str, int] = {}
    hidden = torch.from_numpy(unseen)
    return Targets(
        labels=_floats([e.label for e in examples]).masked_fill(torch.from_numpy(lost), torch.nan),
        teacher_scores=_floats([e.teacher_score for e in examples]),
        sentence_ids=torch.from_numpy(sentence_ids),
        pruning_labels=torch.tensor(pruning_labels, dtype=torch.long).masked_fill(hidden, IGNORE),
        sentence_teacher_scores=_floats(teacher).masked_fill(hidden, torch.nan),
        query_ids=torch.tensor([query_numbers.setdefault(e.query, len(query_numbers)) for e in examples]),
        guided=torch.tensor([e.guided for e in examples]),
    )


def _floats(values: Sequence[float | None]) -> torch.Tensor:
    """NaN for None. The type is said, since labels may be given as integers."""
    return torch.tensor([torch.nan if x is None else x for x in values], dtype=torch.float32)
