"""What the collator gives and the loss takes: the trainer passes the columns of a batch on by their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from torch import Tensor

from provence_rag.config import ProvenceConfig
from provence_rag.errors import InvalidInputError

__all__ = ["COLUMNS", "CrossEncoderBatch", "Reading", "batch_of", "reading_of"]

Reading = tuple[tuple[str, ...] | None, bool, str]
"""How a pair becomes token ids: `pair_template`, `normalize_query`, `tokenization` of a `ProvenceConfig`."""


class CrossEncoderBatch(TypedDict):
    """B pairs of at most T tokens, with S sentences in all. Unknown targets are NaN, or -100 for integers."""

    input_ids: Tensor
    """Token ids, shape (B, T)."""

    attention_mask: Tensor
    """1 for tokens, 0 for padding, shape (B, T)."""

    token_type_ids: Tensor
    """Segment ids, shape (B, T), for models that have them."""

    sentence_ids: Tensor
    """Number of each token's sentence in the batch, -1 for none, shape (B, T)."""

    pruning_labels: Tensor
    """1 keep, 0 drop: of sentences, shape (S,), or of tokens, shape (B, T)."""

    teacher_scores: Tensor
    """A teacher's relevance logits, shape (B,)."""

    query_ids: Tensor
    """A number below B, the same for pairs with the same query, shape (B,)."""

    reading: Reading


COLUMNS = tuple(CrossEncoderBatch.__annotations__)


def reading_of(config: ProvenceConfig) -> Reading:
    """How a checkpoint reads a pair, its window aside."""
    return config.pair_template, config.normalize_query, config.tokenization


def batch_of(columns: Sequence[Any]) -> CrossEncoderBatch:
    """Name the columns of a batch again.

    Raises:
        InvalidInputError: They are not those of `ProvenceCrossEncoderDataCollator`.
    """
    if len(columns) < len(COLUMNS) or not isinstance(columns[0], Tensor):
        raise InvalidInputError(
            "ProvenceLoss needs the batches of ProvenceCrossEncoderDataCollator: pass "
            "data_collator=ProvenceCrossEncoderDataCollator(model.tokenizer) to the trainer"
        )
    batch: Any = dict(zip(COLUMNS, columns, strict=False))
    return batch  # type: ignore[no-any-return]
