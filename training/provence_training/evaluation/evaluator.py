"""ProvenceEvaluator: a model and baselines on files with known answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from provence_rag import Provence, PruningOptions
from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_count
from provence_training.arrays import BoolArray
from provence_training.evaluation.pruning import JudgedSentences, PruningFigures
from provence_training.evaluation.ranking import ranking_figures
from provence_training.evaluation.report import EvaluationReport, SetReport, SystemReport
from provence_training.evaluation.systems import EmbeddingFilter, Scored, score_by_first_stage, score_with
from provence_training.evaluation.topics import Topic, TopicSet, load_topics

__all__ = ["ProvenceEvaluator"]

_BEST = (1, 2, 3)
"""Numbers of sentences kept by the settings that keep the best sentences."""


class ProvenceEvaluator:
    """Measures ranking and pruning of models, BM25 and an embedding filter.

    Call it with a model, or with several in turn: files are read and baselines run only once.

    Args:
        files: Files with answer spans or with ranked documents; see `load_topics`.
        distractors: Other passages, found by BM25, that a question with answer spans meets.
        limit: Questions of each file, at most, in a random sample; None takes all.
        k: Ranks that count for nDCG.
        relevant_grade: Lowest grade of a relevant document, for MAP, MRR and AUC; TREC Deep Learning uses 2.
        embedding_filter: The baseline that prunes, if any.

    Raises:
        InvalidInputError: An argument or a file cannot be used.
    """

    def __init__(
        self,
        files: Sequence[str | Path],
        *,
        distractors: int = 9,
        limit: int | None = None,
        k: int = 10,
        relevant_grade: int = 1,
        embedding_filter: EmbeddingFilter | None = None,
    ) -> None:
        check_count("distractors", distractors, 0)
        check_count("k", k, 1)
        check_count("relevant_grade", relevant_grade, 1)
        if limit is not None:
            check_count("limit", limit, 1)
        if not files:
            raise InvalidInputError("files must name at least one file")
        sets = [
            load_topics(path, distractors=distractors, limit=limit, relevant_grade=relevant_grade)
            for path in files
        ]
        names = [one.name for one in sets]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidInputError(
                f"files must have different names up to the first dot, got {twice[0]!r} twice"
            )
        self.topics = [topic for one in sets for topic in one.topics]
        self.settings = {
            "distractors": distractors,
            "limit": limit,
            "k": k,
            "relevant_grade": relevant_grade,
            "embedding_filter": None if embedding_filter is None else embedding_filter.name,
        }
        self._k = k
        self._sections = _sections(sets)
        self._filter = embedding_filter
        self._filtered: list[Scored] | None = None

    def __call__(self, model: Provence, *, show_progress: bool = False) -> EvaluationReport:
        """Evaluate a model on all questions with all of their passages.

        Each set of the report is a file. If several files with answer spans share a language, or a file has
        several, the report also has a set for each language.
        """
        columns = {
            "provence": score_with(model, self.topics, show_progress=show_progress),
            "first stage": score_by_first_stage(self.topics),
        }
        if self._filter is not None:
            if self._filtered is None:
                self._filtered = self._filter(self.topics, show_progress=show_progress)
            columns["embedding filter"] = self._filtered
        sets = []
        for section in self._sections:
            topics = [self.topics[i] for i in section.rows]
            systems = []
            for name, scored in columns.items():
                label = section.first_stage if name == "first stage" else name
                own = model if name == "provence" else None
                systems.append(self._system(label, topics, [scored[i] for i in section.rows], own))
            sets.append(
                SetReport(
                    name=section.name,
                    languages=sorted({topic.language for topic in topics}),
                    num_questions=len(topics),
                    num_documents=sum(len(topic.documents) for topic in topics),
                    systems=systems,
                )
            )
        return EvaluationReport(model=repr(model), settings=dict(self.settings), sets=sets)

    def _system(
        self, name: str, topics: Sequence[Topic], scored: Sequence[Scored], model: Provence | None
    ) -> SystemReport:
        """Figures of one system; a model selects sentences as `Provence.process` does."""
        relevance = [one.relevance for one in scored if one.relevance is not None]
        ranking = None
        if len(relevance) == len(topics):
            ranking = ranking_figures(topics, relevance, k=self._k)
        if all(topic.answers is None or one.keep is None for topic, one in zip(topics, scored, strict=True)):
            return SystemReport(name=name, ranking=ranking)
        sentences = JudgedSentences(topics, scored)
        pruning, promises = {}, {}
        curves = {"threshold": sentences.curve(sentences.scores)}
        if model is not None:
            config = model.config

            def figures(**options: Any) -> PruningFigures:
                return sentences.figures(_kept(model, topics, scored, PruningOptions(**options)))

            pruning["dynamic"] = figures()
            pruning[f"threshold {config.threshold:g}"] = figures(mode="threshold")
            for promise in sorted(config.promises):
                promises[f"{promise:g}"] = figures(keep_answers=promise)
            floors = sentences.by_language(lambda language: config.dynamic_rule(language).floor)
            above = np.where(sentences.scores >= floors, sentences.shares(), -1.0)
            curves["share of the best"] = sentences.curve(above)
        ranks = sentences.ranks()
        for count in _BEST:
            pruning[f"best {count}"] = sentences.figures(ranks < count)
        return SystemReport(name=name, ranking=ranking, pruning=pruning, promises=promises, curves=curves)


def _kept(
    model: Provence, topics: Sequence[Topic], scored: Sequence[Scored], options: PruningOptions
) -> BoolArray:
    """The sentences that options keep, in the order of `JudgedSentences`, shape (N,)."""
    rows = [one.pairs for topic, one in zip(topics, scored, strict=True) if topic.answers is not None]
    return np.concatenate([mask for pairs in rows for mask in model.engine.select(pairs, options)])


class _Section(NamedTuple):
    """A part of all topics that has its own figures."""

    name: str
    first_stage: str
    rows: list[int]


def _sections(sets: Sequence[TopicSet]) -> list[_Section]:
    """The files, then the languages of files with answer spans that are not just one of the files."""
    sections = []
    by_language: dict[str, list[int]] = defaultdict(list)
    start = 0
    for one in sets:
        rows = list(range(start, start + len(one.topics)))
        start += len(rows)
        sections.append(_Section(one.name, one.first_stage, rows))
        if one.has_answers:
            for row, topic in zip(rows, one.topics, strict=True):
                by_language[topic.language].append(row)
    files = [section.rows for section in sections]
    return sections + [
        _Section(f"all {language}", "BM25", rows)
        for language, rows in sorted(by_language.items())
        if rows not in files
    ]
