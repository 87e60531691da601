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
    """The passages of a run."""

    train: Sequence[Passage]

    dev: Sequence[Passage]

    weights: Mapping[str, float]
    """Weight of a data set (`Passage.source`) among the training questions drawn. Sets that are missing here
    weigh as much as they have questions."""

    needs_passage: frozenset[str]
    """Data sets whose questions need their passage ("the poster's bike")."""


def load_data(config: TrainingConfig) -> Data:
    """Read and check all data of a run.

    Raises:
        InvalidInputError: A record cannot be used, or there are no questions or no development passages.
    """
    train = [passage for source in config.data.train for passage in _load(source, config.seed)]
    dev = [passage for source in config.data.dev for passage in _load(source, config.seed)]
    if not dev and config.data.dev_share:
        train, dev = _held_out(train, config.data.dev_share, config.seed)
        if not dev:
            raise InvalidInputError(
                f"data.dev_share of {config.data.dev_share:g} holds out none of the {len(train)} training "
                "passages: give a larger share, or data.dev"
            )
    for passages, kind in ((train, "training"), (dev, "development")):
        questions = sum(len(p.questions) for p in passages)
        log.info("%s: %d passages with %d questions", kind, len(passages), questions)
        if passages and not questions:
            raise InvalidInputError(f"the {kind} data have no questions")
    weights = {s.source_name: s.weight for s in config.data.train if s.weight is not None}
    needs_passage = frozenset(
        s.source_name for s in (*config.data.train, *config.data.dev) if s.needs_passage
    )
    return Data(train, dev, weights, needs_passage)


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
