"""Token ids with character offsets, and the windows in which a query meets its passage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from provence_rag.chunking import Span, split_overlong
from provence_rag.errors import CheckpointError, InvalidInputError

__all__ = [
    "PairLayout",
    "PairTokenizer",
    "TextTokenizer",
    "TokenizedText",
    "Unit",
    "Window",
    "pack_windows",
    "sentence_bounds",
    "split_units",
]

IntArray = NDArray[np.int64]

_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)


@dataclass(frozen=True)
class TokenizedText:
    """The tokens of a text, without special tokens."""

    ids: IntArray
    """Token ids, shape (T,)."""

    offsets: IntArray
    """Character offsets [start, end) of each token in the text, shape (T, 2)."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class PairLayout:
    """The special tokens around a query and its passage, e.g. `<s> query </s> </s> passage </s>`."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    passage_type: int
    """Token type of the passage and of the special tokens behind it; the query's is 0."""

    @property
    def num_special_tokens(self) -> int:
        """How many tokens of a window are special."""
        return len(self.before) + len(self.between) + len(self.after)


class TextTokenizer(Protocol):
    """What the engine needs of a tokenizer."""

    @property
    def layout(self) -> PairLayout:
        """The special tokens of a pair."""
        ...

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenize texts, without special tokens."""
        ...


class PairTokenizer:
    """A checkpoint's `tokenizer.json`, used verbatim.

    Reading the file with the tokenizers library, instead of a transformers class, guarantees that ids are
    those the checkpoint was trained on: such classes may rebuild a tokenizer from its vocabulary.

    A text is encoded in one go, however long: time is linear in its length, and in slices the ids would be
    others (Metaspace puts its mark in front of each slice).

    Args:
        tokenizer: Truncation and padding are switched off in it.

    Raises:
        CheckpointError: It does not know how to place a query and a passage.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        # Windows are cut here, at sentence borders; a stored truncation would lose text silently.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.layout = _pair_layout(tokenizer)

    @classmethod
    def from_directory(cls, directory: Path) -> PairTokenizer:
        """Load `tokenizer.json`.

        Raises:
            CheckpointError: The file is missing or cannot be read.
        """
        path = directory / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(f"{directory} has no tokenizer.json")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"{path} is not a tokenizer: {error}") from error
        return cls(tokenizer)

    @classmethod
    def copy_of(cls, tokenizer: Any) -> PairTokenizer:
        """Take a tokenizer that is in use elsewhere; a copy, since truncation and padding are changed in it.

        Args:
            tokenizer: A `tokenizers.Tokenizer`, or a transformers tokenizer that stands on one.

        Raises:
            InvalidInputError: It is neither.
            CheckpointError: It does not know how to place a query and a passage.
        """
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not isinstance(backend, Tokenizer):
            raise InvalidInputError(
                f"tokenizer must be a tokenizers.Tokenizer or stand on one, got {type(tokenizer).__name__}"
            )
        return cls(Tokenizer.from_str(backend.to_str()))

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenize texts, without special tokens.

        A lone surrogate, which has no UTF-8 form, is read as U+FFFD; offsets stay those of the text given.
        """
        encodings = self._tokenizer.encode_batch(
            [_encodable(text) for text in texts], add_special_tokens=False
        )
        return [
            TokenizedText(
                np.array(encoding.ids, dtype=np.int64),
                np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2),
            )
            for encoding in encodings
        ]

    def save(self, directory: Path) -> None:
        """Write `tokenizer.json`."""
        self._tokenizer.save(str(directory / "tokenizer.json"))


def _pair_layout(tokenizer: Tokenizer) -> PairLayout:
    """The special tokens of a pair, as the tokenizer's own template places them."""
    encoding: Any = tokenizer.encode("a", "b")
    query = [i for i, side in enumerate(encoding.sequence_ids) if side == 0]
    passage = [i for i, side in enumerate(encoding.sequence_ids) if side == 1]
    if not query or not passage:
        raise CheckpointError("tokenizer.json does not encode pairs: a query or a passage gets no tokens")
    return PairLayout(
        before=tuple(encoding.ids[: query[0]]),
        between=tuple(encoding.ids[query[-1] + 1 : passage[0]]),
        after=tuple(encoding.ids[passage[-1] + 1 :]),
        passage_type=encoding.type_ids[passage[0]],
    )


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.translate(_SURROGATES)
    return text


class Unit(NamedTuple):
    """Tokens of one document that are scored together: a sentence, or a part of an overlong one."""

    sentence: int
    start: int
    end: int


class Window(NamedTuple):
    """A run of a document's tokens that the model reads in one pass."""

    document: int
    start: int
    end: int


def sentence_bounds(tokens: TokenizedText, spans: Sequence[Span]) -> IntArray:
    """Token index at which each sentence starts, and the number of tokens: shape (sentences + 1,).

    A token belongs to the sentence that holds its last character; tokenizers that attach the white space in
    front to a token would otherwise give a sentence's first word to its neighbour.
    """
    bounds = _first_tokens(tokens, spans)
    bounds[:1] = 0
    return np.append(bounds, len(tokens))


def _first_tokens(tokens: TokenizedText, spans: Sequence[Span]) -> IntArray:
    """Index of the first token that ends in each span or behind it, shape (spans,)."""
    last_characters = np.maximum(tokens.offsets[:, 1] - 1, tokens.offsets[:, 0])
    starts = np.fromiter((span.start for span in spans), dtype=np.int64, count=len(spans))
    # Accumulated: a normaliser that reorders characters leaves offsets that are not sorted.
    return np.searchsorted(np.maximum.accumulate(last_characters), starts, side="left")


def split_units(
    text: str, tokens: TokenizedText, spans: Sequence[Span], bounds: IntArray, capacity: int
) -> list[Unit]:
    """One unit a sentence; a sentence of more than `capacity` tokens is split at the best borders."""
    units: list[Unit] = []
    for sentence, (start, end) in enumerate(pairwise(bounds.tolist())):
        if end - start <= capacity:
            units.append(Unit(sentence, start, end))
            continue
        # Only its own tokens are looked at, so that many overlong sentences take linear time.
        own = TokenizedText(tokens.ids[start:end], tokens.offsets[start:end])
        parts = split_overlong(text, spans[sentence], np.maximum.accumulate(own.offsets[:, 0]), capacity)
        cuts = [start, *(start + _first_tokens(own, parts[1:])).tolist(), end]
        # Offsets that stand still (one character, many tokens) can leave too much in a part.
        units += [
            Unit(sentence, at, min(at + capacity, behind))
            for begin, behind in pairwise(cuts)
            for at in range(begin, behind, capacity)
        ]
    return units


def pack_windows(document: int, units: Sequence[Unit], capacity: int) -> list[Window]:
    """Fill windows with whole units, in order: nothing is cut, nothing is read twice."""
    windows: list[Window] = []
    start = end = 0
    for unit in units:
        if unit.end - start > capacity:
            windows.append(Window(document, start, end))
            start = unit.start
        end = unit.end
    if end > start:
        windows.append(Window(document, start, end))
    return windows
