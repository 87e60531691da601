"""Losses on what is inside a model, beside that on what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from provence_rag.errors import InvalidInputError
from provence_rag.hub import checkpoint_directory
from provence_rag.inference.encoding import PairLayout, PairTokenizer
from provence_rag.modeling.model import ProvenceModel
from provence_training.collator import pad_rows
from provence_training.config import RangesConfig, StatesConfig
from provence_training.shrink import keep_pieces, layers_of, load_encoder, load_tokenizer

__all__ = ["HiddenLoss", "RangeLoss", "StatesLoss"]

_ROWS = 4
"""Windows of a batch whose activations are looked at: ranges are much the same in all of them."""


class HiddenLoss(nn.Module):
    """Looks on while a model runs in training, and judges that pass.

    `forward(input_ids, attention_mask)` gives the weighted value of the pass that ran last, a mean over its
    windows, and forgets it. Parameters are trained with the model's heads and are no part of the model.
    """


class RangeLoss(HiddenLoss):
    """Keeps what is multiplied with the encoder's matrices in a range, which int8 divides into 256 steps.

    A few channels of pretrained encoders reach thirty times the size of the others (Bondarenko et al. 2021,
    arXiv 2109.12948). The loss is, summed over matrices and channels, the squared excess over the limit.

    Args:
        model: The model.
        config: The limit and the weight.
    """

    def __init__(self, model: ProvenceModel, config: RangesConfig) -> None:
        super().__init__()
        self._limit, self._weight = config.limit, config.weight
        self._seen: list[Tensor] = []
        for module in model.transformer.base_model.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_pre_hook(self._see)

    def _see(self, module: nn.Module, inputs: Any) -> None:
        # Queries, keys and values are made of one tensor, which counts once.
        if module.training and not (self._seen and self._seen[-1] is inputs[0]):
            self._seen.append(inputs[0])

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See `HiddenLoss`."""
        seen, self._seen = self._seen, []
        excess = [(x[:_ROWS].float().abs() - self._limit).relu().square().sum(-1).mean() for x in seen]
        return self._weight * torch.stack(excess).sum()


class StatesLoss(HiddenLoss):
    """One layer of the model learns what a bi-encoder makes of each token.

    After TinyBERT's loss on hidden states (Jiao et al. 2020, arXiv 1909.10351, section 3.1): the squared
    distance of a linear map of the layer's states from the teacher's last ones, which are standardised by
    dimension over the batch. The teacher reads question and passage apart, so that its states know nothing of
    each other; it reads the model's own tokens, of which it must have every piece. Question and passage count
    alike, however long they are. A similarity tells one number of a pair; this tells hundreds of each token.

    Args:
        model: The model.
        tokenizer: The model's tokenizer.
        config: Teacher, layer, weight and the teacher's prefixes.
        dtype: What the teacher computes in.

    Raises:
        InvalidInputError: The model has no such layer, or the teacher lacks pieces of its vocabulary.
        CheckpointError: There is no such teacher.
    """

    def __init__(
        self,
        model: ProvenceModel,
        tokenizer: PairTokenizer,
        config: StatesConfig,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        layers = layers_of(model.transformer.base_model)
        if config.layer > len(layers):
            raise InvalidInputError(f"states.layer must be 1 to {len(layers)}, got {config.layer}")
        layers[config.layer - 1].register_forward_hook(self._see)
        teacher = _with_pieces_of(tokenizer, checkpoint_directory(config.model), dtype)
        self._teacher = (teacher,)  # in a tuple, since a submodule would be trained and saved
        self._layout: PairLayout = tokenizer.layout
        prefixes = tokenizer.tokenize([config.query_prefix.strip(), config.passage_prefix.strip()])
        self._prefixes = [prefix.ids.tolist() for prefix in prefixes]
        self._weight = config.weight
        self._seen: list[Tensor] = []
        sizes = model.transformer.config.hidden_size, teacher.config.hidden_size
        self.projection = nn.Linear(*sizes)
        nn.init.eye_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def _see(self, layer: nn.Module, _inputs: Any, output: Any) -> None:
        if layer.training:
            self._seen = [output[0] if isinstance(output, tuple) else output]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See `HiddenLoss`."""
        (states,), self._seen = self._seen, []
        parts = [self._parts(row) for row in _rows(input_ids, attention_mask)]
        sides = list(zip(*parts, strict=True))  # the questions and the passages
        values = [
            self._distance(states, side, prefix) for side, prefix in zip(sides, self._prefixes, strict=True)
        ]
        return self._weight * torch.stack(values).mean()

    def _parts(self, row: list[int]) -> tuple[tuple[int, list[int]], tuple[int, list[int]]]:
        """Where the question and the passage of a window start, and their tokens."""
        before, between, after = self._layout.before, self._layout.between, self._layout.after
        end = row.index(between[0], len(before))
        start = end + len(between)
        return (len(before), row[len(before) : end]), (start, row[start : len(row) - len(after)])

    def _distance(
        self, states: Tensor, side: Sequence[tuple[int, list[int]]], prefix: Sequence[int]
    ) -> Tensor:
        """Mean over the windows that have tokens on this side."""
        side_of = [(row, start, tokens) for row, (start, tokens) in enumerate(side) if tokens]
        goals = self._read([tokens for _, _, tokens in side_of], prefix)
        goal = torch.cat(goals)  # (N, H)
        goal = (goal - goal.mean(0)) / goal.std(0).clamp(min=1e-6)
        # One gather: the gradient of a slice is as large as what it was cut from, for each of them.
        places = [
            row * states.shape[1] + start + torch.arange(len(of_row))
            for (row, start, _), of_row in zip(side_of, goals, strict=True)
        ]
        own = states.flatten(0, 1).index_select(0, torch.cat(places).to(states.device))
        errors = (self.projection(own) - goal).square().mean(-1)  # (N,)
        return torch.stack([part.mean() for part in errors.split([len(g) for g in goals])]).mean()

    @torch.no_grad()
    def _read(self, texts: Sequence[Sequence[int]], prefix: Sequence[int]) -> list[Tensor]:
        """The teacher's states of each text's tokens, (n, H); of a text behind its window, the first."""
        teacher, (device, layout) = self._teacher[0], (self.projection.weight.device, self._layout)
        before, after = [*layout.before, *prefix], layout.after
        room = teacher.config.max_position_embeddings - len(before) - len(after) - 2
        cut = [text[:room] for text in texts]
        rows = [[*before, *text, *after] for text in cut]
        ids, mask = pad_rows(rows, teacher.config.pad_token_id or 0)
        teacher.to(device)
        found = teacher(input_ids=ids.to(device), attention_mask=mask.to(device)).last_hidden_state.float()
        return [found[row, len(before) :][: len(text)] for row, text in enumerate(cut)]


def _rows(input_ids: Tensor, attention_mask: Tensor) -> list[list[int]]:
    """Each window's tokens without its padding."""
    lengths = attention_mask.sum(1).tolist()
    return [row[:length] for row, length in zip(input_ids.tolist(), lengths, strict=True)]


def _with_pieces_of(tokenizer: PairTokenizer, directory: Path, dtype: torch.dtype) -> Any:
    """An encoder that reads another tokenizer's ids."""
    own = load_tokenizer(directory).get_vocab()
    wanted = tokenizer.pieces()
    missing = [piece for piece in wanted if piece not in own]
    if missing:
        raise InvalidInputError(
            f"states.model={str(directory)!r} lacks {len(missing)} pieces of the model's vocabulary, such as "
            f"{missing[0]!r}: take the encoder that the model was cut from"
        )
    encoder = load_encoder(directory, dtype)
    keep_pieces(encoder, [own[piece] for piece in wanted])
    return encoder.requires_grad_(False)
