"""Tokens for line breaks, without which a model does not see the layout of a page."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, normalizers

__all__ = ["LINE_BREAKS", "add_line_breaks", "embed_line_breaks"]

LINE_BREAKS = ("\n", "\n\n")
"""The end of a line, and of a paragraph."""

_SENTENCE = "a."
"""Ends with a full stop, the token most like a line break."""


def add_line_breaks(tokenizer: Tokenizer) -> Tokenizer:
    """A copy with a token for each of `LINE_BREAKS`, which reads all other white space as a space.

    New tokens come after all others, so no piece gets another id.

    Args:
        tokenizer: A tokenizer of any kind (Unigram, WordPiece, BPE).
    """
    changed = Tokenizer.from_str(tokenizer.to_str())
    spaces = normalizers.Replace(Regex(r"\s"), " ")
    own = changed.normalizer
    changed.normalizer = normalizers.Sequence([spaces] if own is None else [spaces, own])
    # Not normalized: they are matched in the original text, before all white space becomes spaces.
    changed.add_tokens([AddedToken(token, normalized=False) for token in LINE_BREAKS])
    return changed


def embed_line_breaks(model: Any, before: Tokenizer, after: Tokenizer) -> None:
    """Start the embeddings of new tokens for line breaks from that of a full stop.

    Args:
        model: A transformer, whose embeddings grow if necessary.
        before: Its tokenizer.
        after: The tokenizer from `add_line_breaks`.
    """
    vocabulary = after.get_vocab(with_added_tokens=True)
    ids = [vocabulary[token] for token in LINE_BREAKS if before.token_to_id(token) is None]
    size = max([model.get_input_embeddings().num_embeddings, *(i + 1 for i in ids)])
    model.resize_token_embeddings(size, mean_resizing=False)
    weight = model.get_input_embeddings().weight
    full_stop = before.encode(_SENTENCE, add_special_tokens=False).ids[-1]
    with torch.no_grad():
        weight[ids] = weight[full_stop].clone()
