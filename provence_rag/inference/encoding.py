"""Token ids with character offsets, and the windows in which a query meets its passage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from tokenizers import Encoding, Tokenizer, processors

from provence_rag.chunking import Span, split_overlong
from provence_rag.chunking.visible import is_glued
from provence_rag.errors import CheckpointError, InvalidInputError
from provence_rag.inference.arrays import IntArray
from provence_rag.inference.line_breaks import with_plain_line_breaks
from provence_rag.surrogates import without_surrogates

__all__ = [
    "PairLayout",
    "PairTokenizer",
    "TextTokenizer",
    "TokenizedText",
    "Unit",
    "Window",
    "pack_windows",
    "sentence_bounds",
    "separator_lengths",
    "split_sentences",
    "split_units",
    "tokenize_documents",
    "tokenize_sentences",
]

_MOST_TOKENS_OF_A_CHARACTER = 5
"""A mark for the space before it, and the four bytes of UTF-8. NFKC can turn one character into 18 letters
(U+FDFA), and these into 17 tokens: a text full of it would take far longer than its length suggests."""


@dataclass(frozen=True)
class TokenizedText:
    """The tokens of a text, without special tokens."""

    ids: IntArray
    """Token ids, shape (T,)."""

    offsets: IntArray
    """Character offsets [start, end) of each token in the text, shape (T, 2)."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, some: slice) -> TokenizedText:
        return TokenizedText(self.ids[some], self.offsets[some])


@dataclass(frozen=True)
class PairLayout:
    """The special tokens around a query and its passage, e.g. `<s> query </s> </s> passage </s>`."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    passage_type: int
    """Token type of the passage and of the special tokens after it; that of the query is 0."""

    @property
    def num_special_tokens(self) -> int:
        """The number of special tokens in a window."""
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

    The tokenizers library reads the file, and not a class of transformers, which might rebuild the tokenizer
    from its vocabulary: so the ids are those that the checkpoint was trained on.

    A text of any length is encoded in one call. Time is linear in its length, and slices would get different
    ids (Metaspace adds its mark at the start of each).

    Args:
        tokenizer: Its truncation and padding are switched off.
        pair_template: See `ProvenceConfig`; it replaces the tokenizer's own.

    Raises:
        CheckpointError: It has no template for pairs, or not the tokens of the template.
    """

    def __init__(self, tokenizer: Tokenizer, pair_template: Sequence[str] | None = None) -> None:
        # Windows are cut at sentence borders; a stored truncation would lose text silently.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if pair_template is not None:
            _set_template(tokenizer, pair_template)
        # `</s>` in a text is read as these four characters: as the special token, it would let the author of
        # a text forge a border. A stock CrossEncoder reads it as the token.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self.layout = _pair_layout(tokenizer)
        self.unknown_id = _unknown_id(tokenizer)
        """The id of text that the vocabulary lacks; None where it can spell everything."""
        self._reserved = _reserved(tokenizer, self.layout)
        added = tokenizer.get_added_tokens_decoder().values()
        self._knows_line_breaks = any(token.content == "\n" for token in added)

    @classmethod
    def from_directory(cls, directory: Path, pair_template: Sequence[str] | None = None) -> PairTokenizer:
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
        return cls(tokenizer, pair_template)

    @property
    def num_ids(self) -> int:
        """The number of ids, which is the number of rows that embeddings need."""
        # Fetching the whole vocabulary would take longer than loading the tokenizer. Only added tokens can
        # have ids beyond its size.
        added = self._tokenizer.get_added_tokens_decoder()
        return max(self._tokenizer.get_vocab_size(with_added_tokens=True), max(added, default=-1) + 1)

    def pieces(self) -> list[str]:
        """The vocabulary, by id."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        return sorted(vocabulary, key=vocabulary.__getitem__)

    @classmethod
    def copy_of(cls, tokenizer: Any, pair_template: Sequence[str] | None = None) -> PairTokenizer:
        """Copy a tokenizer that other code uses: its truncation and padding are changed here.

        Args:
            tokenizer: A `tokenizers.Tokenizer`, or a transformers tokenizer that is based on one.
            pair_template: See `ProvenceConfig`.

        Raises:
            InvalidInputError: It is neither.
            CheckpointError: It has no template for pairs.
        """
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not isinstance(backend, Tokenizer):
            raise InvalidInputError(
                f"tokenizer must be a tokenizers.Tokenizer or based on one, got {type(tokenizer).__name__}"
            )
        return cls(Tokenizer.from_str(backend.to_str()), pair_template)

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenize texts, without special tokens.

        A lone surrogate is read as U+FFFD, and the name of a special token as text. If the tokenizer has line
        breaks among its added tokens, they are read as `with_plain_line_breaks` writes them. If normalisation
        turns one character into many tokens, the first five are read. Offsets are those of the original text.
        """
        given = list(map(without_surrogates, texts))
        if not self._knows_line_breaks:
            return list(map(self._tokens, self._tokenizer.encode_batch(given, add_special_tokens=False)))
        readings = [with_plain_line_breaks(text) for text in given]
        encodings = self._tokenizer.encode_batch([r.text for r in readings], add_special_tokens=False)
        read = map(self._tokens, encodings)
        return [
            TokenizedText(tokens.ids, reading.original(tokens.offsets))
            for tokens, reading in zip(read, readings, strict=True)
        ]

    def _tokens(self, encoding: Encoding) -> TokenizedText:
        ids = encoding.ids
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        if not self._reserved.keys().isdisjoint(ids):
            pieces = [self._spelt(*token) for token in zip(ids, encoding.tokens, strict=True)]
            ids = [number for piece in pieces for number in piece]
            offsets = np.repeat(offsets, list(map(len, pieces)), axis=0)
        return _without_floods(TokenizedText(np.array(ids, dtype=np.int64), offsets))

    def _spelt(self, number: int, token: str) -> list[int]:
        """The ids to read in place of a token: its own, or the characters of a special token's name."""
        # A Unigram model finds special tokens in text, some only after normalisation (`＜/s＞`). Unknown text
        # has the id of `<unk>` as well, but its own characters as the token.
        if self._reserved.get(number) != token:
            return [number]
        model = self._tokenizer.model
        return [piece.id for part in (token[:1], token[1:]) for piece in model.tokenize(part)]

    def save(self, directory: Path) -> None:
        """Write `tokenizer.json`, with the template in use."""
        self._tokenizer.save(str(directory / "tokenizer.json"))


def _without_floods(tokens: TokenizedText) -> TokenizedText:
    """Leave out a character's tokens from the sixth on."""
    offsets, most = tokens.offsets, _MOST_TOKENS_OF_A_CHARACTER
    if len(offsets) <= most:
        return tokens
    is_character = offsets[most:, 1] - offsets[most:, 0] == 1
    too_many = is_character & (offsets[most:] == offsets[:-most]).all(axis=1)
    if not too_many.any():
        return tokens
    kept = np.append(np.ones(most, dtype=bool), ~too_many)
    return TokenizedText(tokens.ids[kept], offsets[kept])


def _set_template(tokenizer: Tokenizer, template: Sequence[str]) -> None:
    bare = [re.sub(r":\d+$", "", piece) for piece in template]  # without token types
    ids = {token: tokenizer.token_to_id(token) for token in bare if token not in ("$A", "$B")}
    if missing := [token for token, number in ids.items() if number is None]:
        raise CheckpointError(
            f"tokenizer.json has no {' and no '.join(missing)}, which the checkpoint puts around query and "
            "passage: it belongs to another checkpoint"
        )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=bare[: bare.index("$A") + 1] + bare[bare.index("$B") + 1 :],
        pair=list(template),
        special_tokens=list(ids.items()),
    )


def _pair_layout(tokenizer: Tokenizer) -> PairLayout:
    """The special tokens of a pair, as the tokenizer's template places them."""
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


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    model = tokenizer.model
    token = getattr(model, "unk_token", None)
    if token is not None:
        return tokenizer.token_to_id(token)
    # Unigram does not say. No vocabulary has this character, which Unicode never assigns.
    try:
        pieces = model.tokenize("\U0010ffff")
    except Exception:  # the library raises bare Exception if there is no token for unknown text
        return None
    return (
        pieces[0].id if len(pieces) == 1 and tokenizer.id_to_token(pieces[0].id) != pieces[0].value else None
    )


def _reserved(tokenizer: Tokenizer, layout: PairLayout) -> dict[int, str]:
    """The special tokens by id, which no text may contain."""
    added = tokenizer.get_added_tokens_decoder()
    ids = {*layout.before, *layout.between, *layout.after} - added.keys()
    ids |= {number for number, token in added.items() if token.special}
    # Models other than Unigram give this token to unknown text, and never find it in text.
    unknown = getattr(tokenizer.model, "unk_token", None)
    return {
        number: str(tokenizer.id_to_token(number))
        for number in ids
        if tokenizer.id_to_token(number) != unknown
    }


class Unit(NamedTuple):
    """Tokens of one document that get one score: a sentence, or a part of an overlong sentence."""

    sentence: int
    start: int
    end: int


class Window(NamedTuple):
    """A run of a document's tokens that the model reads in one pass."""

    document: int
    start: int
    end: int


def tokenize_documents(
    tokenizer: TextTokenizer, texts: Sequence[str], spans: Sequence[Sequence[Span]]
) -> list[TokenizedText]:
    """Tokenize texts as wholes; a sentence that is glued to the one before it is read with a space before it.

    Args:
        tokenizer: The checkpoint's.
        texts: N texts.
        spans: The sentences of each.
    """
    seams = [
        [end for (_, end), (start, _) in pairwise(own) if start == end and is_glued(text, start)]
        for text, own in zip(texts, spans, strict=True)
    ]
    # Where there are no sentences there must be no tokens, but a tokenizer may have some for white space.
    read = [
        " ".join(text[a:b] for a, b in pairwise([0, *added, len(text)])) if own else ""
        for text, own, added in zip(texts, spans, seams, strict=True)
    ]
    return [
        TokenizedText(tokens.ids, _without_added(tokens.offsets, added)) if added else tokens
        for tokens, added in zip(tokenizer.tokenize(read), seams, strict=True)
    ]


def _without_added(offsets: IntArray, seams: Sequence[int]) -> IntArray:
    """Offsets in a text, given those in the text with a space added at each seam."""
    added = np.array(seams) + np.arange(len(seams))
    return offsets - np.searchsorted(added, offsets)


def tokenize_sentences(
    tokenizer: TextTokenizer, texts: Sequence[str], spans: Sequence[Sequence[Span]], *, spaced: bool
) -> list[TokenizedText]:
    """Tokenize texts sentence by sentence; offsets are those in the whole text.

    Args:
        tokenizer: The checkpoint's.
        texts: N texts.
        spans: The sentences of each.
        spaced: Whether each sentence, from the second on, is read with one space before it, instead of with
            the white space after it.
    """
    pieces: list[str] = []
    starts: list[int] = []
    for text, own in zip(texts, spans, strict=True):
        begins = [0 if number == 0 and not spaced else span.start for number, span in enumerate(own)]
        ends = [span.end for span in own] if spaced else [*begins[1:], len(text)][: len(own)]
        pieces += [
            " " * (spaced and i > 0) + text[a:b] for i, (a, b) in enumerate(zip(begins, ends, strict=True))
        ]
        starts += begins
    parts = iter(zip(tokenizer.tokenize(pieces), starts, strict=True))
    return [_joined(list(islice(parts, len(own))), spaced=spaced) for own in spans]


def _joined(parts: Sequence[tuple[TokenizedText, int]], *, spaced: bool) -> TokenizedText:
    if not parts:
        return TokenizedText(np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.int64))
    # The added space is not in the text, or belongs to the previous sentence: its offset is the start.
    offsets = [np.maximum(p.offsets - (spaced and i > 0), 0) + start for i, (p, start) in enumerate(parts)]
    return TokenizedText(np.concatenate([p.ids for p, _ in parts]), np.concatenate(offsets))


def sentence_bounds(tokens: TokenizedText, spans: Sequence[Span]) -> IntArray:
    """Token index at which each sentence starts, and the number of tokens: shape (sentences + 1,).

    A token belongs to the sentence that holds its last character. Some tokenizers attach white space to the
    token after it, which would otherwise count as part of the previous sentence.
    """
    bounds = _first_tokens(tokens, spans)
    bounds[:1] = 0
    return np.append(bounds, len(tokens))


def separator_lengths(tokens: TokenizedText, spans: Sequence[Span], bounds: IntArray) -> IntArray:
    """Number of tokens in the white space after each sentence, such as line breaks: shape (sentences,)."""
    ends = np.fromiter((span.end for span in spans), dtype=np.int64, count=len(spans))
    sentence_of = np.repeat(np.arange(len(spans)), np.diff(bounds))
    after = tokens.offsets[:, 0] >= ends[sentence_of]
    return np.bincount(sentence_of[after], minlength=len(spans))


def _first_tokens(tokens: TokenizedText, spans: Sequence[Span]) -> IntArray:
    """Index of the first token that ends in each span or after it, shape (spans,)."""
    last_characters = np.maximum(tokens.offsets[:, 1] - 1, tokens.offsets[:, 0])
    starts = np.fromiter((span.start for span in spans), dtype=np.int64, count=len(spans))
    # Accumulated, since a normaliser that reorders characters leaves unsorted offsets.
    return np.searchsorted(np.maximum.accumulate(last_characters), starts, side="left")


def split_units(
    text: str, tokens: TokenizedText, spans: Sequence[Span], bounds: IntArray, capacity: int
) -> list[Unit]:
    """One unit per sentence; a sentence of more than `capacity` tokens is split at the best borders."""
    units: list[Unit] = []
    for sentence, (start, end) in enumerate(pairwise(bounds.tolist())):
        if end - start <= capacity:
            units.append(Unit(sentence, start, end))
            continue
        own = tokens[start:end]
        parts = _parts(text, own, spans[sentence], capacity)
        cuts = [start, *(start + _first_tokens(own, parts[1:])).tolist(), end]
        # One character with many tokens can leave too many in a part.
        units += [
            Unit(sentence, at, min(at + capacity, stop))
            for begin, stop in pairwise(cuts)
            for at in range(begin, stop, capacity)
        ]
    return units


def split_sentences(text: str, tokens: TokenizedText, spans: Sequence[Span], max_tokens: int) -> list[Span]:
    """Split each sentence of more than `max_tokens` tokens at the best borders.

    A part exceeds `max_tokens` only if it is a single character with more tokens.
    """
    bounds = sentence_bounds(tokens, spans).tolist()
    return [
        part
        for span, (start, end) in zip(spans, pairwise(bounds), strict=True)
        for part in (
            [span] if end - start <= max_tokens else _parts(text, tokens[start:end], span, max_tokens)
        )
    ]


def _parts(text: str, own: TokenizedText, span: Span, capacity: int) -> list[Span]:
    """Split one sentence. Only its tokens `own` are searched, so many sentences take linear time."""
    starts = np.maximum.accumulate(own.offsets[:, 0])
    # Room for the line breaks around it, which would otherwise become a unit without text.
    before, after = own.offsets[:, 1] <= span.start, starts >= span.end
    outside = np.count_nonzero(before | after)
    return split_overlong(text, span, starts, capacity - min(int(outside), capacity // 2))


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
