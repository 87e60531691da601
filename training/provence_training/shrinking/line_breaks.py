"""Tokens for line breaks: the form of a page, which is lost where all white space reads as spaces."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, normalizers

__all__ = ["LINE_BREAKS", "add_line_breaks", "embed_line_breaks"]

LINE_BREAKS = ("\n", "\n\n")
"""The end of a line, and of a paragraph."""

_SENTENCE = "a."
"""Ends with the token that is most like a line break: both end what stands before them."""


def add_line_breaks(tokenizer: Tokenizer) -> Tokenizer:
    """A copy with a token for each of `LINE_BREAKS`, which reads all other white space as a space.

    New tokens come after all others, so no piece gets another id.

    Args:
        tokenizer: Of any kind (Unigram, WordPiece, BPE).
    """
    changed = Tokenizer.from_str(tokenizer.to_str())
    spaces = normalizers.Replace(Regex(r"\s"), " ")
    own = changed.normalizer
    changed.normalizer = normalizers.Sequence([spaces] if own is None else [spaces, own])
    # Not normalized: they are looked for in the text itself, before all white space becomes spaces.
    changed.add_tokens([AddedToken(token, normalized=False) for token in LINE_BREAKS])
    return changed


def embed_line_breaks(model: Any, before: Tokenizer, after: Tokenizer) -> None:
    """Give new tokens for line breaks the embedding of a full stop, to be trained on from there.

    Args:
        model: A transformer; its embeddings grow if need be.
        before: Its tokenizer.
        after: The same from `add_line_breaks`.
    """
    vocabulary = after.get_vocab(with_added_tokens=True)
    ids = [vocabulary[token] for token in LINE_BREAKS if before.token_to_id(token) is None]
    size = max([model.get_input_embeddings().num_embeddings, *(i + 1 for i in ids)])
    model.resize_token_embeddings(size, mean_resizing=False)
    weight = model.get_input_embeddings().weight
    full_stop = before.encode(_SENTENCE, add_special_tokens=False).ids[-1]
    with torch.no_grad():
        weight[ids] = weight[full_stop].clone()
