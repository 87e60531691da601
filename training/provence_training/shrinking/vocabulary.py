"""A smaller vocabulary for a tokenizer: words of kept pieces are cut as before, others fall apart."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from provence_rag.errors import InvalidInputError

__all__ = ["cut_tokenizer", "select_pieces"]

_FIRST_IDS = 10
"""Special tokens with smaller ids keep them, and so do all pieces before them: RoBERTa counts its positions
from the padding's id."""


def select_pieces(tokenizer: Tokenizer, corpus: Iterable[str], size: int) -> list[int]:
    """Choose which pieces of a vocabulary to keep.

    Special and added tokens are kept, and so are all bytes of a tokenizer that falls back to them. Then come
    the single characters of all pieces that the corpus uses, so that a rare word falls apart instead of
    becoming unknown, and then the pieces that the corpus uses most.

    Args:
        tokenizer: A Unigram, WordPiece or BPE tokenizer.
        corpus: Texts in the languages to keep.
        size: Number of pieces to keep.

    Returns:
        Piece ids, ascending. A text whose pieces are all kept is cut into the same pieces as before. With
        BPE, a piece is kept along with those that it is merged from.

    Raises:
        InvalidInputError: The tokenizer is of another kind, or the pieces that must be kept exceed `size`.
    """
    content = json.loads(tokenizer.to_str())
    vocabulary = _vocabulary(content)
    counts: Counter[int] = Counter()
    for text in corpus:
        counts.update(tokenizer.encode(text, add_special_tokens=False).ids)
    needed = vocabulary.special | vocabulary.bytes
    used = [i for i in counts if i in vocabulary.pieces and i not in needed]
    for i in used:
        atoms = vocabulary.atoms(vocabulary.pieces[i])
        # A piece cannot fall apart if one of its characters is not a piece.
        needed |= vocabulary.forms(atoms) if atoms <= vocabulary.ids.keys() else {i}
    if len(needed) > size:
        raise InvalidInputError(
            f"size={size} is smaller than the {len(needed)} special and added tokens and characters"
        )
    order = vocabulary.by_use(counts)
    return sorted(needed | set([i for i in order if i not in needed][: size - len(needed)]))


def cut_tokenizer(tokenizer: Tokenizer, pieces: Sequence[int]) -> Tokenizer:
    """A tokenizer with only some of the pieces, numbered from 0 in the order of their old ids.

    Added tokens are kept, special or not. A Unigram tokenizer reads all white space that is not an added
    token as a space, since its other pieces have no line breaks and tabs.

    Args:
        tokenizer: A Unigram, WordPiece or BPE tokenizer.
        pieces: Piece ids, ascending, from `select_pieces`.

    Raises:
        InvalidInputError: The tokenizer is of another kind, or a special or added token is not kept.
    """
    content = json.loads(tokenizer.to_str())
    vocabulary = _vocabulary(content)
    if lost := sorted(vocabulary.special - set(pieces)):
        raise InvalidInputError(f"pieces must contain all special and added tokens: {lost[0]} is missing")
    new_ids = {old: new for new, old in enumerate(pieces)}
    vocabulary.cut(new_ids)
    for token in content["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    _renumber(content["post_processor"], new_ids)
    content["truncation"] = content["padding"] = None
    return Tokenizer.from_str(json.dumps(content))


def _renumber(processor: dict[str, Any] | None, new_ids: dict[int, int]) -> None:
    """Renumber any of the five kinds of post-processors; ByteLevel has no ids."""
    kind = None if processor is None else processor["type"]
    if processor is None or kind == "ByteLevel":
        return
    if kind == "TemplateProcessing":
        for token in processor["special_tokens"].values():
            token["ids"] = [new_ids[i] for i in token["ids"]]
    elif kind == "Sequence":
        for part in processor["processors"]:
            _renumber(part, new_ids)
    else:  # BertProcessing, RobertaProcessing
        for role in ("cls", "sep"):
            token, old = processor[role]
            processor[role] = [token, new_ids[old]]


class _Vocabulary:
    """The vocabulary of a `tokenizer.json`, however its kind of model stores it."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.model: dict[str, Any] = content["model"]
        self.ids: dict[str, int] = self._read()
        self.pieces = {i: piece for piece, i in self.ids.items()}
        self.special = {token["id"] for token in content["added_tokens"]} | self._unknown()
        first = max((i for i in self.special if i < _FIRST_IDS), default=-1)
        self.special |= self.pieces.keys() & range(first)
        self.bytes = {self.ids[atom] for atom in self._byte_atoms() if atom in self.ids}

    def _read(self) -> dict[str, int]:
        ids: dict[str, int] = self.model["vocab"]
        return ids

    def _unknown(self) -> set[int]:
        unknown = self.model.get("unk_token")
        return {self.ids[unknown]} if unknown in self.ids else set()

    def _byte_atoms(self) -> Iterable[str]:
        return [f"<0x{byte:02X}>" for byte in range(256)] if self.model.get("byte_fallback") else []

    @property
    def prefix(self) -> str:
        """The mark before a piece inside a word."""
        return self.model.get("continuing_subword_prefix") or ""

    @property
    def suffix(self) -> str:
        """The mark after a piece at the end of a word."""
        return self.model.get("end_of_word_suffix") or ""

    def atoms(self, piece: str) -> set[str]:
        """The single characters that a piece falls apart into, with the marks of their places."""
        characters = list(piece.removeprefix(self.prefix).removesuffix(self.suffix)) or [piece]
        characters[1:] = [self.prefix + character for character in characters[1:]]
        if piece.startswith(self.prefix) and characters != [piece]:
            characters[0] = self.prefix + characters[0]
        if piece.endswith(self.suffix) and characters != [piece]:
            characters[-1] += self.suffix
        return set(characters)

    def forms(self, atoms: set[str]) -> set[int]:
        """The pieces of some single characters, at all places in a word."""
        plain = {atom.removeprefix(self.prefix).removesuffix(self.suffix) for atom in atoms}
        marked = {form for c in plain for form in (c, self.prefix + c, c + self.suffix)}
        return {self.ids[form] for form in atoms | marked if form in self.ids}

    def by_use(self, counts: Counter[int]) -> list[int]:
        """All pieces: the most used ones first, then single characters, then the others as stored."""
        return sorted(self.pieces, key=lambda i: (-counts[i], len(self.atoms(self.pieces[i])) > 1, i))

    def cut(self, new_ids: dict[int, int]) -> None:
        """Drop the pieces without a new id, and renumber the others."""
        self.model["vocab"] = {self.pieces[old]: new for old, new in new_ids.items() if old in self.pieces}


class _Unigram(_Vocabulary):
    """Kudo 2018, arXiv 1804.10959. The best path through kept pieces is still the best without the others."""

    def _read(self) -> dict[str, int]:
        return {piece: i for i, (piece, _) in enumerate(self.model["vocab"])}

    def _unknown(self) -> set[int]:
        return set() if self.model["unk_id"] is None else {self.model["unk_id"]}

    def cut(self, new_ids: dict[int, int]) -> None:
        old_vocab = self.model["vocab"]
        self.model["vocab"] = [old_vocab[old] for old in new_ids if old < len(old_vocab)]
        if self.model["unk_id"] is not None:
            self.model["unk_id"] = new_ids[self.model["unk_id"]]
        # An added token that is searched for in normalised text must still be there.
        added = "".join(token["content"] for token in self.content["added_tokens"] if token["normalized"])
        own = "".join(sorted(c for c in set(added) if c.isspace()))
        pattern = rf"[^\S{re.escape(own)}]" if own else r"\s"
        spaces = {"type": "Replace", "pattern": {"Regex": pattern}, "content": " "}
        normalizer = self.content["normalizer"]
        steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
        self.content["normalizer"] = {
            "type": "Sequence",
            "normalizers": [spaces, *(step for step in steps if step != spaces)],
        }


class _WordPiece(_Vocabulary):
    """Wu et al. 2016, arXiv 1609.08144: the longest piece from the left, again and again."""


class _BPE(_Vocabulary):
    """Sennrich et al. 2016, arXiv 1508.07909: merges in the order in which they were learned."""

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__(content)
        merges = [tuple(m.split(" ") if isinstance(m, str) else m) for m in self.model["merges"]]
        self.merges = [(a, b, a + b.removeprefix(self.prefix)) for a, b in merges]

    def _byte_atoms(self) -> Iterable[str]:
        kinds = json.dumps([self.content["pre_tokenizer"], self.content["decoder"]])
        if '"ByteLevel"' not in kinds:
            return super()._byte_atoms()
        alphabet = ByteLevel.alphabet()
        return [*alphabet, *(character + self.suffix for character in alphabet)]

    def by_use(self, counts: Counter[int]) -> list[int]:
        """Like the base class, but a piece also counts for those that it is merged from."""
        total = Counter({i: counts[i] for i in self.pieces})
        rank = dict.fromkeys(self.pieces, -1)
        for number, (left, right, merged) in reversed(list(enumerate(self.merges))):
            if merged in self.ids:
                rank[self.ids[merged]] = number
                for part in {left, right} & self.ids.keys():
                    total[self.ids[part]] += total[self.ids[merged]]
        return sorted(self.pieces, key=lambda i: (-total[i], rank[i], i))

    def cut(self, new_ids: dict[int, int]) -> None:
        super().cut(new_ids)
        kept = self.model["vocab"]
        self.model["merges"] = [
            [left, right]
            for left, right, merged in self.merges
            if left in kept and right in kept and merged in kept
        ]


_KINDS = {"Unigram": _Unigram, "WordPiece": _WordPiece, "BPE": _BPE}


def _vocabulary(content: dict[str, Any]) -> _Vocabulary:
    kind = content["model"]["type"]
    if kind not in _KINDS:
        raise InvalidInputError(f"tokenizer must be of kind Unigram, WordPiece or BPE, got {kind}")
    return _KINDS[kind](content)
