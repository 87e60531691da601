"""From examples to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from provence_rag.chunking import Span
from provence_rag.inference.encoding import PairTokenizer, sentence_bounds
from provence_training.loss import IGNORE, Targets

__all__ = ["Example", "ProvenceCollator"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A query with a passage, and what is known of them."""

    query: str
    document: str

    sentences: Sequence[Span] = ()
    """Character spans of the document's sentences, in order."""

    label: float | None = None
    """Relevance of the passage, 0 to 1."""

    pruning_labels: Sequence[int] | None = None
    """For each sentence, 1 keep or 0 drop."""

    teacher_score: float | None = None
    """A teacher's relevance logit."""

    sentence_teacher_scores: Sequence[float] | None = None
    """For each sentence, a teacher's keep logit."""


class ProvenceCollator:
    """Makes a padded batch and its targets of examples.

    A passage that does not fit behind its query is cut at `max_length` tokens; a sentence that loses all of
    its tokens loses its targets with them.

    Args:
        tokenizer: The model's tokenizer.
        max_length: Tokens of a window.
        pad_token_id: The model's padding token.
        uses_token_types: Whether the encoder has segment embeddings.
    """

    def __init__(
        self, tokenizer: PairTokenizer, *, max_length: int, pad_token_id: int, uses_token_types: bool
    ) -> None:
        # Not `tokenizer`: transformers' Trainer would call save_pretrained on an attribute of that name.
        self._tokenizer = tokenizer
        self.max_length = max_length
        self.pad_token_id = pad_token_id
        self.uses_token_types = uses_token_types

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """A batch: `input_ids`, `attention_mask`, `token_type_ids` (B, T) where used, and `targets`."""
        layout = self._tokenizer.layout
        queries = self._tokenizer.tokenize([e.query for e in examples])
        documents = self._tokenizer.tokenize([e.document for e in examples])
        half = self.max_length // 2
        heads = [np.concatenate([layout.before, q.ids[:half], layout.between]).astype(np.int64) for q in queries]
        bodies = [
            d.ids[: self.max_length - len(h) - len(layout.after)]
            for h, d in zip(heads, documents, strict=True)
        ]
        shape = (len(examples), max(len(h) + len(b) for h, b in zip(heads, bodies, strict=True)) + len(layout.after))
        input_ids = np.full(shape, self.pad_token_id, dtype=np.int64)
        attention_mask, token_type_ids = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        sentence_ids = np.full(shape, -1, dtype=np.int64)
        num_sentences = 0
        for row, (head, body) in enumerate(zip(heads, bodies, strict=True)):
            start, end = len(head), len(head) + len(body)
            length = end + len(layout.after)
            input_ids[row, :length] = np.concatenate([head, body, layout.after])
            attention_mask[row, :length] = 1
            token_type_ids[row, start:length] = layout.passage_type
            spans = examples[row].sentences
            counts = np.diff(np.minimum(sentence_bounds(documents[row], spans), len(body)))[: len(spans)]
            sentence_ids[row, start : start + counts.sum()] = num_sentences + np.repeat(
                np.arange(len(spans)), counts
            )
            num_sentences += len(spans)
        batch: dict[str, Any] = {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(attention_mask),
            "targets": _targets(examples, torch.from_numpy(sentence_ids)),
        }
        if self.uses_token_types:
            batch["token_type_ids"] = torch.from_numpy(token_type_ids)
        return batch


def _targets(examples: Sequence[Example], sentence_ids: torch.Tensor) -> Targets:
    nan = float("nan")
    pruning_labels: list[int] = []
    teacher: list[float] = []
    for e in examples:
        pruning_labels += e.pruning_labels if e.pruning_labels is not None else [IGNORE] * len(e.sentences)
        teacher += (
            e.sentence_teacher_scores if e.sentence_teacher_scores is not None else [nan] * len(e.sentences)
        )
    labels = torch.tensor(pruning_labels, dtype=torch.long)
    scores = torch.tensor(teacher, dtype=torch.float32)
    # A sentence cut off by the window has no tokens: its pooled logit would be a constant.
    unseen = torch.ones(len(labels), dtype=torch.bool)
    unseen[sentence_ids[sentence_ids >= 0].unique()] = False
    return Targets(
        labels=torch.tensor([nan if e.label is None else e.label for e in examples]),
        teacher_scores=torch.tensor([nan if e.teacher_score is None else e.teacher_score for e in examples]),
        sentence_ids=sentence_ids,
        pruning_labels=labels.masked_fill(unseen, IGNORE),
        sentence_teacher_scores=scores.masked_fill(unseen, nan),
    )
