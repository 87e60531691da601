"""What each stage of a run learns from: its pairs."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from accelerate import PartialState

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

__all__ = ["Feed"]


class Feed:
    """Draws the pairs of a run's stages.

    Args:
        config: The run.
        data: Its data.
        start: The checkpoint that the first stage starts from; the tokenizer is that of all stages.
    """

    def __init__(self, config: TrainingConfig, data: Data, start: Path) -> None:
        self._config = config
        self._data = data
        self._start = start
        self._output = Path(config.output).expanduser()
        self._encoder = PairEncoder.from_directory(start)

    def pairs(self, stage: StageConfig) -> PairSet:
        """What a stage learns from."""
        sets: list[PairSet] = []
        taught: list[PairSet] = []
        for number, pairs in enumerate(stage.pairs):
            drawn = draw_pairs(
                self._train_pack,
                pairs,
                self._encoder,
                seed=zlib.crc32(f"{self._config.seed} {stage.name} {number}".encode()),
                weights={**self._data.weights, **pairs.weights},
                guided=self._guided(stage),
            )
            (taught if pairs.teacher else sets).append(drawn)
        if taught:
            with PartialState().main_process_first():  # the others find the scores in the cache
                cache = ContentCache(self._output / "teacher.sqlite")
                teachers = [(load_teacher(teacher, cache), teacher) for teacher in self._config.teachers]
                drawn = PairSet.concatenated(taught)
                sets.append(teach(drawn, self._data.train, teachers, leaning=self._data.leaning))
        return PairSet.concatenated(sets)

    def dev_pairs(self, stage: StageConfig) -> PairSet | None:
        """Labelled pairs of development passages, drawn as the stage's first labelled ones are."""
        labelled = [pairs for pairs in stage.pairs if pairs.labels]
        if not self._data.dev or not labelled:
            return None
        count = min(self._config.data.dev_pairs, _num_pairs(labelled[0], self._data.dev))
        pairs = replace(labelled[0], count=count, teacher=False)
        return draw_pairs(self._dev_pack, pairs, self._encoder, seed=self._config.seed)

    def _guided(self, stage: StageConfig) -> frozenset[str]:
        """Data sets on whose questions a stage learns from its guide."""
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
        seed, cache, leaning = self._config.seed, self._config.data.cache, self._data.leaning
        return cached_pack(
            self._output / "packs" if cache is None else Path(cache).expanduser(),
            pack_key(passages, self._start, leaning=leaning, seed=seed),
            lambda: pack_passages(passages, self._encoder, leaning=leaning, seed=seed),
        )


def _num_pairs(pairs: PairConfig, passages: Sequence[Passage]) -> int:
    """How many pairs there are if each question meets its own passage once."""
    questions = sum(len(p.questions) for p in passages)
    return round(questions / max(0.1, 1 - pairs.bm25 - pairs.random - pairs.junk))
