"""The whole evaluation, with a chat model that answers by rule and the model of words in common."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from provence_rag import InvalidInputError, ProvenceError
from provence_rag.testing import fake_provence
from provence_training.qa import (
    AllPassages,
    NoContext,
    Oracle,
    Prune,
    QAEvaluator,
    QAQuestion,
    QAReport,
    Rerank,
)

STRATEGIES = [AllPassages(), Prune(fake_provence()), Rerank(fake_provence(), 1), NoContext(), Oracle()]


class FirstWords:
    """A strategy of a user's: it often loses the answer."""

    name = "first words"

    def context(self, question: QAQuestion, passages: Sequence[str]) -> list[str]:
        return [text[:30] for text in passages]


@pytest.fixture
def report(questions: list[QAQuestion], reader: Callable[..., Any]) -> QAReport:
    evaluator = QAEvaluator(reader(), [*STRATEGIES, FirstWords()], k=[4, 2], prices=(2.0, 10.0))
    return evaluator({"coffee": questions})


def without_times(report: QAReport) -> Any:
    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cleaned(entry) for name, entry in value.items() if "seconds" not in name}
        return list(map(cleaned, value)) if isinstance(value, list) else value

    values = report.to_dict()
    del values["settings"]
    return cleaned(values)


def test_figures(report: QAReport, questions: list[QAQuestion]) -> None:
    (one,) = report.sets
    assert (one.name, one.languages, one.num_questions, one.num_left_out) == ("coffee", ["en", "ja"], 12, 0)
    arms = {(arm.k, arm.strategy): arm for arm in one.arms}
    assert list(arms)[:2] == [(2, "all"), (2, "prune")]
    for k in (2, 4):
        # The reader finds any answer that it can read, and wraps it in a sentence.
        for name in ("all", "oracle"):
            arm = arms[k, name]
            assert (arm.match, arm.exact_match, arm.no_answer, arm.in_context) == (1.0, 0.0, 0.0, 1.0)
            assert 0 < arm.f1 < 1
        nothing = arms[k, "none"]
        assert (nothing.match, nothing.f1, nothing.no_answer, nothing.in_context) == (0.0, 0.0, 1.0, 0.0)
        for arm in (arms[k, name] for name in ("prune", "rerank:1", "first words")):
            assert arm.match == arm.in_context == pytest.approx(1 - arm.no_answer)
        assert arms[k, "first words"].match < 1
        assert arms[k, "prune"].input_tokens < arms[k, "all"].input_tokens
        for arm in (arms[k, name] for name in ("all", "prune")):
            tokens = 2 * arm.input_tokens + 10 * arm.output_tokens
            assert arm.cost_of_1000 == pytest.approx(tokens / 1e6 / 12 * 1000)
            assert arm.output_tokens == 2 * len(questions)
            assert arm.reply_seconds >= arm.first_token_seconds > 0
    assert arms[2, "all"].input_tokens < arms[4, "all"].input_tokens
    assert arms[4, "prune"].context_seconds > arms[4, "all"].context_seconds


def test_differences(report: QAReport) -> None:
    (one,) = report.sets
    arms = {(arm.k, arm.strategy): arm for arm in one.arms}
    assert {(c.k, c.strategy) for c in one.comparisons} == {key for key in arms if key[1] != "all"}
    for comparison in one.comparisons:
        arm, whole = arms[comparison.k, comparison.strategy], arms[comparison.k, "all"]
        assert comparison.reference == "all"
        assert comparison.match.mean == pytest.approx(arm.match - whole.match)
        assert comparison.match.low <= comparison.match.mean <= comparison.match.high
        assert comparison.gained - comparison.lost == round(12 * comparison.match.mean)
        assert comparison.input_tokens == pytest.approx(arm.input_tokens / whole.input_tokens)
        assert comparison.seconds > 0
        assert len(comparison.examples) == min(10, comparison.lost)
        # This reader loses nothing that it can read.
        assert comparison.lost_by_pruner == comparison.lost
        for lost in comparison.examples:
            assert lost.lost_by == "pruner"
            assert lost.reference_reply == f"It is {lost.answers[0]}!"
            assert lost.reply == "no answer"


def test_what_the_reader_loses(questions: list[QAQuestion], reader: Callable[..., Any]) -> None:
    class Reworded(AllPassages):
        name = "with a distraction"

        def context(self, question: QAQuestion, passages: Sequence[str]) -> list[str]:
            return [*passages, "Distraction."]

    class Distracted(type(reader())):  # type: ignore[misc]
        def reply(self, prompt: str) -> str:
            return "no idea" if "Distraction." in prompt else str(super().reply(prompt))

    model = Distracted(answers=reader().answers, prompts=[])
    report = QAEvaluator(model, [AllPassages(), Reworded()], k=[2], examples=3)({"coffee": questions})
    (comparison,) = report.sets[0].comparisons
    assert (comparison.lost, comparison.lost_by_pruner, comparison.gained) == (12, 0, 0)
    assert [lost.lost_by for lost in comparison.examples] == ["reader"] * 3
    assert (comparison.match.mean, comparison.match.low, comparison.match.high) == (-1.0, -1.0, -1.0)


def test_an_interrupted_run_goes_on(
    questions: list[QAQuestion], reader: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "replies.jsonl"
    whole = QAEvaluator(reader(), STRATEGIES, k=[2, 4])({"coffee": questions})
    failing, rest = reader(fail_at=30), reader()
    with pytest.raises(
        ProvenceError, match="ScriptedReader gave no reply: ConnectionError: the server is gone"
    ):
        QAEvaluator(failing, STRATEGIES, k=[2, 4], cache=path)({"coffee": questions})
    assert len(failing.prompts) == 30
    resumed = QAEvaluator(rest, STRATEGIES, k=[2, 4], cache=path)({"coffee": questions})
    assert without_times(resumed) == without_times(whole)
    assert not set(rest.prompts) & set(failing.prompts[:29])
    # Nothing is asked twice, even if two strategies have the same context.
    assert len(rest.prompts) == len(set(rest.prompts))
    # More strategies reuse the replies of the others.
    more = reader()
    QAEvaluator(more, [*STRATEGIES, FirstWords()], k=[2, 4], cache=path)({"coffee": questions})
    assert len(more.prompts) <= 2 * 12


def test_a_report_on_stored_replies(
    questions: list[QAQuestion], reader: Callable[..., Any], tmp_path: Path
) -> None:
    path, silent = tmp_path / "replies.jsonl", reader(fail_at=1)
    QAEvaluator(reader(), STRATEGIES, k=[2], cache=path)({"coffee": questions[:5]})
    stored = QAEvaluator(silent, STRATEGIES, k=[2], cache=path, cached_only=True)
    report = stored({"coffee": questions})
    assert (report.sets[0].num_questions, report.sets[0].num_left_out) == (5, 7)
    assert "5 questions, en, ja. 7 left out." in report.to_markdown()
    assert not silent.prompts
    with pytest.raises(InvalidInputError, match=r"'tea'.* has no question whose replies are all stored"):
        stored({"tea": questions[5:]})


def test_questions_at_the_same_time(questions: list[QAQuestion], reader: Callable[..., Any]) -> None:
    one, many = (
        QAEvaluator(reader(), STRATEGIES, k=[2, 4], concurrency=concurrency)({"coffee": questions})
        for concurrency in (1, 8)
    )
    assert without_times(one) == without_times(many)


def test_a_judge(questions: list[QAQuestion], reader: Callable[..., Any], tmp_path: Path) -> None:
    judge, path = reader(), tmp_path / "replies.jsonl"
    report = QAEvaluator(reader(), [AllPassages(), NoContext()], k=[2], judge=judge, cache=path)(
        {"coffee": questions}
    )
    whole, nothing = report.sets[0].arms
    right = sum(len(f"It is {q.answers[0]}!") > 7 for q in questions) / 12
    assert (whole.judged, nothing.judged) == (right, 0.0)
    assert report.sets[0].comparisons[0].judged is not None
    assert report.sets[0].comparisons[0].judged.mean == -right
    # A reply without an answer is not judged, and no reply twice.
    assert len(judge.prompts) == 12
    # It is asked in the language of the answer's prompt.
    asked = [("正解" in prompt, "Right answers" in prompt) for prompt in judge.prompts]
    assert asked == [(q.language == "ja", q.language != "ja") for q in questions]


@pytest.mark.parametrize("usage", ["missing", "zero"])
def test_tokens_are_estimated_where_the_provider_counts_none(
    questions: list[QAQuestion], reader: Callable[..., Any], usage: str
) -> None:
    report = QAEvaluator(reader(usage=usage), STRATEGIES[:2], k=[2])({"coffee": questions})
    whole, pruned = report.sets[0].arms
    assert whole.estimated_tokens
    assert 0 < pruned.input_tokens < whole.input_tokens
    assert "The bundled model's tokenizer counted some tokens" in report.to_markdown()


def test_the_report_is_saved(report: QAReport, tmp_path: Path) -> None:
    report.save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"qa.json", "qa.md", "qa-coffee.svg"}
    assert json.loads((tmp_path / "out" / "qa.json").read_text()) == report.to_dict()
    text = (tmp_path / "out" / "qa.md").read_text(encoding="utf-8")
    assert "![Replies in which an answer occurs, over tokens of a prompt](qa-coffee.svg)" in text
    assert "### coffee, 2 passages\n\n| strategy | match | exact match | F1 | no answer |" in text
    assert "| against all | match | exact match | F1 | gained | lost | lost by the pruner |" in text
    assert "### coffee, 4 passages: lost by first words" in text
    assert "judged" not in text.replace("judge", "", 1)
    assert "| cost of 1,000 questions |" in text
    assert re.search(rf"\| {report.sets[0].arms[0].cost_of_1000:.4f} \|$", text, re.MULTILINE)
    plot = (tmp_path / "out" / "qa-coffee.svg").read_text(encoding="utf-8")
    assert plot.count("<!-- k=2 -->") == plot.count("<!-- k=4 -->") == 6  # one for each strategy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": [0]}, r"k\[0\] must be an integer >= 1, got 0"),
        ({"concurrency": 0}, "concurrency must be an integer >= 1, got 0"),
        ({"reference": "prune"}, "reference must be one of the strategies all, got 'prune'"),
        ({"prices": (1.0, "2")}, r"prices\[1\] must be a number, got '2'"),
        ({"prices": (1.0,)}, r"prices must be two numbers, for .* read and written, got \(1.0,\)"),
        ({"prices": 3}, "prices must be two numbers"),
        ({"prices": (-1, 2)}, r"prices\[0\] must be a number >= 0, got -1"),
        ({"k": 5}, "k must be a list of integers, got int 5"),
        ({"k": []}, "k must have at least one number of passages"),
        ({"cached_only": "no"}, "cached_only must be True or False, got 'no'"),
        ({"llm": object()}, "an LLM must be a ChatModel, a chat model of LangChain, or a spec.*, got object"),
        ({"judge": len}, "an LLM must be a ChatModel"),
        ({"strategies": []}, "strategies must be at least one, with different names"),
        ({"strategies": "all"}, "strategies must be a list of strategies, got str 'all'"),
        ({"strategies": AllPassages()}, "strategies must be a list of strategies, got AllPassages"),
        (
            {"strategies": ["all"]},
            r"strategies\[0\] must be an object with .*, got str 'all': `parse_strategy` makes one",
        ),
        ({"strategies": [AllPassages]}, r"strategies\[0\] is the class AllPassages: give an instance"),
        (
            {"strategies": [AllPassages(), AllPassages()]},
            "strategies must be at least one, with different names",
        ),
    ],
)
def test_arguments(reader: Callable[..., Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        QAEvaluator(**({"llm": reader(), "strategies": [AllPassages()]} | settings))


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"none": []}, r"sets\['none'\] has no question"),
        ({}, "sets has no set of questions"),
        ([1], "sets must be a mapping of names to questions, .*, got list"),
        ({"mine": 3}, r"sets\['mine'\] must be a list of questions, got int 3"),
        ({"mine": [{"question": "?"}]}, r"sets\['mine'\]\[0\] must be a QAQuestion, .*, got dict"),
        ({1: []}, "the names of sets must be strings, got int 1"),
    ],
)
def test_what_is_not_a_set_of_questions(reader: Callable[..., Any], sets: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        QAEvaluator(reader(), [AllPassages()])(sets)


@pytest.mark.parametrize(
    ("answers", "message"),
    [((), "answers of question 'x' must be at least one"), ("Paris", "answers must be a list of strings")],
)
def test_a_question_needs_answers(answers: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        QAQuestion(id="x", text="?", language="en", answers=answers, passages=())


def broken(result: Any) -> Any:
    class Broken:
        name = "broken"

        def context(self, question: QAQuestion, passages: Sequence[str]) -> Any:
            return result if result != "raise" else {}["key"]

    return Broken()


@pytest.mark.parametrize(
    ("result", "kind", "message"),
    [
        ("text", InvalidInputError, "context must be a list of strings, got str 'text'"),
        (None, InvalidInputError, "context must be a list of strings, got NoneType None"),
        ([1], InvalidInputError, r"context\[0\] must be a string, got int 1"),
        ("raise", ProvenceError, "KeyError: 'key'"),
    ],
)
def test_strategies_that_fail(
    questions: list[QAQuestion], reader: Callable[..., Any], result: Any, kind: type[Exception], message: str
) -> None:
    asked = reader()
    place = f"strategy 'broken', question '{re.escape(questions[0].id)}': "
    with pytest.raises(kind, match=place + message):
        QAEvaluator(asked, [broken(result)], k=[2])({"coffee": questions})
    assert not asked.prompts


@pytest.mark.parametrize(
    ("verdict", "judged", "unclear"),
    [
        ("**Yes**, it does", 1.0, 0),
        ("Verdict: __yes__", 1.0, 0),
        ("*No.*", 0.0, 0),
        ("Nobody knows", None, 12),
        ("...", None, 12),
    ],
)
def test_verdicts(
    questions: list[QAQuestion],
    reader: Callable[..., Any],
    verdict: str,
    judged: float | None,
    unclear: int,
) -> None:
    judge = FakeListChatModel(responses=[verdict])
    report = QAEvaluator(reader(), [AllPassages(), Oracle()], k=[2], judge=judge)({"coffee": questions})
    arm = report.sets[0].arms[0]
    assert (arm.judged, arm.unclear_verdicts) == (judged, unclear)
    assert ("unclear verdicts" in report.to_markdown()) == bool(unclear)
    assert (report.sets[0].comparisons[0].judged is None) == (judged is None)


def test_unclear_verdicts_are_counted_apart(questions: list[QAQuestion], reader: Callable[..., Any]) -> None:
    judge = FakeListChatModel(responses=["yes", "maybe", "no", "yes"])
    report = QAEvaluator(reader(), [AllPassages()], k=[2], judge=judge)({"coffee": questions[:4]})
    arm = report.sets[0].arms[0]
    assert (arm.judged, arm.unclear_verdicts) == (pytest.approx(2 / 3), 1)


def test_importing_it_is_cheap() -> None:
    code = """
import sys
import provence_training.qa
print(sorted({"torch", "transformers", "langchain_core"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Talker(BaseChatModel):
    """Gives replies in turn, with what a provider says of each."""

    replies: list[str]
    metadata: dict[str, str] = Field({})
    asked: int = Field(0, exclude=True)

    @property
    def _llm_type(self) -> str:
        return "talker"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        reply = self.replies[self.asked % len(self.replies)]
        self.asked += 1
        message = AIMessage(content=reply, response_metadata=self.metadata)
        return ChatResult(generations=[ChatGeneration(message=message)])


def asked_with_warnings(
    model: Any, questions: list[QAQuestion], **settings: Any
) -> tuple[list[str], QAReport]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = QAEvaluator(model, [AllPassages(), NoContext()], **settings)({"coffee": questions})
    assert {entry.filename for entry in caught} <= {__file__}
    return [str(entry.message) for entry in caught], report


@pytest.mark.parametrize(
    "reason",
    [{"finish_reason": "length"}, {"stop_reason": "max_tokens"}, {"finish_reason": "MAX_TOKENS"}],
    ids=["OpenAI", "Anthropic", "Google"],
)
def test_replies_that_are_cut_off_are_reported(
    questions: list[QAQuestion], reason: dict[str, str], tmp_path: Path
) -> None:
    settings = {"k": [2], "cache": tmp_path / "replies.jsonl"}
    model = Talker(replies=["It is a"], metadata=reason)
    for _ in range(2):  # asked, then stored
        (warned,), report = asked_with_warnings(model, questions, **settings)
        assert "the limit of tokens cut off replies (12 with all, k=2, 12 with none, k=2): " in warned
        assert "raise max_tokens, with --llm-args" in warned
        assert report.to_dict()["sets"][0]["warnings"] == [warned.removeprefix("coffee: ")]
        assert f"\n\nWarning: {warned.removeprefix('coffee: ')}.\n\n" in report.to_markdown()


def test_whole_replies_are_not(questions: list[QAQuestion]) -> None:
    for reason in ({"finish_reason": "stop"}, {"stop_reason": "end_turn"}, {}):
        model = Talker(replies=["It is a"], metadata=reason)
        warned, report = asked_with_warnings(model, questions, k=[2])
        assert warned == report.sets[0].warnings == []


def test_empty_replies_are_reported(questions: list[QAQuestion]) -> None:
    warned, _ = asked_with_warnings(Talker(replies=["", " "]), questions, k=[2])
    assert len(warned) == 1
    assert "more than half of the replies are empty (12 with all, k=2, 12 with none, k=2)" in warned[0]
    half = Talker(replies=["", "Paris", "Paris", ""])
    assert asked_with_warnings(half, questions, k=[2])[0] == []


def test_too_few_passages_are_reported_before_a_question_is_asked(
    questions: list[QAQuestion], reader: Callable[..., Any]
) -> None:
    warned, report = asked_with_warnings(reader(), questions, k=[4, 10])
    assert warned == [f"coffee: {report.sets[0].warnings[0]}"]
    assert "no question has 10 passages, so the figures with k=10 are those of at most 4: " in warned[0]
    silent = reader()
    with pytest.raises(UserWarning, match="tea: no question has 5 passages"):  # as -W error has it
        QAEvaluator(silent, [AllPassages()], k=[5])({"tea": questions})
    assert not silent.prompts
