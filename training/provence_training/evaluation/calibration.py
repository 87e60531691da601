"""Temperatures and thresholds, chosen on development data and stored with a checkpoint."""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import get_args

import numpy as np

from provence_rag import CheckpointError, InvalidInputError, Provence
from provence_rag.config import DynamicRule, ProvenceConfig
from provence_rag.inference.scoring import sigmoid, tempered
from provence_rag.validation import check_share
from provence_training.arrays import BoolArray, FloatArray
from provence_training.evaluation import JudgedSentences, PruningFigures, TopicSet, score_with
from provence_training.evaluation.pruning import Evidence
from provence_training.evaluation.report import markdown_table

__all__ = [
    "PROMISES",
    "Calibration",
    "calibrate",
    "calibrate_rules",
    "check_enough_questions",
    "fit_temperature",
]

PROMISES = (0.9, 0.93, 0.95, 0.97, 0.99)
"""Shares of answers for which every calibration finds rules."""

log = logging.getLogger(__name__)


_MOST_KEPT = DynamicRule(floor=0.0, share=0.0)
_LEAST_KEPT = DynamicRule(floor=1.0, share=1.0)
_FLOORS = (0.0, *(float(f"{floor:.3g}") for floor in np.geomspace(1e-5, 1.0, 171)))
_HOTTEST = 20.0
"""Temperatures are searched between 1 / 20 and 20."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a calibration found."""

    config: ProvenceConfig
    """The model's configuration with new temperatures, promises and threshold."""

    reached: dict[float, dict[str, PruningFigures]]
    """What each rule reaches on the data that it was chosen on, by promise and language; `default` is for all
    languages together."""

    def to_markdown(self) -> str:
        """A table of the rules and what they reach, then the default promise and the threshold."""
        header = ["promise", "language", "temperature", "floor", "share", "answer kept", "all kept"]
        rows = []
        for promise, by_language in self.reached.items():
            for name, figures in by_language.items():
                rule = self.config.promises[promise][name]
                rows.append(
                    [
                        *(f"{promise:g}", name, self.config.temperature[name]),
                        *(f"{rule.floor:g}", f"{rule.share:g}"),
                        *(figures.answer_kept, figures.all_kept, figures.removed, figures.removed_off_topic),
                    ]
                )
        table = markdown_table([*header, "removed", "removed off topic"], rows)
        default, threshold = self.config.dynamic, self.config.threshold
        return f"{table}\n\npromise by default: {default}\n\nthreshold: {threshold:g}\n"


def calibrate(
    model: Provence,
    sets: Sequence[TopicSet],
    *,
    keep: float,
    evidence: Evidence = "any",
    removed_off_topic: float | None = None,
    allow_few_questions: bool = False,
    show_progress: bool = False,
) -> Calibration:
    """Calibrate a model for each language, and as `default` for all languages together.

    First comes the temperature, which makes keep probabilities honest; then, on these probabilities, a
    `dynamic` rule for each of `PROMISES` and for `keep`, which becomes the checkpoint's default. The
    threshold is the largest one that keeps the answers of all languages together.

    A language must have enough questions to lose one answer and still keep the share `keep`: 34 for 0.97. For
    any other promise with too few questions, a warning is logged: 0.99 needs 100.

    Args:
        model: A model that prunes.
        sets: Topics with marked answers; others are ignored.
        keep: See `calibrate_rules`, also for the next two.
        evidence: Whether one answer span of a question must survive, or all of them.
        removed_off_topic: Share of the other passages' characters that should be removed.
        allow_few_questions: Only log a warning where a language has too few questions for `keep`.
        show_progress: Show a progress bar.

    Raises:
        InvalidInputError: An argument has a value that cannot be used, no answers are marked, or a language
            has too few questions.
        CheckpointError: The model has no pruning head.
    """
    _check(keep, evidence, removed_off_topic)
    if not model.config.can_prune:
        raise CheckpointError("this checkpoint only ranks: it has no pruning head to calibrate")
    topics = [topic for one in sets for topic in one.topics if topic.answers is not None]
    if not allow_few_questions:
        check_enough_questions(Counter(topic.language for topic in topics if topic.answers), keep)
    scored = score_with(model, topics, show_progress=show_progress)
    temperature: dict[str, float] = {}
    promises: dict[float, dict[str, DynamicRule]] = defaultdict(dict)
    reached: dict[float, dict[str, PruningFigures]] = defaultdict(dict)
    languages = sorted({topic.language for topic in topics})
    for name, chosen in [("default", languages), *((language, [language]) for language in languages)]:
        rows = [i for i, topic in enumerate(topics) if topic.language in chosen]
        sentences = JudgedSentences([topics[i] for i in rows], [scored[i] for i in rows])
        # Undo the model's present temperatures.
        raw = tempered(sentences.scores, 1 / sentences.by_language(model.config.temperature_of))
        temperature[name] = fit_temperature(raw, sentences.labels)
        sentences = sentences.with_scores(tempered(raw, temperature[name]))
        rules = calibrate_rules(sentences, keep=keep, evidence=evidence, removed_off_topic=removed_off_topic)
        _warn_of_few_questions(name, sentences.num_questions, list(rules))
        for promise, rule in rules.items():
            promises[promise][name] = rule
            reached[promise][name] = _figures(sentences, rule)
    config = replace(model.config, temperature=temperature, promises=dict(promises), dynamic=keep)
    everything = JudgedSentences(topics, scored)
    change = everything.by_language(
        lambda language: config.temperature_of(language) / model.config.temperature_of(language)
    )
    scores = tempered(everything.scores, change)
    threshold = _reached_by(everything.answer_keys(scores, evidence=evidence), keep)
    return Calibration(config=replace(config, threshold=_down(threshold)), reached=dict(reached))


def fit_temperature(scores: FloatArray, labels: BoolArray) -> float:
    """The temperature at which probabilities have the least cross-entropy with labels.

    Args:
        scores: Keep probabilities, shape (N,).
        labels: Whether each sentence is to be kept, shape (N,).

    Returns:
        A number above 0, in three digits.
    """
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(scores) - np.log1p(-scores), -50.0, 50.0)
    # The loss is convex in 1 / temperature: its derivative is bisected, on a logarithmic scale.
    low, high = -math.log(_HOTTEST), math.log(_HOTTEST)
    for _ in range(50):
        middle = (low + high) / 2
        if float(logits @ (sigmoid(logits * math.exp(middle)) - labels)) > 0:
            high = middle
        else:
            low = middle
    return float(f"{math.exp(-low):.3g}")


def calibrate_rules(
    sentences: JudgedSentences,
    *,
    keep: float,
    evidence: Evidence = "any",
    removed_off_topic: float | None = None,
) -> dict[float, DynamicRule]:
    """For each promise, choose the rule that removes the most text while it keeps the answers.

    For each floor, the largest share that keeps the answers is found exactly, and the best of these pairs is
    taken. The rule for `keep` is chosen first, then the others outward from it: a higher promise has no
    higher floor and no higher share, so that it keeps no less of any passage.

    Args:
        sentences: With the model's scores.
        keep: Share of the questions whose answer must survive, in [0, 1]: a promise beside `PROMISES`.
        evidence: Whether one answer span of a question must survive, or all of them.
        removed_off_topic: Share of the other passages' characters that should be removed, in [0, 1]. Among
            the rules that reach it, the one that removes the most of the answering passages is taken; if no
            rule does, the one that comes nearest. None weighs both shares the same.

    Returns:
        By promise, from the lowest to the highest, a rule that keeps at least this share of the answers; at
        worst, it keeps everything.

    Raises:
        InvalidInputError: An argument has a value that cannot be used.
    """
    _check(keep, evidence, removed_off_topic)

    def best(promise: float, most: DynamicRule = _MOST_KEPT, least: DynamicRule = _LEAST_KEPT) -> DynamicRule:
        candidates = _candidates(sentences, promise, evidence, most, least)
        return max(candidates, key=lambda rule: _merit(_figures(sentences, rule), removed_off_topic))

    promises = sorted({*PROMISES, keep})
    default = promises.index(keep)
    rules = {keep: best(keep)}
    for low, high in pairwise(promises[default:]):
        rules[high] = best(high, least=rules[low])
    for high, low in pairwise(promises[default::-1]):
        rules[low] = best(low, most=rules[high])
    return dict(sorted(rules.items()))


def check_enough_questions(
    counts: Mapping[str, int], keep: float, *, option: str = "set allow_few_questions"
) -> None:
    """Check that every language has enough questions to lose one answer and still keep a share of them.

    Args:
        counts: Questions with marked answers, by language.
        keep: The share, in [0, 1].
        option: How a caller allows too few questions, for the message.

    Raises:
        InvalidInputError: A language has too few questions.
    """
    for language, count in sorted(counts.items()):
        if count < (needed := _questions_needed(keep)):
            raise InvalidInputError(
                f"{count} questions with marked answers are too few to calibrate {language!r} with "
                f"keep={keep:g}: give at least {needed}, lower keep, or {option} to calibrate nonetheless"
            )


def _questions_needed(promise: float) -> int:
    """The number of questions from which one answer may be lost without breaking a promise."""
    return math.ceil(1 / (1 - promise) - 1e-9) if promise < 1 else 1


def _check(keep: float, evidence: str, removed_off_topic: float | None) -> None:
    check_share("keep", keep)
    if evidence not in get_args(Evidence):
        raise InvalidInputError(f"evidence must be any or all, got {evidence!r}")
    if removed_off_topic is not None:
        check_share("removed_off_topic", removed_off_topic)


def _warn_of_few_questions(name: str, count: int, promises: Sequence[float]) -> None:
    """If losing one answer already breaks a promise, the rule says nothing about the promised share."""
    needed = {promise: _questions_needed(promise) for promise in promises}
    if few := [f"{promise:g} (needs {number})" for promise, number in needed.items() if count < number]:
        log.warning("%s: %d questions are too few to promise %s", name, count, ", ".join(few))


def _figures(sentences: JudgedSentences, rule: DynamicRule) -> PruningFigures:
    return sentences.figures(sentences.kept_by(lambda _: rule))


def _merit(reached: PruningFigures, wanted: float | None) -> tuple[float, float]:
    off_topic = 0.0 if reached.removed_off_topic is None else reached.removed_off_topic
    if wanted is None:
        return reached.removed + off_topic, 0.0
    return min(off_topic, wanted), reached.removed


def _candidates(
    sentences: JudgedSentences, keep: float, evidence: Evidence, most: DynamicRule, least: DynamicRule
) -> list[DynamicRule]:
    """Rules for every floor, each with the largest share that keeps the answers; 0 always does.

    They keep no more than the rule `most` and no less than the rule `least`.
    """
    shares = sentences.shares()
    highest = _reached_by(sentences.answer_keys(sentences.scores, evidence=evidence), keep)
    rules = []
    for floor in _FLOORS:
        if most.floor <= floor <= min(highest, least.floor):
            keys = np.where(sentences.scores >= floor, shares, 0.0)
            share = _down(_reached_by(sentences.answer_keys(keys, evidence=evidence), keep))
            if share >= most.share:
                rules.append(DynamicRule(floor=floor, share=min(share, least.share)))
    return rules


def _reached_by(keys: FloatArray, share: float) -> float:
    """The largest value that at least a share of the keys reaches; 1 if the share is 0."""
    needed = math.ceil(share * len(keys) - 1e-9)
    return float(np.sort(keys)[::-1][needed - 1]) if needed else 1.0


def _down(x: float) -> float:
    """Three significant digits, rounded so that no more is removed."""
    factor = 10.0 ** (2 - math.floor(math.log10(x))) if x > 0 else 1.0
    return math.floor(x * factor + 1e-9) / factor
