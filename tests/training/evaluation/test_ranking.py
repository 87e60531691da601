"""Ranking figures, against trec_eval (by way of ir-measures) and scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, Qrel, ScoredDoc, nDCG
from sklearn.metrics import roc_auc_score

from provence_training.evaluation.ranking import auc, ranking_figures
from provence_training.evaluation.topics import Topic


def topic(grades: Sequence[int], *, unseen: Sequence[int] = (), relevant_grade: int = 1) -> Topic:
    """A topic with documents of these grades, and others that no ranking holds."""
    return Topic(
        query="q",
        language="en",
        documents=("d",) * len(grades),
        grades=tuple(grades),
        ideal_grades=tuple(sorted([*grades, *unseen], reverse=True)),
        relevant_grade=relevant_grade,
        first_stage=(0.0,) * len(grades),
        answers=None,
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("relevant_grade", [1, 2])
def test_as_trec_eval_has_it(seed: int, relevant_grade: int) -> None:
    rng = np.random.default_rng(seed)
    topics, scores, qrels, run = [], [], [], []
    for number in range(20):
        grades = rng.integers(0, 4, size=rng.integers(1, 30)).tolist()
        unseen = rng.integers(0, 4, size=3).tolist()
        topics.append(topic(grades, unseen=unseen, relevant_grade=relevant_grade))
        scores.append(rng.permutation(len(grades)).astype(float))
        qrels += [Qrel(str(number), f"d{i}", grade) for i, grade in enumerate([*grades, *unseen])]
        run += [ScoredDoc(str(number), f"d{i}", score) for i, score in enumerate(scores[-1].tolist())]
    seen = [qrel for qrel in qrels if (qrel.query_id, qrel.doc_id) in {(d.query_id, d.doc_id) for d in run}]
    ap, rr = AP(rel=relevant_grade), RR(rel=relevant_grade)
    ndcg = nDCG @ 10
    expected = {
        **ir_measures.calc_aggregate([ndcg], qrels, run),
        **ir_measures.calc_aggregate([ap, rr], seen, run),
    }
    figures = ranking_figures(topics, scores, k=10)
    assert figures.map == pytest.approx(expected[ap])
    assert figures.mrr == pytest.approx(expected[rr])
    assert figures.ndcg == pytest.approx(expected[ndcg])
    relevant = np.concatenate([np.array(t.grades) >= relevant_grade for t in topics])
    assert figures.auc == pytest.approx(roc_auc_score(relevant, np.concatenate(scores)))


def test_ties_count_half_for_the_auc() -> None:
    scores = np.array([0.5, 0.5, 0.5, 0.1, 0.9])
    relevant = np.array([True, False, True, False, False])
    assert auc(scores, relevant) == pytest.approx(roc_auc_score(relevant, scores))


@pytest.mark.parametrize("relevant", [[True, True], [False, False]])
def test_there_is_no_auc_of_one_kind_alone(relevant: list[bool]) -> None:
    assert auc(np.array([0.1, 0.2]), np.array(relevant)) is None


def test_among_equals_the_relevant_document_comes_last() -> None:
    figures = ranking_figures([topic([0, 1, 0])], [np.array([0.5, 0.5, 0.5])], k=10)
    assert (figures.mrr, figures.map) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_nothing_to_find() -> None:
    figures = ranking_figures([topic([0, 0]), topic([])], [np.array([1.0, 2.0]), np.array([])], k=10)
    assert (figures.map, figures.mrr, figures.ndcg, figures.auc) == (0.0, 0.0, 0.0, None)
