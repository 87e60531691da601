"""Rules for the `dynamic` mode, temperatures, and the command that stores them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from provence_rag import CheckpointError, InvalidInputError, Provence
from provence_rag.chunking import Span
from provence_rag.config import DynamicRule, ProvenceConfig
from provence_rag.testing import fake_provence
from provence_training.cli.calibrate import calibrate as calibrate_command
from provence_training.evaluation import (
    JudgedSentences,
    ProvenceEvaluator,
    PruningFigures,
    Scored,
    Topic,
    TopicSet,
    load_topics,
    score_with,
)
from provence_training.evaluation.calibration import PROMISES, calibrate, calibrate_rules, fit_temperature

ANSWERS = Path(__file__).parents[3] / "examples" / "evaluation.jsonl"


def judged(*questions: tuple[Sequence[Sequence[float]], Sequence[int]]) -> JudgedSentences:
    """Questions with the scores of each passage, sentences of ten characters, and those that answer."""
    topics, scored = [], []
    for passages, answers in questions:
        topics.append(
            Topic(
                query="q",
                language="en",
                documents=("",) * len(passages),
                grades=(1, *[0] * (len(passages) - 1)),
                ideal_grades=(1,),
                first_stage=(0.0,) * len(passages),
                answers=tuple(Span(10 * i, 10 * i + 10) for i in answers),
            )
        )
        scored.append(
            Scored(
                relevance=None,
                sentences=tuple(tuple(Span(10 * i, 10 * i + 10) for i in range(len(s))) for s in passages),
                keep=tuple(np.array(s) for s in passages),
            )
        )
    return JudgedSentences(topics, scored)


def calibrate_rule(rows: JudgedSentences, **arguments: Any) -> DynamicRule:
    """The rule for the promise that is asked for."""
    return calibrate_rules(rows, **arguments)[arguments["keep"]]


def reached(rows: JudgedSentences, rule: DynamicRule) -> PruningFigures:
    return rows.figures(rows.kept_by(lambda _: rule))


TEN = judged(
    *[([[0.9, 0.3, 0.05], [0.2, 0.02]], [0])] * 9,
    ([[0.9, 0.3, 0.05], [0.2, 0.02]], [1]),
)


def test_it_removes_what_it_may() -> None:
    strict = reached(TEN, calibrate_rule(TEN, keep=1.0, removed_off_topic=1.0))
    assert (strict.answer_kept, strict.removed_off_topic) == (1.0, 1.0)
    assert strict.removed == pytest.approx(1 / 3)  # all but the first two sentences
    loose = reached(TEN, calibrate_rule(TEN, keep=0.9, removed_off_topic=1.0))
    assert (loose.answer_kept, loose.removed) == (0.9, pytest.approx(2 / 3))


def test_one_span_or_all_of_them() -> None:
    rows = judged(([[0.9, 0.4, 0.1], [0.1]], [0, 1]))
    one = reached(rows, calibrate_rule(rows, keep=1.0))
    assert (one.answer_kept, one.all_kept, one.removed) == (1.0, 0.0, pytest.approx(2 / 3))
    both = reached(rows, calibrate_rule(rows, keep=1.0, evidence="all"))
    assert (both.all_kept, both.removed) == (1.0, pytest.approx(1 / 3))


def test_answers_come_before_what_is_off_topic() -> None:
    rows = judged(([[0.3], [0.3], [0.1]], [0]))
    result = reached(rows, calibrate_rule(rows, keep=1.0, removed_off_topic=1.0))
    assert (result.answer_kept, result.removed_off_topic) == (1.0, 0.5)


def test_no_other_passages() -> None:
    rows = judged(([[0.3, 0.1]], [0]))
    assert reached(rows, calibrate_rule(rows, keep=1.0)).removed == 0.5


def test_nothing_has_to_be_kept() -> None:
    assert reached(TEN, calibrate_rule(TEN, keep=0.0)).removed == 1.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("keep", [0.8, 0.92, 1.0])
def test_no_rule_of_a_fine_grid_does_better(seed: int, keep: float) -> None:
    rng = np.random.default_rng(seed)
    rows = judged(
        *[
            ([np.append(0.3 + 0.7 * rng.random(1), rng.random(4)), 0.6 * rng.random(5)], [0])
            for _ in range(40)
        ]
    )
    rule = calibrate_rule(rows, keep=keep)
    found = reached(rows, rule)
    assert found.answer_kept >= keep
    assert found.removed_off_topic is not None
    best = 0.0
    for floor in np.linspace(0, 1, 41):
        for share in np.linspace(0, 1, 41):
            other = reached(rows, DynamicRule(floor=float(floor), share=float(share)))
            if other.answer_kept >= keep:
                assert other.removed_off_topic is not None
                best = max(best, other.removed + other.removed_off_topic)
    assert found.removed + found.removed_off_topic >= best - 0.02


def test_small_scores_have_rules_as_exact_as_large_ones() -> None:
    """A sure model gives small scores; what three decimals cannot tell apart, three digits can."""
    rows = judged(*[([[0.00045, 0.00022], [0.00031]], [0])] * 3)
    result = reached(rows, calibrate_rule(rows, keep=1.0))
    assert (result.answer_kept, result.removed, result.removed_off_topic) == (1.0, 0.5, 1.0)


# Promises


def random_questions(seed: int, count: int) -> JudgedSentences:
    """Answers that mostly score well, in passages with other sentences that sometimes do."""
    rng = np.random.default_rng(seed)
    return judged(
        *[
            ([np.append(rng.random(1) ** 0.3, rng.random(4) ** 2), 0.8 * rng.random(5)], [0])
            for _ in range(count)
        ]
    )


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.97, 1.0])
def test_there_is_a_rule_for_every_promise_and_the_default(keep: float) -> None:
    rules = calibrate_rules(random_questions(0, 50), keep=keep)
    assert list(rules) == sorted({*PROMISES, keep})


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 150),
    keep=st.sampled_from([0.5, 0.9, 0.95, 0.96, 0.99, 1.0]),
    evidence=st.sampled_from(["any", "all"]),
    removed_off_topic=st.none() | st.floats(0, 1),
)
def test_promises_are_kept_and_a_higher_one_keeps_no_less_of_any_passage(
    seed: int, count: int, keep: float, evidence: Any, removed_off_topic: float | None
) -> None:
    rows = random_questions(seed, count)
    rules = calibrate_rules(rows, keep=keep, evidence=evidence, removed_off_topic=removed_off_topic)
    assert all(reached(rows, rule).answer_kept >= promise for promise, rule in rules.items())
    for low, high in pairwise(rules.values()):
        assert (high.floor, high.share) == (min(high.floor, low.floor), min(high.share, low.share))
    ProvenceConfig(promises={promise: {"default": rule} for promise, rule in rules.items()})  # refuses others


@pytest.mark.parametrize("seed", range(5))
def test_the_default_is_chosen_as_if_there_were_no_other_promise(seed: int) -> None:
    """Whichever promise is the default, its rule removes the most that any rule for it removes."""
    rows = random_questions(seed, 150)

    def merit(keep: float, promise: float) -> float:
        figures = reached(rows, calibrate_rules(rows, keep=keep)[promise])
        assert figures.removed_off_topic is not None
        return figures.removed + figures.removed_off_topic

    for promise in PROMISES:
        assert merit(promise, promise) == max(merit(keep, promise) for keep in PROMISES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 92}, "keep must be a number between 0 and 1, got 92"),
        (
            {"keep": 0.9, "removed_off_topic": -1},
            "removed_off_topic must be a number between 0 and 1, got -1",
        ),
        ({"keep": 0.9, "evidence": "some"}, "evidence must be any or all, got 'some'"),
    ],
)
def test_what_cannot_be_asked_for(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        calibrate_rule(TEN, **arguments)
    assert str(raised.value) == message
    with pytest.raises(InvalidInputError) as raised:
        calibrate(fake_provence(), [SET], **arguments)
    assert str(raised.value) == message


# Temperatures


def cross_entropy(scores: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    logits = np.log(scores / (1 - scores)) / temperature
    return float(np.mean(np.logaddexp(0, np.where(labels, -logits, logits))))


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_a_temperature_is_found_again(true: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    labels = rng.random(20_000) < 1 / (1 + np.exp(-logits))
    scores = 1 / (1 + np.exp(-logits * true))  # too sure, or not sure enough
    found = fit_temperature(scores, labels)
    assert found == pytest.approx(true, rel=0.05)
    least = cross_entropy(scores, labels, found)
    assert all(least <= cross_entropy(scores, labels, found * factor) for factor in (0.97, 1.03))


def test_probabilities_that_are_always_right_stay_finite() -> None:
    assert fit_temperature(np.array([1.0, 0.9, 0.0]), np.array([True, True, False])) == 0.05
    assert fit_temperature(np.array([1.0, 0.9, 0.0]), np.array([False, False, True])) == 20.0


# Of a model


def topic(language: str, query: str, *documents: str, answer: Span | None) -> Topic:
    return Topic(
        query=query,
        language=language,
        documents=documents,
        grades=(1, *[0] * (len(documents) - 1)),
        ideal_grades=(1,),
        first_stage=(0.0,) * len(documents),
        answers=None if answer is None else (answer,),
    )


SET = TopicSet(
    name="made",
    topics=(
        topic("en", "Where do otters sleep?", "Otters sleep. Snow falls.", "Snow melts.", answer=Span(0, 5)),
        topic("en", "Do otters sing?", "Otters often sing. Otters sleep.", "Otters hide.", answer=Span(0, 5)),
        topic("ja", "犬", "猫。犬小屋。", "川。", answer=Span(2, 3)),
        topic("fr", "Loutres", "Neige.", answer=None),
    ),
    first_stage="BM25",
    has_answers=True,
)


def with_config(**changes: Any) -> Provence:
    """The model of words in common, with another configuration."""
    model = fake_provence()
    engine = copy(model._engine)
    engine.config = replace(model.config, **changes)
    return Provence(engine)


def test_a_model_with_the_new_configuration_reaches_what_was_found() -> None:
    sets = [load_topics(ANSWERS)]
    found = calibrate(fake_provence(), sets, keep=0.8)
    assert list(found.config.promises) == list(found.reached) == [0.8, *PROMISES]
    assert found.config.dynamic == 0.8
    for promise, by_language in found.reached.items():
        assert list(by_language) == list(found.config.promises[promise]) == ["default", "en", "ja"]
    assert list(found.config.temperature) == ["default", "en", "ja"]
    changed = ("promises", "dynamic", "temperature", "threshold")
    changes = {name: getattr(found.config, name) for name in changed}
    (everything, english, japanese) = ProvenceEvaluator([ANSWERS])(with_config(**changes)).sets
    for name, one in (("en", english), ("ja", japanese)):
        assert one.systems[0].pruning["dynamic"] == found.reached[0.8][name]
        for promise, by_language in found.reached.items():
            assert one.systems[0].promises[f"{promise:g}"] == by_language[name]
            assert by_language[name].answer_kept >= promise
    model = with_config(**changes)
    for language in ("en", "ja"):
        topics = [topic for topic in sets[0].topics if topic.language == language]
        rows = JudgedSentences(topics, score_with(model, topics))
        assert fit_temperature(rows.scores, rows.labels) == pytest.approx(1.0, rel=0.02)
    threshold = found.config.threshold
    assert everything.systems[0].pruning[f"threshold {threshold:g}"].answer_kept >= 0.8
    rows = JudgedSentences(sets[0].topics, score_with(model, sets[0].topics))
    assert rows.figures(rows.scores >= threshold + 0.001).answer_kept < 0.8


def test_calibrating_twice_changes_nothing() -> None:
    first = calibrate(fake_provence(), [SET], keep=1.0)
    hot = with_config(temperature={"default": 3.0, "ja": 0.2})
    second = calibrate(hot, [SET], keep=1.0)
    assert second.config == first.config
    assert second.reached == first.reached


def test_too_few_questions_for_a_promise(caplog: pytest.LogCaptureFixture) -> None:
    calibrate(fake_provence(), [load_topics(ANSWERS, distractors=1)], keep=0.8)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "default: 24 questions are too few to promise 0.97 (needs 34), 0.99 (needs 100)",
        "en: 12 questions are too few to promise 0.93 (needs 15), 0.95 (needs 20), 0.97 (needs 34), "
        "0.99 (needs 100)",
        "ja: 12 questions are too few to promise 0.93 (needs 15), 0.95 (needs 20), 0.97 (needs 34), "
        "0.99 (needs 100)",
    ]


def test_too_few_questions_to_calibrate() -> None:
    sets = [load_topics(ANSWERS, distractors=1)]
    with pytest.raises(InvalidInputError) as raised:
        calibrate(fake_provence(), sets, keep=0.95)
    assert str(raised.value) == (
        "12 questions with marked answers are too few to calibrate 'en' with keep=0.95: give at least 20, "
        "lower keep, or set allow_few_questions to calibrate nonetheless"
    )
    found = calibrate(fake_provence(), sets, keep=0.95, allow_few_questions=True)
    assert found.config.dynamic == 0.95


def test_a_model_that_only_ranks() -> None:
    with pytest.raises(CheckpointError) as raised:
        calibrate(fake_provence(can_prune=False), [SET], keep=0.9)
    assert str(raised.value) == "this checkpoint only ranks: it has no pruning head to calibrate"


def test_no_marked_answers() -> None:
    unmarked = replace(SET, topics=SET.topics[3:])
    with pytest.raises(InvalidInputError, match="topics must have marked answers"):
        calibrate(fake_provence(), [unmarked], keep=0.9)


# The command


def run(*arguments: str | Path) -> Any:
    app = typer.Typer()
    app.command()(calibrate_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_command_changes_the_configuration_alone(checkpoint: Path) -> None:
    ProvenceConfig(max_length=512).to_directory(checkpoint)
    before = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    options = ["--data", ANSWERS, "--keep", "0.8", "--limit", "20", "--distractors", "2"]
    shown = run(checkpoint, *options, "--dry-run")
    assert json.loads((checkpoint / "config.json").read_text(encoding="utf-8")) == before
    done = run(checkpoint, *options)
    assert done.stdout == shown.stdout
    after = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    block, old = after.pop("provence"), before.pop("provence")
    assert after == before
    assert {name for name in block if block[name] != old[name]} == {
        "promises",
        "dynamic",
        "temperature",
        "threshold",
    }

    model = Provence.from_pretrained(checkpoint)
    assert model.config.dynamic == 0.8
    again = ProvenceEvaluator([ANSWERS], limit=20, distractors=2)(model)
    for one in again.sets[1:]:
        figures = one.systems[0].pruning["dynamic"]
        assert figures.answer_kept >= 0.8
        rule, language = model.config.dynamic_rule(one.languages[0]), one.languages[0]
        temperature = model.config.temperature_of(language)
        row = f"| 0.8 | {language} | {temperature:.3f} | {rule.floor:g} | {rule.share:g} |"
        reaches = [figures.answer_kept, figures.all_kept, figures.removed]
        assert f"{row} {' | '.join(f'{x:.3f}' for x in reaches)} |" in done.stdout
    assert done.stdout.endswith(f"\npromise by default: 0.8\n\nthreshold: {model.config.threshold:g}\n")
