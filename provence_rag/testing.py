"""A deterministic stand-in for a model, for your own tests: no weights, no network, milliseconds."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from provence_rag.config import DynamicRule, ProvenceConfig
from provence_rag.errors import InvalidInputError
from provence_rag.inference.arrays import IntArray
from provence_rag.inference.backend import Logits
from provence_rag.inference.encoding import PairLayout, TokenizedText
from provence_rag.inference.engine import Engine
from provence_rag.provence import Provence
from provence_rag.surrogates import without_surrogates

__all__ = ["fake_provence"]

_CLS, _SEP, _PAD, _FILLER, _FIRST_WORD = range(5)
# Words of up to three letters and hiragana mostly carry no meaning: they match nothing.
_TOKEN = re.compile(
    r"(?P<filler>\b[a-zA-Z]{1,3}\b|[\u3040-\u309f]|[^\w\s])|[\u30a0-\u9fff]|[^\W\u3040-\u9fff]+"
)


def fake_provence(*, can_rank: bool = True, can_prune: bool = True, max_length: int = 512) -> Provence:
    """A `Provence` that judges by shared words instead of a trained model.

    Chunking, windows, selection and assembly are those of a real one. A token of a passage has the keep
    probability 0.9 if it is also in the query, else 0.1. The more words of the query a passage has, the
    higher its score. `keep_answers` works up to 0.99, with made-up rules.

    Args:
        can_rank: Whether it has a ranking head.
        can_prune: Whether it has a pruning head.
        max_length: Tokens in a window.
    """
    if not (can_rank or can_prune):
        raise InvalidInputError("can_rank and can_prune are both False: such a model would do nothing")
    mode: Literal["joint", "ranking", "pruning"] = "joint" if can_rank else "pruning"
    if not can_prune:
        mode = "ranking"
    promises = {
        0.9: {"default": DynamicRule(floor=0.3, share=0.8)},
        0.97: {"default": DynamicRule(floor=0.15, share=0.5)},
        0.99: {"default": DynamicRule(floor=0.12, share=0.2)},
    }
    config = ProvenceConfig(mode=mode, max_length=max_length, threshold=0.2, promises=promises, dynamic=0.97)
    return Provence(Engine(_OverlapBackend(config), _WordTokenizer(), config, pad_token_id=_PAD))


class _WordTokenizer:
    """Splits into words, and CJK text into characters; ids are hashes."""

    layout = PairLayout(before=(_CLS,), between=(_SEP,), after=(_SEP,), passage_type=1)

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        return [self._tokenize(text) for text in texts]

    def _tokenize(self, text: str) -> TokenizedText:
        ids: list[int] = []
        offsets: list[int] = []
        known: dict[str, int] = {}  # a long text repeats its words
        for match in _TOKEN.finditer(text):
            word = match.group()
            if word not in known:
                known[word] = _FILLER if match.lastgroup else _word_id(word)
            ids.append(known[word])
            offsets += match.span()
        return TokenizedText(np.array(ids, dtype=np.int64), np.array(offsets, dtype=np.int64).reshape(-1, 2))


def _word_id(word: str) -> int:
    return _FIRST_WORD + zlib.crc32(without_surrogates(word.lower()).encode())


class _OverlapBackend:
    name = "fake"
    device = "cpu"
    pad_to_multiple_of = 1

    def __init__(self, config: ProvenceConfig) -> None:
        self._config = config

    def run(self, input_ids: IntArray, attention_mask: IntArray, token_type_ids: IntArray) -> Logits:
        ranking = np.zeros(len(input_ids), dtype=np.float32)
        pruning = np.zeros((*input_ids.shape, 2), dtype=np.float32)
        in_query, in_passage = (attention_mask == 1) & (token_type_ids == 0), token_type_ids == 1
        for row, ids in enumerate(input_ids):
            words = {i for i in ids[in_query[row]].tolist() if i >= _FIRST_WORD}
            shared = np.isin(ids, list(words)) & in_passage[row]
            pruning[row, :, 1] = np.where(shared, 2.2, -2.2)  # keep probabilities 0.9 and 0.1
            ranking[row] = 6.0 * len(set(ids[shared].tolist())) / max(1, len(words)) - 3.0
        return Logits(ranking if self._config.can_rank else None, pruning if self._config.can_prune else None)
