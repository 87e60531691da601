"""Thresholds for the `dynamic` rule, chosen on development data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from provence_rag import CheckpointError, Provence
from provence_rag.checks import check_share
from provence_rag.config import DynamicRule
from provence_training.evaluation import JudgedSentences, PruningFigures, TopicSet, score_with
from provence_training.evaluation.pruning import Evidence

__all__ = ["calibrate", "calibrated_rules"]

_FLOORS = (0.0, *np.unique(np.geomspace(0.001, 1.0, 100).round(3)).tolist())


def calibrate(
    sentences: JudgedSentences,
    *,
    keep: float,
    evidence: Evidence = "any",
    removed_off_topic: float | None = None,
) -> DynamicRule:
    """Choose the rule that removes the most text while it keeps the answers.

    For each floor, the largest share that still keeps them is exact; of these pairs the best one is taken.

    Args:
        sentences: With the model's scores, in one language.
        keep: Share of the questions whose answer must survive, in [0, 1].
        evidence: Whether a question's answer is one of its answer spans, or all of them.
        removed_off_topic: Share of the other passages' characters that should go, in [0, 1]. Of the rules
            that reach it, the one is taken that removes the most of the answering passages; if none does,
            the one that comes nearest. None weighs both shares the same.

    Returns:
        A rule that keeps at least `keep` of the answers; in the worst case it keeps everything.

    Raises:
        InvalidInputError: A share is out of range.
    """
    check_share("keep", keep)
    if removed_off_topic is not None:
        check_share("removed_off_topic", removed_off_topic)

    def merit(rule: DynamicRule) -> tuple[float, float]:
        reached = sentences.figures(sentences.kept_by(lambda _: rule))
        return _merit(reached, removed_off_topic)

    return max(_candidates(sentences, keep, evidence), key=merit)


def calibrated_rules(
    model: Provence,
    sets: Sequence[TopicSet],
    *,
    keep: float,
    evidence: Evidence = "any",
    removed_off_topic: float | None = None,
    show_progress: bool = False,
) -> dict[str, DynamicRule]:
    """Calibrate a model's `dynamic` rule for each language.

    Args:
        model: It prunes.
        sets: Topics with marked answers, at least some; other ones are not read.
        keep: See `calibrate`, as the other arguments.
        evidence: See `calibrate`.
        removed_off_topic: See `calibrate`.
        show_progress: Show a progress bar.

    Returns:
        For `ProvenceConfig.dynamic`: a rule for each language of the topics, and as `default` that of all
        together.

    Raises:
        InvalidInputError: A share is out of range, or no answers are marked.
        CheckpointError: The model has no pruning head.
    """
    if not model.config.can_prune:
        raise CheckpointError("this checkpoint only ranks: it has no pruning head to calibrate")
    topics = [topic for one in sets for topic in one.topics if topic.answers is not None]
    scored = score_with(model, topics, show_progress=show_progress)
    languages = sorted({topic.language for topic in topics})
    rules = {}
    for name, chosen in [("default", languages), *((language, [language]) for language in languages)]:
        rows = [(t, s) for t, s in zip(topics, scored, strict=True) if t.language in chosen]
        sentences = JudgedSentences([t for t, _ in rows], [s for _, s in rows])
        rules[name] = calibrate(sentences, keep=keep, evidence=evidence, removed_off_topic=removed_off_topic)
    return rules


def _merit(reached: PruningFigures, wanted: float | None) -> tuple[float, float]:
    off_topic = 0.0 if reached.removed_off_topic is None else reached.removed_off_topic
    if wanted is None:
        return reached.removed + off_topic, 0.0
    return min(off_topic, wanted), reached.removed


def _candidates(sentences: JudgedSentences, keep: float, evidence: Evidence) -> list[DynamicRule]:
    """Floors, each with the largest share that keeps the answers; 0 always does."""
    shares = sentences.scores / np.maximum(sentences.best(), np.finfo(np.float64).tiny)
    highest = _reached_by(sentences.answer_keys(sentences.scores, evidence=evidence), keep)
    rules = []
    for floor in _FLOORS:
        if floor <= highest:
            keys = np.where(sentences.scores >= floor, shares, 0.0)
            share = _reached_by(sentences.answer_keys(keys, evidence=evidence), keep)
            rules.append(DynamicRule(floor=floor, share=_down(share)))
    return rules


def _reached_by(keys: NDArray[np.float64], share: float) -> float:
    """The largest value that at least a share of the keys reaches."""
    needed = math.ceil(share * len(keys) - 1e-9)
    return float(np.sort(keys)[::-1][needed - 1]) if needed else 1.0


def _down(x: float) -> float:
    """Three digits, rounded so that no more is removed."""
    return max(0.0, math.floor(x * 1000 + 1e-9) / 1000)
