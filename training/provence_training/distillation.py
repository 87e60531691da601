"""From pairs and a teacher's scores to examples."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from provence_rag.errors import InvalidInputError
from provence_rag.hub import checkpoint_directory
from provence_training.cache import ContentCache
from provence_training.collator import Example
from provence_training.compute import choose_dtype, current_device
from provence_training.config import ScaleConfig, TeacherConfig
from provence_training.late_chunking import LateChunkingTeacher
from provence_training.sampling import Pair
from provence_training.teacher import (
    BiEncoderTeacher,
    CrossEncoderTeacher,
    ProvenceTeacher,
    Teacher,
    TeacherScores,
)

__all__ = ["load_teacher", "scaled_scores", "taught_examples"]

_ENOUGH = 30
"""Right and random pairs that a language needs for a scale of its own; with fewer it has that of all."""

log = logging.getLogger(__name__)


def load_teacher(config: TeacherConfig, cache: ContentCache) -> Teacher:
    """The teacher of a configuration.

    Raises:
        CheckpointError: There is no such model.
        MissingExtraError: sentence-transformers is needed and not installed.
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
    pairs: Sequence[Pair], scores: Sequence[TeacherScores], scale: ScaleConfig
) -> list[TeacherScores]:
    """Turn similarities into logits, by a line for each language.

    Args:
        pairs: What was scored; questions with their own passages and with random ones have to be among it.
        scores: Their similarities.
        scale: Where the line leads.

    Raises:
        InvalidInputError: There are not both kinds of pairs, or the teacher tells them apart in no way.
    """
    groups: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        groups.setdefault(pair.passage.language, []).append(place)
    whole = _lines(pairs, scores, scale, range(len(pairs)))
    scaled: dict[int, TeacherScores] = {}
    for places in groups.values():
        right = sum(_is_right(pairs[i]) for i in places)
        others = sum(pairs[i].kind == "random" for i in places)
        lines = _lines(pairs, scores, scale, places) if min(right, others) >= _ENOUGH else whole
        for i in places:
            passage, sentences = scores[i]
            scaled[i] = TeacherScores(
                lines[0](passage, scale.limit),
                None if sentences is None else [lines[1](x, scale.limit) for x in sentences],
            )
    return [scaled[i] for i in range(len(pairs))]


def _is_right(pair: Pair) -> bool:
    return pair.kind == "own" and pair.question.label > 0.5


def _lines(
    pairs: Sequence[Pair], scores: Sequence[TeacherScores], scale: ScaleConfig, places: Sequence[int]
) -> tuple[_Line, _Line]:
    """The lines for passages and for sentences."""
    right = [scores[i] for i in places if _is_right(pairs[i])]
    others = [scores[i] for i in places if pairs[i].kind == "random"]
    passages = _line([s.passage for s in right], [s.passage for s in others], scale.right, scale.random)
    best = [max((x for x in s.sentences or () if x == x), default=math.nan) for s in right]
    each = [x for s in others for x in s.sentences or ()]
    if all(x != x for x in best):
        return passages, passages  # a teacher of passages only: the second is not used
    return passages, _line(best, each, scale.right_sentence, scale.random_sentence)


def _line(right: list[float], others: list[float], high: float, low: float) -> _Line:
    ends = [float(np.nanmean(x)) if any(v == v for v in x) else math.nan for x in (right, others)]
    if not ends[0] > ends[1]:
        raise InvalidInputError(
            "the teacher's similarities cannot be scaled: on average they are "
            f"{ends[0]:.3f} for questions with their own passages and {ends[1]:.3f} with random ones. There "
            "must be pairs of both kinds (give random a share), and the teacher must tell them apart"
        )
    slope = (high - low) / (ends[0] - ends[1])
    return _Line(slope, low - slope * ends[1])


def taught_examples(
    pairs: Sequence[Pair], teachers: Sequence[tuple[Teacher, TeacherConfig]]
) -> list[Example]:
    """Examples with teachers' logits.

    Args:
        pairs: To learn from.
        teachers: Score them, each those of its languages; their mean is learned. With none of them, the
            scores that came with the data are taken, where a question meets its own passage.

    Returns:
        The examples, without those of which nothing is known.
    """
    if teachers:
        scores = [
            _mean(of_pair) for of_pair in zip(*(_logits(pairs, *each) for each in teachers), strict=True)
        ]
    else:
        scores = [TeacherScores(math.nan if pair.kind != "own" else _given(pair), None) for pair in pairs]
    examples = [
        pair.example(None if passage != passage else passage, sentences)
        for pair, (passage, sentences) in zip(pairs, scores, strict=True)
    ]
    known = [e for e in examples if _is_known(e)]
    if len(known) < len(examples):
        log.warning(
            "%d of %d pairs left out: nothing is known of them", len(examples) - len(known), len(examples)
        )
    return known


def _logits(pairs: Sequence[Pair], teacher: Teacher, config: TeacherConfig) -> list[TeacherScores]:
    """One teacher's; NaN for passages in languages that it does not score."""
    asked = [
        i for i, pair in enumerate(pairs) if not config.languages or pair.passage.language in config.languages
    ]
    chosen = [pairs[i] for i in asked]
    scores = teacher.score(chosen)
    scale = config.scale or (None if teacher.gives_logits else ScaleConfig())
    if scale is not None:
        scores = scaled_scores(chosen, scores, scale)
    found = dict(zip(asked, scores, strict=True))
    return [found.get(i, TeacherScores(math.nan, None)) for i in range(len(pairs))]


def _mean(scores: Sequence[TeacherScores]) -> TeacherScores:
    """What several teachers say of a pair, on average over those that say something."""
    of_sentences = [s.sentences for s in scores if s.sentences is not None]
    return TeacherScores(
        _mean_of_known([s.passage for s in scores]),
        [_mean_of_known(column) for column in zip(*of_sentences, strict=True)] if of_sentences else None,
    )


def _mean_of_known(values: Sequence[float]) -> float:
    known = [x for x in values if x == x]
    return sum(known) / len(known) if known else math.nan


def _given(pair: Pair) -> float:
    score = pair.question.teacher_score
    return math.nan if score is None else score


def _is_known(example: Example) -> bool:
    sentences = example.sentence_teacher_scores or ()
    return (
        example.label is not None
        or example.pruning_labels is not None
        or example.teacher_score is not None
        or any(x == x for x in sentences)
    )
