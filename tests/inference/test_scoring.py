from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provence_rag.inference.scoring import keep_probabilities, sentence_scores, sigmoid, tempered


def test_sigmoid() -> None:
    xs = np.linspace(-40, 40, 161)
    expected = [1 / (1 + math.exp(-x)) for x in xs.tolist()]
    # Relative: very small probabilities keep their digits, so that they can be compared.
    assert sigmoid(xs).tolist() == pytest.approx(expected, rel=1e-14)
    assert sigmoid(np.array([-3, 0, 3])).sum() == pytest.approx(1.5)


def test_sigmoid_neither_overflows_nor_warns() -> None:
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        extremes = np.array([-np.inf, -1e308, -800.0, 800.0, 1e308, np.inf])
        assert sigmoid(extremes).tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
        assert sigmoid(np.array([-65504, 65504], dtype=np.float16)).tolist() == [0.0, 1.0]


def test_keep_probabilities_are_a_softmax() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    exponents = np.exp(logits.astype(np.float64))
    expected = exponents[..., 1] / exponents.sum(axis=-1)
    assert keep_probabilities(logits) == pytest.approx(expected, rel=1e-6)
    assert keep_probabilities(np.zeros((0, 4, 2), dtype=np.float32)).shape == (0, 4)


def test_large_half_precision_logits_keep_their_difference() -> None:
    logits = np.array([[60000.0, -60000.0]], dtype=np.float16)
    with np.errstate(over="raise"):
        assert keep_probabilities(logits).tolist() == [0.0]


def test_scores_of_known_sentences() -> None:
    probabilities = np.array([0.2, 0.4, 0.9, 0.1, 0.3])
    scores = sentence_scores(probabilities, np.array([0, 2, 2, 3, 5]), np.array([0, 1, 3, 3]), 5)
    # A mean, no tokens, no unit, and the better one of two parts.
    assert scores.tolist() == pytest.approx([0.3, 0.0, 0.0, 0.9, 0.0])


def test_nothing_has_no_scores() -> None:
    empty = np.empty(0, dtype=np.int64)
    assert sentence_scores(np.empty(0), np.array([0]), empty, 0).tolist() == []
    assert sentence_scores(np.empty(0), np.array([0, 0]), np.array([0]), 1).tolist() == [0.0]


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.floats(0, 1), max_size=5)), max_size=20))
def test_scores_are_those_of_a_loop(units: list[tuple[int, list[float]]]) -> None:
    """Each unit is the distance from the previous unit's sentence, and the probabilities of its tokens."""
    sentence_of = np.cumsum([step for step, _ in units], dtype=np.int64)
    num_sentences = int(sentence_of[-1]) + 2 if units else 0
    expected = [0.0] * num_sentences
    for sentence, (_, values) in zip(sentence_of.tolist(), units, strict=True):
        if values:
            expected[sentence] = max(expected[sentence], sum(values) / len(values))
    tokens = np.array([value for _, values in units for value in values])
    bounds = np.cumsum([0, *(len(values) for _, values in units)])
    scores = sentence_scores(tokens, bounds, sentence_of, num_sentences)
    assert scores.tolist() == pytest.approx(expected, abs=1e-12)
    assert ((scores >= 0) & (scores <= 1)).all()


@settings(deadline=None, derandomize=True)
@given(
    sentences=st.lists(
        st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 0.7, 1.0]), max_size=12), max_size=6
    ),
    thresholds=st.lists(st.floats(0, 1) | st.sampled_from([0.1, 0.25, 0.5, 0.75]), min_size=1, max_size=6),
)
def test_a_fraction_tells_for_every_threshold(sentences: list[list[float]], thresholds: list[float]) -> None:
    """The rule of Provence's code: more than a share T of the tokens have a probability of more than T."""
    probabilities = np.array([p for sentence in sentences for p in sentence])
    bounds = np.cumsum([0, *map(len, sentences)])
    scores = sentence_scores(probabilities, bounds, np.arange(len(sentences)), len(sentences), "fraction")
    for score, sentence in zip(scores.tolist(), sentences, strict=True):
        for threshold in thresholds:
            share = sum(p > threshold for p in sentence) / max(1, len(sentence))
            # A threshold of 0 keeps whatever there is.
            assert (score >= threshold) == (share > threshold or threshold == 0)


def test_a_fraction_is_that_of_the_better_part() -> None:
    probabilities = np.array([0.9, 0.9, 0.0, 0.0, 0.8, 0.8, 0.8])
    scores = sentence_scores(probabilities, np.array([0, 4, 7]), np.array([0, 0]), 1, "fraction")
    assert scores.tolist() == [pytest.approx(0.8)]


def test_a_temperature_divides_logits() -> None:
    with np.errstate(over="raise", invalid="raise"):
        scores = tempered(np.array([0.0, 0.2, 0.5, 0.8, 1.0]), 0.5)
    assert scores.tolist() == pytest.approx([0.0, 1 / 17, 0.5, 16 / 17, 1.0])
    hot = tempered(np.array([0.2, 0.2]), np.array([1.0, 1e9]))
    assert hot.tolist() == pytest.approx([0.2, 0.5])


@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0.05, 20))
def test_a_temperature_keeps_the_order_and_can_be_undone(values: list[float], temperature: float) -> None:
    scores = np.array(values)
    changed = tempered(scores, temperature)
    order = np.argsort(scores)
    assert (np.diff(changed[order]) >= 0).all()
    inner = (changed > 1e-12) & (changed < 1 - 1e-12)
    assert tempered(changed, 1 / temperature)[inner] == pytest.approx(scores[inner], abs=1e-3)
