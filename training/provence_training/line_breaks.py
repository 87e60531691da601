"""Tokens for line breaks: the form of a page, which is lost where all white space reads as spaces."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, normalizers

from provence_rag.errors import CheckpointError

__all__ = ["LINE_BREAKS", "add_line_breaks", "embed_line_breaks"]

LINE_BREAKS = ("\n", "\n\n")
"""The end of a line, and of a paragraph."""

_SENTENCE_END = "a."
"""Its last token ends a sentence, as a line break does: what a line break is embedded as before training."""


def add_line_breaks(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer with a token for each of `LINE_BREAKS`, and all other white space read as a space.

    Args:
        tokenizer: Stays as it is.

    Raises:
        CheckpointError: The tokenizer treats white space in a way that leaves no room for such tokens.
    """
    changed = Tokenizer.from_str(tokenizer.to_str())
    spaces = normalizers.Replace(Regex(r"\s"), " ")
    own = changed.normalizer
    changed.normalizer = normalizers.Sequence([spaces] if own is None else [spaces, own])
    # Not normalized: they are looked for in the text itself, before every white space becomes a space.
    changed.add_tokens([AddedToken(token, normalized=False) for token in LINE_BREAKS])
    read = changed.encode("a\nb\n\na\tb", add_special_tokens=False).ids
    line, paragraph = (changed.token_to_id(token) for token in LINE_BREAKS)
    plain = [tokenizer.encode(text, add_special_tokens=False).ids for text in ("a", "b", "a b")]
    if read != [*plain[0], line, *plain[1], paragraph, *plain[2]]:
        raise CheckpointError(
            "line_breaks does not work with this tokenizer, which changes the text around an added token: "
            "leave it out"
        )
    return changed


def embed_line_breaks(model: Any, tokenizer: Tokenizer) -> None:
    """Give line breaks the embedding of a full stop, from which they are trained on.

    Args:
        model: A transformer; its embeddings grow to the tokenizer's size if they are smaller.
        tokenizer: From `add_line_breaks`.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    ids = [vocabulary[token] for token in LINE_BREAKS]
    if max(ids) >= model.config.vocab_size:
        model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    like = tokenizer.encode(_SENTENCE_END, add_special_tokens=False).ids[-1]
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight[ids] = weight[like].clone()
