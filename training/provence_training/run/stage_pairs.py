"""The pairs that each stage of a run learns from."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from accelerate import PartialState

from provence_rag.errors import InvalidInputError
from provence_rag.inference.pair_encoder import PairEncoder
from provence_training.cache import ContentCache
from provence_training.config import PairConfig, StageConfig, TrainingConfig
from provence_training.data.passages import Passage
from provence_training.data.sources import Data
from provence_training.pairs.drawing import draw_pairs
from provence_training.pairs.pack import Pack, cached_pack
from provence_training.pairs.packing import pack_key, pack_passages
from provence_training.pairs.pair_set import PairSet
from provence_training.teachers.distillation import load_teacher, teach
from provence_training.teachers.models import Teacher

__all__ = ["StagePairs"]


class StagePairs:
    """Draws the pairs of a run's stages.

    Args:
        config: The run.
        data: Its data.
        start: The checkpoint that the first stage starts from; all stages have its tokenizer.
    """

    def __init__(self, config: TrainingConfig, data: Data, start: Path) -> None:
        self._config = config
        self._data = data
        self._start = start
        self._output = Path(config.output).expanduser()
        self._encoder = PairEncoder.from_directory(start)

    def check(self, stage: StageConfig) -> None:
        """Draw a stage's pairs once before anything is trained: a later stage would fail after hours.

        Raises:
            InvalidInputError: There are no pairs, or none of the development data; a source with a weight has
                no questions, or one that is excluded from the guide has nothing else to learn from.
        """
        if not sum(len(drawn) for drawn in self._drawn(stage)):
            raise InvalidInputError(f"stage {stage.name} has no pairs to learn from")
        self.dev_pairs(stage)
        pack = self._train_pack
        judged = set(pack.sources[pack.question_sources[~np.isnan(pack.relevance)]].tolist())
        for name in stage.guide.exclude if stage.guide is not None else ():
            weight = self._data.weights.get(name)
            drawing = [pairs for pairs in stage.pairs if pairs.weights.get(name, weight) != 0]
            if drawing and name not in judged and not any(pairs.teacher for pairs in drawing):
                raise InvalidInputError(
                    f"stage {stage.name}: guide.exclude has {name!r}, whose questions have no labels: "
                    "nothing is learned from them. Set teacher to true, do not exclude it, or set "
                    f"weights: {{{name}: 0}} to leave it out of this stage"
                )

    def pairs(self, stage: StageConfig) -> PairSet:
        """What a stage learns from."""
        drawn = list(zip(stage.pairs, self._drawn(stage), strict=True))
        sets = [found for pairs, found in drawn if not pairs.teacher]
        if taught := [found for pairs, found in drawn if pairs.teacher]:
            with PartialState().main_process_first():  # the others find the scores in the cache
                together = PairSet.concatenated(taught)
                teachers = list(zip(self.teachers(), self._config.teachers, strict=True))
                needs_passage = self._data.needs_passage
                sets.append(teach(together, self._data.train, teachers, needs_passage=needs_passage))
        return PairSet.concatenated(sets)

    def teachers(self) -> list[Teacher]:
        """Load the run's teachers.

        Raises:
            ProvenceError: One cannot be loaded.
        """
        cache = ContentCache(self._output / "teacher.sqlite")
        return [load_teacher(teacher, cache) for teacher in self._config.teachers]

    def _drawn(self, stage: StageConfig) -> list[PairSet]:
        """The pairs of each entry of `stage.pairs`, without teachers' scores."""
        return [
            draw_pairs(
                self._train_pack,
                pairs,
                self._encoder,
                seed=zlib.crc32(f"{self._config.seed} {stage.name} {number}".encode()),
                weights={**self._data.weights, **pairs.weights},
                guided=self._guided(stage),
            )
            for number, pairs in enumerate(stage.pairs)
        ]

    def dev_pairs(self, stage: StageConfig) -> PairSet | None:
        """Labelled pairs of development passages, drawn like the first labelled ones of the stage."""
        labelled = [pairs for pairs in stage.pairs if pairs.labels]
        if not self._data.dev or not labelled:
            return None
        count = min(self._config.data.dev_pairs, _num_pairs(labelled[0], self._data.dev))
        pairs = replace(labelled[0], count=count, teacher=False)
        return draw_pairs(self._dev_pack, pairs, self._encoder, seed=self._config.seed)

    def _guided(self, stage: StageConfig) -> frozenset[str]:
        """The data sets on which a stage learns from its guide."""
        if stage.guide is None:
            return frozenset()
        sources: list[str] = self._train_pack.sources.tolist()
        return frozenset(sources) - {*stage.guide.exclude}

    @cached_property
    def _train_pack(self) -> Pack:
        return self._pack(self._data.train)

    @cached_property
    def _dev_pack(self) -> Pack:
        return self._pack(self._data.dev)

    def _pack(self, passages: Sequence[Passage]) -> Pack:
        seed, cache, needs_passage = self._config.seed, self._config.data.cache, self._data.needs_passage
        return cached_pack(
            self._output / "packs" if cache is None else Path(cache).expanduser(),
            pack_key(passages, self._start, needs_passage=needs_passage, seed=seed),
            lambda: pack_passages(passages, self._encoder, needs_passage=needs_passage, seed=seed),
        )


def _num_pairs(pairs: PairConfig, passages: Sequence[Passage]) -> int:
    """How many pairs there are if each question meets its own passage once."""
    questions = sum(len(p.questions) for p in passages)
    return round(questions / max(0.1, 1 - pairs.bm25 - pairs.random - pairs.junk))
