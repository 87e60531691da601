"""The data of a run."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provence_rag.errors import InvalidInputError
from provence_training.config import DataSource, TrainingConfig
from provence_training.data.files import load_passages
from provence_training.data.passages import Passage
from provence_training.data.records import TeacherColumn

__all__ = ["Data", "load_data"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """What a run learns from."""

    train: Sequence[Passage]

    dev: Sequence[Passage]

    weights: Mapping[str, float]
    """Weight of a data set (`Passage.source`) among the training questions drawn; by default their number."""

    leaning: frozenset[str]
    """Data sets whose questions lean on their passage ("the poster's bike")."""


def load_data(config: TrainingConfig) -> Data:
    """Read and check all data of a run.

    Raises:
        InvalidInputError: A record cannot be used, two sources have one name, or there are no questions.
    """
    train = [passage for source in config.data.train for passage in _load(source, config.seed)]
    names = [source.source_name for source in config.data.train]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInputError(f"data.train must have names of their own: {twice[0]} is there twice")
    dev = [passage for source in config.data.dev for passage in _load(source, config.seed)]
    if not dev and config.data.dev_share:
        train, dev = _held_out(train, config.data.dev_share, config.seed)
    for passages, kind in ((train, "training"), (dev, "development")):
        questions = sum(len(p.questions) for p in passages)
        log.info("%s: %d passages with %d questions", kind, len(passages), questions)
        if passages and not questions:
            raise InvalidInputError(f"the {kind} data have no questions")
    if config.release.calibration is not None and not any(q.answers for p in dev for q in p.questions):
        raise InvalidInputError("release.calibration needs development data with marked answers")
    weights = {s.source_name: s.weight for s in config.data.train if s.weight is not None}
    leaning = frozenset(s.source_name for s in (*config.data.train, *config.data.dev) if s.leaning)
    return Data(train, dev, weights, leaning)


def _load(source: DataSource, seed: int) -> list[Passage]:
    teacher = None
    if source.teacher_column is not None:
        teacher = TeacherColumn(source.teacher_column, source.teacher_scale)
    passages = load_passages(
        source.path,
        name=source.source_name,
        subset=source.subset,
        split=source.split,
        teacher=teacher,
        title_queries=source.title_queries,
    )
    if source.max_passages is not None and source.max_passages < len(passages):
        passages = random.Random(seed).sample(passages, source.max_passages)
    return passages


def _held_out(passages: list[Passage], share: float, seed: int) -> tuple[list[Passage], list[Passage]]:
    """Training and development passages."""
    asked = [i for i, passage in enumerate(passages) if passage.questions]
    chosen = set(random.Random(seed).sample(asked, round(share * len(asked))))
    return (
        [p for i, p in enumerate(passages) if i not in chosen],
        [p for i, p in enumerate(passages) if i in chosen],
    )
