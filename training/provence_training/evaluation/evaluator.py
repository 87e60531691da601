"""ProvenceEvaluator: a model beside the baselines, on files with known answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provence_rag import Provence
from provence_rag.checks import check_count
from provence_rag.config import ProvenceConfig
from provence_rag.errors import InvalidInputError
from provence_training.evaluation.pruning import JudgedSentences
from provence_training.evaluation.ranking import ranking_figures
from provence_training.evaluation.report import EvaluationReport, SetReport, SystemReport
from provence_training.evaluation.systems import EmbeddingFilter, FirstStage, Scored, score_with
from provence_training.evaluation.topics import Topic, TopicSet, load_topics

__all__ = ["ProvenceEvaluator"]

_BEST = (1, 2, 3)
"""Numbers of sentences kept by the settings that keep the best ones."""


class ProvenceEvaluator:
    """Measures ranking and pruning of models, beside BM25 and an embedding filter.

    Call it with a model. Files are read, and baselines run, once for any number of models.

    Args:
        files: With answer spans or with ranked documents, see `load_topics`.
        distractors: BM25 passages that a question with answer spans meets beside its own.
        limit: A random sample of so many questions of each file; None takes all.
        k: How many ranks count for nDCG.
        relevant_grade: Grade from which a ranked document is relevant for MAP, MRR and AUC; TREC Deep
            Learning counts from 2 on.
        embedding_filter: The baseline that prunes; None does without it.

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
            raise InvalidInputError("files must name at least one, got none")
        self.sets = [load_topics(path, distractors=distractors, limit=limit) for path in files]
        self.settings = {"distractors": distractors, "limit": limit, "k": k, "relevant_grade": relevant_grade}
        self._k, self._relevant_grade = k, relevant_grade
        self._filter = embedding_filter
        self._filtered: list[list[Scored]] | None = None

    def __call__(self, model: Provence, *, show_progress: bool = False) -> EvaluationReport:
        """Let a model read all questions with all of their passages.

        Each set of the report is a file; where several files with answer spans have a language in common,
        a set of all their questions in it follows.
        """
        scored = [score_with(model, one.topics, show_progress=show_progress) for one in self.sets]
        if self._filter is not None and self._filtered is None:
            self._filtered = [self._filter(one.topics, show_progress=show_progress) for one in self.sets]
        found = [FirstStage()(one.topics) for one in self.sets]
        columns = {"provence": scored, "first stage": found}
        if self._filtered is not None:
            columns["embedding filter"] = self._filtered
        reports = [
            self._report(one, {name: rows[i] for name, rows in columns.items()}, model.config)
            for i, one in enumerate(self.sets)
        ]
        for language in sorted({code for one in self.sets for code in one.languages}):
            chosen = [
                (i, j)
                for i, one in enumerate(self.sets)
                for j, topic in enumerate(one.topics)
                if topic.language == language and one.first_stage == "BM25"
            ]
            sources = {i for i, _ in chosen}
            if len(sources) > 1 or any(len(self.sets[i].languages) > 1 for i in sources):
                pool = TopicSet(
                    name=f"all {language}",
                    topics=tuple(self.sets[i].topics[j] for i, j in chosen),
                    first_stage="BM25",
                )
                mine = {name: [rows[i][j] for i, j in chosen] for name, rows in columns.items()}
                reports.append(self._report(pool, mine, model.config))
        return EvaluationReport(model=repr(model), settings=dict(self.settings), sets=reports)

    def _report(self, topics: TopicSet, scored: dict[str, list[Scored]], config: ProvenceConfig) -> SetReport:
        systems = []
        for name, rows in scored.items():
            own = config if name == "provence" else None
            label = topics.first_stage if name == "first stage" else name
            systems.append(self._system(label, topics.topics, rows, own))
        return SetReport(
            name=topics.name,
            languages=topics.languages,
            num_questions=len(topics.topics),
            num_documents=sum(len(topic.documents) for topic in topics.topics),
            systems=systems,
        )

    def _system(
        self, name: str, topics: Sequence[Topic], scored: Sequence[Scored], config: ProvenceConfig | None
    ) -> SystemReport:
        """Figures of one system; the model's own rules need its configuration."""
        relevance = [one.relevance for one in scored if one.relevance is not None]
        ranking = None
        if len(relevance) == len(topics):
            ranking = ranking_figures(topics, relevance, k=self._k, relevant_grade=self._relevant_grade)
        marked = any(topic.answers is not None for topic in topics)
        if not marked or scored[0].keep is None:
            return SystemReport(name=name, ranking=ranking)
        sentences = JudgedSentences(topics, scored)
        pruning = {}
        curves = {"threshold": sentences.curve(sentences.scores)}
        if config is not None:
            pruning["dynamic"] = sentences.figures(sentences.kept_by(config.dynamic_rule))
            pruning[f"threshold {config.threshold:g}"] = sentences.figures(
                sentences.scores >= config.threshold
            )
            curves["share of the best"] = sentences.curve(_shares(sentences, config))
        ranks = sentences.ranks()
        for count in _BEST:
            pruning[f"best {count}"] = sentences.figures(ranks < count)
        return SystemReport(name=name, ranking=ranking, pruning=pruning, curves=curves)


def _shares(sentences: JudgedSentences, config: ProvenceConfig) -> NDArray[np.float64]:
    """Each sentence's share of its passage's best score; below the rule's floor, -1."""
    floors = np.array([config.dynamic_rule(language).floor for language in sentences.languages])
    shares = sentences.scores / np.maximum(sentences.best(), np.finfo(np.float64).tiny)
    return np.where(sentences.scores >= floors[sentences.passage], shares, -1.0)
