"""Distillation: teachers' scores become targets of pairs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from provence_rag.errors import InvalidInputError
from provence_rag.hub import checkpoint_directory
from provence_training.cache import ContentCache
from provence_training.compute import choose_dtype, current_device
from provence_training.config import ScaleConfig, TeacherConfig
from provence_training.data.passages import Passage
from provence_training.pairs.pack import borders_of
from provence_training.pairs.pair_set import Kind, PairSet, SentenceScores
from provence_training.pairs.text_pairs import TextPair, text_pairs
from provence_training.teachers.late_chunking import LateChunkingTeacher
from provence_training.teachers.models import (
    BiEncoderTeacher,
    CrossEncoderTeacher,
    ProvenceTeacher,
    Teacher,
    TeacherScores,
)

__all__ = ["load_teacher", "scaled_scores", "teach"]

_ENOUGH = 30
"""Right and random pairs that a language needs for its own scale; otherwise it has the scale of all
languages."""

log = logging.getLogger(__name__)


def load_teacher(config: TeacherConfig, cache: ContentCache) -> Teacher:
    """Load the teacher of a configuration.

    Raises:
        CheckpointError: The model does not exist.
        MissingExtraError: sentence-transformers is needed, but not installed.
    """
    dtype = choose_dtype(config.precision, current_device())
    if config.kind == "cross-encoder":
        return CrossEncoderTeacher(config.model, cache, batch_size=config.batch_size, dtype=dtype)
    if config.kind == "bi-encoder":
        return BiEncoderTeacher(
            config.model,
            cache,
            query_prefix=config.query_prefix,
            passage_prefix=config.passage_prefix,
            batch_size=config.batch_size,
            dtype=dtype,
        )
    directory = checkpoint_directory(config.model)
    if config.kind == "provence":
        return ProvenceTeacher(directory, cache, batch_size=config.batch_size, dtype=dtype)
    return LateChunkingTeacher(
        directory,
        cache,
        query_prefix=config.query_prefix,
        passage_prefix=config.passage_prefix,
        dtype=dtype,
    )


class _Line(NamedTuple):
    slope: float
    offset: float

    def __call__(self, x: float, limit: float) -> float:
        return min(max(self.slope * x + self.offset, -limit), limit) if x == x else x  # NaN stays


def scaled_scores(
    pairs: Sequence[TextPair], scores: Sequence[TeacherScores], scale: ScaleConfig
) -> list[TeacherScores]:
    """Turn similarities into logits, by a line for each language.

    Args:
        pairs: The scored pairs, among them questions with their own passages and with random ones.
        scores: Their similarities.
        scale: The logits that the line leads to.

    Raises:
        InvalidInputError: One of the two kinds of pairs is missing, or the teacher does not tell them apart.
    """
    groups: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        groups.setdefault(pair.passage.language, []).append(place)
    whole = _lines(pairs, scores, scale, range(len(pairs)))
    scaled: dict[int, TeacherScores] = {}
    for places in groups.values():
        right = sum(_is_right(pairs[i]) for i in places)
        others = sum(pairs[i].kind == Kind.RANDOM for i in places)
        lines = _lines(pairs, scores, scale, places) if min(right, others) >= _ENOUGH else whole
        for i in places:
            passage, sentences = scores[i]
            scaled[i] = TeacherScores(
                lines[0](passage, scale.limit),
                None if sentences is None else [lines[1](x, scale.limit) for x in sentences],
            )
    return [scaled[i] for i in range(len(pairs))]


def _is_right(pair: TextPair) -> bool:
    return pair.kind == Kind.OWN and pair.label is not None and pair.label > 0.5


def _lines(
    pairs: Sequence[TextPair], scores: Sequence[TeacherScores], scale: ScaleConfig, places: Sequence[int]
) -> tuple[_Line, _Line]:
    """The lines of passages and sentences."""
    right = [scores[i] for i in places if _is_right(pairs[i])]
    others = [scores[i] for i in places if pairs[i].kind == Kind.RANDOM]
    passages = _line([s.passage for s in right], [s.passage for s in others], scale.right, scale.random)
    best = [max((x for x in s.sentences or () if x == x), default=math.nan) for s in right]
    each = [x for s in others for x in s.sentences or ()]
    if all(x != x for x in best):
        return passages, passages  # a teacher that only scores passages: the second line is not used
    return passages, _line(best, each, scale.right_sentence, scale.random_sentence)


def _line(right: list[float], others: list[float], high: float, low: float) -> _Line:
    ends = [float(np.nanmean(x)) if any(v == v for v in x) else math.nan for x in (right, others)]
    if not ends[0] > ends[1]:
        raise InvalidInputError(
            "the teacher's similarities cannot be scaled: on average they are "
            f"{ends[0]:.3f} for questions with their own passages and {ends[1]:.3f} with random ones. Give "
            "random a share so that both kinds of pairs are drawn, and choose a teacher that tells them apart"
        )
    slope = (high - low) / (ends[0] - ends[1])
    return _Line(slope, low - slope * ends[1])


def teach(
    pairs: PairSet,
    passages: Sequence[Passage],
    teachers: Sequence[tuple[Teacher, TeacherConfig]],
    *,
    needs_passage: frozenset[str] = frozenset(),
) -> PairSet:
    """Pairs with teachers' logits.

    Args:
        pairs: Pairs to score. Junk and joined passages keep only their labels.
        passages: The passages that their pack was made from.
        teachers: Score the pairs of their languages; the mean is learned. Without teachers, the scores in
            the data are used, where a question meets its own passage.
        needs_passage: Data sets whose questions need their passage. Teachers that give similarities do not
            score them, since the passage's topic is not in the question.

    Returns:
        The pairs, without those that have neither labels nor scores.
    """
    scores = np.full(len(pairs), np.nan, dtype=np.float32)
    of_sentences: dict[int, Sequence[float]] = {}
    if teachers:
        is_alone = pairs.windows[:, 1, 0] == pairs.windows[:, 1, 1]
        scored = np.flatnonzero(is_alone & (pairs.kinds != Kind.JUNK))
        texts = text_pairs(pairs, passages, scored)
        of_teachers = [_logits(texts, *each, needs_passage) for each in teachers]
        for number, of_pair in zip(scored.tolist(), zip(*of_teachers, strict=True), strict=True):
            mean = _mean(of_pair)
            scores[number] = mean.passage
            of_sentences[number] = mean.sentences or ()
    else:
        is_own = pairs.kinds == Kind.OWN
        scores[is_own] = pairs.pack.given_scores[pairs.questions[is_own]]
    counts = np.array([len(of_sentences.get(number, ())) for number in range(len(pairs))], dtype=np.int64)
    values = np.array([x for own in of_sentences.values() for x in own], dtype=np.float32)
    taught = replace(pairs, teacher_scores=scores, sentence_scores=SentenceScores(values, borders_of(counts)))
    known = taught.is_known()
    if not known.all():
        log.warning("%d of %d pairs left out, which have no label or score", (~known).sum(), len(known))
    return taught.select(known)


def _logits(
    pairs: Sequence[TextPair], teacher: Teacher, config: TeacherConfig, needs_passage: frozenset[str]
) -> list[TeacherScores]:
    """One teacher's logits; NaN for what it does not score."""
    asked = [
        i
        for i, pair in enumerate(pairs)
        if (not config.languages or pair.passage.language in config.languages)
        and (teacher.gives_logits or pair.question_source not in needs_passage)
    ]
    if not asked:  # there is nothing to fit a scale to
        log.warning("teacher %s scores none of %d pairs", config.model, len(pairs))
        return [TeacherScores(math.nan, None)] * len(pairs)
    chosen = [pairs[i] for i in asked]
    scores = teacher.score(chosen)
    scale = config.scale or (None if teacher.gives_logits else ScaleConfig())
    if scale is not None:
        scores = scaled_scores(chosen, scores, scale)
    found = dict(zip(asked, scores, strict=True))
    return [found.get(i, TeacherScores(math.nan, None)) for i in range(len(pairs))]


def _mean(scores: Sequence[TeacherScores]) -> TeacherScores:
    """The mean of several teachers' scores of a pair, over those that score it."""
    of_sentences = [s.sentences for s in scores if s.sentences is not None]
    return TeacherScores(
        _mean_of_known([s.passage for s in scores]),
        [_mean_of_known(column) for column in zip(*of_sentences, strict=True)] if of_sentences else None,
    )


def _mean_of_known(values: Sequence[float]) -> float:
    known = [x for x in values if x == x]
    return sum(known) / len(known) if known else math.nan
