"""From passages with questions to flat arrays."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provence_rag.chunking import Span
from provence_rag.config import ProvenceConfig
from provence_rag.inference.encoding import sentence_bounds
from provence_rag.inference.pair_encoder import PairEncoder
from provence_training.arrays import Float32Array, IntArray
from provence_training.data.passages import Passage, sentence_labels
from provence_training.pairs.negatives import Asked, find_negatives
from provence_training.pairs.pack import Pack, borders_of
from provence_training.pairs.targets import IGNORE

__all__ = ["asked_questions", "digest", "pack_key", "pack_passages", "readable", "token_arrays"]


_FORMAT = 1
"""Increased whenever the same passages would be packed differently."""

_SLICE = 2048
"""Texts tokenized at once."""

_JUNK = 64
"""Number of noise passages."""

_ANSWER = (4, 60)
"""Characters of an answer that is also searched for elsewhere: shorter answers occur by chance, and longer
ones do not occur again."""


def digest(passages: Sequence[Passage]) -> str:
    """A hash of everything in passages: texts, sentences, questions, answers and labels."""
    found = hashlib.sha256()
    for passage in passages:
        content = {**vars(passage), "questions": [vars(question) for question in passage.questions]}
        found.update(json.dumps(content).encode())
    return found.hexdigest()


def pack_key(passages: Sequence[Passage], start: Path, *, needs_passage: frozenset[str], seed: int) -> str:
    """A hash of everything that the result of `pack_passages` depends on, for a checkpoint directory."""
    config = ProvenceConfig.from_directory(start)
    reading = [config.pair_template, config.normalize_query, config.tokenization]
    found = hashlib.sha256((start / "tokenizer.json").read_bytes())
    found.update(json.dumps([_FORMAT, reading, sorted(needs_passage), seed, digest(passages)]).encode())
    return found.hexdigest()[:32]


def readable(passages: Sequence[Passage]) -> list[Passage]:
    """The passages to pack: those with sentences."""
    return [passage for passage in passages if passage.sentences]


def asked_questions(passages: Sequence[Passage]) -> list[Asked]:
    """All questions in the order of the pack, with the numbers of their passages there."""
    numbers = iter(range(len(passages)))
    holders = [(passage, next(numbers) if passage.sentences else -1) for passage in passages]
    return [Asked(question, passage, own) for passage, own in holders for question in passage.questions]


def pack_passages(
    passages: Sequence[Passage],
    encoder: PairEncoder,
    *,
    needs_passage: frozenset[str] = frozenset(),
    seed: int = 0,
) -> Pack:
    """Tokenize passages, titles and questions, and find negatives for each question.

    Args:
        passages: Passages with questions. Those without sentences are left out; their questions have no
            passage of their own.
        encoder: The checkpoint's encoder.
        needs_passage: Data sets whose questions need their passage.
        seed: Seed of random passages and noise.
    """
    texts, asked = readable(passages), asked_questions(passages)
    read = [*texts, *_noise(texts, seed)]
    bodies: list[IntArray] = []
    bounds: list[IntArray] = []
    for start in range(0, len(read), _SLICE):
        part = read[start : start + _SLICE]
        spans = [passage.sentences for passage in part]
        tokens = encoder.encode_documents([passage.text for passage in part], spans)
        bodies += [one.ids for one in tokens]
        bounds += map(sentence_bounds, tokens, spans)
    questions = _encoded(encoder.encode_queries, [one.question.text for one in asked])
    negatives = find_negatives(
        texts, asked, bodies[: len(texts)], questions, needs_passage=needs_passage, seed=seed
    )
    labels = [_labels(one) for one in asked]
    sources = sorted({passage.source for passage in passages})
    return Pack(
        **token_arrays(
            encoder,
            bodies,
            bounds,
            titles=_encoded_titles(encoder, read),
            questions=questions,
            keywords=_encoded(encoder.encode_queries, [_keywords(one.question.text) for one in asked]),
        ),
        sources=np.array(sources, dtype=str),
        question_sources=_integers([sources.index(one.holder.source) for one in asked]),
        own=_integers([one.own for one in asked]),
        labels=np.array([label for own in labels for label in own], dtype=np.int8),
        label_borders=borders_of(_integers([len(own) for own in labels])),
        relevance=_floats([one.question.label if one.own >= 0 else None for one in asked]),
        given_scores=_floats([one.question.teacher_score for one in asked]),
        has_answer=np.array([bool(one.question.answers) for one in asked], dtype=bool),
        neighbours=negatives.neighbours.astype(np.int32),
        others=negatives.others.astype(np.int32),
        first_junk=np.array(len(texts)),
    )


def token_arrays(
    encoder: PairEncoder,
    bodies: Sequence[IntArray],
    bounds: Sequence[IntArray],
    *,
    titles: Sequence[IntArray],
    questions: Sequence[IntArray],
    keywords: Sequence[IntArray],
) -> dict[str, NDArray[Any]]:
    """The arrays of a pack with tokens and their borders.

    Args:
        encoder: The checkpoint's encoder.
        bodies: Token ids of each passage.
        bounds: For each passage, the token index at which each sentence starts, and the number of tokens.
        titles: Token ids of each passage's title; empty without a title.
        questions: Token ids of each question.
        keywords: Token ids of each question as people type it.
    """
    layout = encoder.layout
    special = [np.array(ids, dtype=np.int64) for ids in (layout.before, layout.between, layout.after)]
    parts = {
        "special": special,
        "bodies": bodies,
        "titles": titles,
        "questions": questions,
        "keywords": keywords,
    }
    borders: dict[str, IntArray] = {}
    start = 0
    for name, texts in parts.items():
        borders[name] = borders_of(_integers([len(ids) for ids in texts]), start)
        start = int(borders[name][-1])
    passages = borders.pop("bodies")
    starts = [own[:-1] + first for own, first in zip(bounds, passages[:-1], strict=True)]
    everything = np.concatenate([ids for texts in parts.values() for ids in texts])
    narrow = np.int32 if start < 2**31 else np.int64
    return {
        "tokens": everything.astype(np.min_scalar_type(int(everything.max(initial=0)))),
        "sentences": np.concatenate([*starts, passages[-1:]]).astype(narrow),
        "passages": borders_of(_integers([len(own) - 1 for own in bounds])).astype(narrow),
        **{name: of_part.astype(narrow) for name, of_part in borders.items()},
    }


def _encoded(encode: Callable[[list[str]], list[IntArray]], texts: list[str]) -> list[IntArray]:
    return [ids for start in range(0, len(texts), _SLICE) for ids in encode(texts[start : start + _SLICE])]


def _encoded_titles(encoder: PairEncoder, passages: Sequence[Passage]) -> list[IntArray]:
    titles = [passage.title.strip() for passage in passages]
    lines = iter(_encoded(encoder.encode_titles, [title for title in titles if title]))
    return [next(lines) if title else np.zeros(0, dtype=np.int64) for title in titles]


def _keywords(question: str) -> str:
    """The question as people type it: in lower case, without a question mark."""
    return question.lower().rstrip("?？ ") or question


def _labels(asked: Asked) -> list[int]:
    """The labels of the sentences of a question's own passage.

    A sentence with the answer's text that is not marked may answer as well, so its label is unknown.
    """
    if asked.own < 0:
        return []
    text, sentences, answers = asked.holder.text, asked.holder.sentences, asked.question.answers
    if answers is None:
        return [IGNORE] * len(sentences)
    shortest, longest = _ANSWER
    strings = {text[a.start : a.end].strip().lower() for a in answers}
    strings = {string for string in strings if shortest <= len(string) <= longest}
    marked = sentence_labels(sentences, answers)
    if not strings:
        return marked
    lower = [text[s.start : s.end].lower() for s in sentences]
    return [
        label or (IGNORE if any(string in sentence for string in strings) else 0)
        for label, sentence in zip(marked, lower, strict=True)
    ]


def _noise(passages: Sequence[Passage], seed: int) -> list[Passage]:
    """Unreadable passages: hieroglyphs, which no vocabulary has, among words of other passages."""
    rng = random.Random(seed)
    sample = rng.sample(passages, min(_JUNK, len(passages)))
    # Japanese has no spaces: a piece of it stands for a word.
    known = [word[:10] for passage in sample for word in passage.text.split()[:50]] or [""]
    signs = [chr(code) for code in range(0x13000, 0x13400)]
    unknown = ["".join(rng.choices(signs, k=length)) for length in (1, 2, 3, 4, 5, 6) for _ in range(50)]
    noise = []
    for number in range(_JUNK):
        sentences = []
        for _ in range(rng.randint(1, 10)):
            words = rng.choices(unknown, k=rng.randint(4, 16)) + rng.choices(known, k=rng.randint(0, 8))
            rng.shuffle(words)
            sentences.append(" ".join(words))
        borders = [0, *accumulate(len(sentence) + 1 for sentence in sentences)]
        noise.append(
            Passage(
                id=f"noise-{number}",
                source="noise",
                language="",
                title="",
                text=" ".join(sentences),
                sentences=tuple(Span(start, end - 1) for start, end in pairwise(borders)),
                questions=(),
            )
        )
    return noise


def _integers(values: Sequence[int]) -> IntArray:
    return np.array(values, dtype=np.int64)


def _floats(values: Sequence[float | None]) -> Float32Array:
    """NaN for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float32)
