"""Batches of token ids, assembled on the device from flat arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from provence_rag.inference.pair_encoder import PairEncoder
from provence_rag.modeling.model import ProvenceModel
from provence_training.pairs.pack import Pack
from provence_training.pairs.targets import Targets

__all__ = ["WINDOW_SEGMENTS", "Assembler", "Rows"]

WINDOW_SEGMENTS = (5, 6)
"""The segments of a row that are windows of passages."""

_TITLE_SEGMENT = 3
"""The first segment with the passage's token type."""


@dataclass
class Rows:
    """B rows with S sentences in all, as positions of the tokens that they consist of.

    A row has eight segments: the special tokens before, the query, the special tokens between, a title
    without its last token, that token, two windows, and the special tokens after. Segments that a row does
    not have are of length 0.
    """

    starts: Tensor
    """Where each segment starts in the pack's tokens, shape (B, 8)."""

    lengths: Tensor
    """Tokens of each segment, shape (B, 8)."""

    sentence_rows: Tensor
    """The row of each sentence, shape (S,)."""

    sentence_starts: Tensor
    """The token of its row that each sentence starts at, shape (S,)."""

    labels: Tensor
    """As in `Targets`, like all that follow; shape (B,)."""

    teacher_scores: Tensor
    pruning_labels: Tensor
    sentence_teacher_scores: Tensor
    query_ids: Tensor
    guided: Tensor

    num_tokens: int
    """Tokens of the longest row."""

    def to(self, device: torch.device) -> Rows:
        """A copy on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Rows:
        """A copy in page-locked memory, for torch's DataLoader."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Rows:
        changed: dict[str, Any] = {n: change(x) for n, x in vars(self).items() if isinstance(x, Tensor)}
        return replace(self, **changed)


class Assembler:
    """Makes a padded batch and its targets from rows, with the ids that inference has for the same pairs.

    Everything happens in tensor operations on one device, without a loop over rows, so that a GPU does not
    wait for the CPU.

    Args:
        pack: The corpus that the rows refer to; its tokens are copied to the device.
        passage_type: Token type of the passage.
        pad_token_id: The model's padding token.
        uses_token_types: Whether the encoder has segment embeddings.
        max_length: Tokens of the model's window.
        pad_to_multiple_of: Batches are padded to a multiple of this number of tokens, up to `max_length`.
        device: The device to make batches on.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        passage_type: int,
        pad_token_id: int,
        uses_token_types: bool,
        max_length: int,
        pad_to_multiple_of: int = 1,
        device: torch.device | None = None,
    ) -> None:
        # torch has few operations on unsigned types of more than a byte, so the bits are read as signed.
        signed = pack.tokens.view(f"i{pack.tokens.itemsize}")
        self._tokens = torch.from_numpy(signed).to(device or "cpu")
        self._mask = 2 ** (8 * pack.tokens.itemsize) - 1
        self._passage_type = passage_type
        self._pad_token_id = pad_token_id
        self._uses_token_types = uses_token_types
        self._max_length = max_length
        self._multiple = pad_to_multiple_of

    @classmethod
    def for_model(
        cls, pack: Pack, model: ProvenceModel, encoder: PairEncoder, device: torch.device
    ) -> Assembler:
        """An assembler with a model's padding and token types."""
        return cls(
            pack,
            passage_type=encoder.layout.passage_type,
            pad_token_id=model.transformer.config.pad_token_id or 0,
            uses_token_types=model.uses_token_types,
            max_length=encoder.config.max_length,
            pad_to_multiple_of=8,
            device=device,
        )

    def __call__(self, rows: Rows) -> dict[str, Any]:
        """A batch: `input_ids`, `attention_mask`, `token_type_ids` (B, T) where used, and `targets`."""
        device = self._tokens.device
        rows = rows.to(device)
        size = len(rows.lengths)
        longest = -(-rows.num_tokens // self._multiple) * self._multiple
        longest = max(rows.num_tokens, min(longest, self._max_length))
        positions = torch.arange(longest, device=device).expand(size, -1).contiguous()  # (B, T)
        ends = rows.lengths.cumsum(1)
        segments = torch.searchsorted(ends, positions, right=True)  # (B, T)
        is_token = segments < ends.shape[1]
        segments = segments.clamp(max=ends.shape[1] - 1)
        offsets = (rows.starts - ends + rows.lengths).gather(1, segments)
        ids = self._tokens[torch.where(is_token, offsets + positions, 0)].long() & self._mask
        batch: dict[str, Any] = {
            "input_ids": torch.where(is_token, ids, self._pad_token_id),
            "attention_mask": is_token.long(),
            "targets": Targets(
                labels=rows.labels,
                teacher_scores=rows.teacher_scores,
                sentence_ids=_sentence_ids(rows, segments, is_token),
                pruning_labels=rows.pruning_labels,
                sentence_teacher_scores=rows.sentence_teacher_scores,
                query_ids=rows.query_ids,
                guided=rows.guided,
            ),
        }
        if self._uses_token_types:
            of_passage = is_token & (segments >= _TITLE_SEGMENT)
            batch["token_type_ids"] = of_passage.long() * self._passage_type
        return batch


def _sentence_ids(rows: Rows, segments: Tensor, is_token: Tensor) -> Tensor:
    """As in `Targets`: the last sentence that starts at each token or before it, shape (B, T)."""
    size, longest = segments.shape
    starts = rows.sentence_rows * longest + rows.sentence_starts  # (S,) places in the batch, in order
    places = torch.arange(size * longest, device=segments.device)
    numbers = torch.searchsorted(starts, places, right=True).view(size, longest) - 1
    of_window = is_token & (segments >= WINDOW_SEGMENTS[0]) & (segments <= WINDOW_SEGMENTS[1])
    return torch.where(of_window, numbers, -1)
