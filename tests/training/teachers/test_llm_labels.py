"""Labels from an LLM's citations, with a chat model that knows its replies by heart."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from provence_rag import InvalidInputError
from provence_training.data import load_passages
from provence_training.data.passages import Passage, sentence_labels
from provence_training.teachers.llm_labels import LabelReport, label_with_llm

TEXT = "Cats sleep all day.\nDogs bark {loudly}. Birds sing. Cows moo."


LOCK = threading.Lock()


class FakeChat(BaseChatModel):
    """Replies to the first question whose text is in the prompt."""

    replies: dict[str, Any]
    prompts: list[str] = []  # noqa: RUF012  # a field of pydantic
    fail_at: int | None = None
    with_usage: bool = True

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        prompt = str(messages[0].content)
        with LOCK:
            self.prompts.append(prompt)
            if len(self.prompts) == self.fail_at:
                raise ConnectionError("rate limit")
        reply = next(reply for question, reply in self.replies.items() if f"Question: {question}\n" in prompt)
        usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
        message = AIMessage(content=reply, usage_metadata=usage if self.with_usage else None)
        return ChatResult(generations=[ChatGeneration(message=message)])


def make_passages(*questions: str, answers: Any = None) -> list[Passage]:
    asked = [{"id": q, "question": q, "answers": answers} for q in questions]
    return load_passages([{"id": "p", "title": "Farm", "text": TEXT, "questions": asked}])


def label(
    tmp_path: Path, replies: dict[str, Any], **settings: Any
) -> tuple[LabelReport, list[dict[str, Any]]]:
    report = label_with_llm(
        make_passages(*replies),
        FakeChat(replies=replies),
        tmp_path / "out.jsonl",
        show_progress=False,
        **settings,
    )
    return report, [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("reply", "labels"),
    [
        ("They bark [2].", [0, 1, 0, 0]),
        ("They bark [2] and sing [3]; cats sleep [1].", [1, 1, 1, 0]),
        ("[1, 4]", [1, 0, 0, 1]),
        ("[2-4]", [0, 1, 1, 1]),
        ("[1–2; 4]", [1, 1, 0, 1]),
        ("No answer", [0, 0, 0, 0]),
        ('"no answer."', [0, 0, 0, 0]),
        ("No answer to that, but dogs bark [2].", [0, 1, 0, 0]),
        ("There is no answer in the passage", None),
        ("They bark.", None),
        ("They bark [5].", None),
        ("[0]", None),
        ("[2][9]", None),
        ("", None),
        ("[-]", None),
        ("[1 - 3], [4,-]", [1, 1, 1, 1]),
        ("[3-1]", None),
        ("[1-999999999999]", None),
    ],
)
def test_citations_become_labels(tmp_path: Path, reply: str, labels: list[int] | None) -> None:
    report, records = label(tmp_path, {"What do dogs do?": reply})
    assert [record["labels"] for record in records] == ([] if labels is None else [labels])
    assert report.unreadable == (() if labels else ("What do dogs do?",) if labels is None else ())
    assert (report.labelled, report.no_answer) == (int(labels is not None), int(labels == [0, 0, 0, 0]))


def test_what_the_llm_is_told(tmp_path: Path) -> None:
    chat = FakeChat(replies={"Who?": "[1]"}, prompts=[])
    label_with_llm(make_passages("Who?"), chat, tmp_path / "out.jsonl", show_progress=False)
    (prompt,) = chat.prompts
    assert "Question: Who?\n" in prompt
    assert "\n[1] Cats sleep all day.\n[2] Dogs bark {loudly}.\n[3] Birds sing.\n[4] Cows moo.\n" in prompt
    chat = FakeChat(replies={"Who?": "[1]"}, prompts=[])
    settings: dict[str, Any] = {"prompt": "Question: {question}\n{sentences}", "show_progress": False}
    label_with_llm(make_passages("Who?"), chat, tmp_path / "other.jsonl", **settings)
    assert chat.prompts[0].startswith("Question: Who?\n[1] Cats")


def test_what_is_written_is_training_data(tmp_path: Path) -> None:
    label(tmp_path, {"What do dogs do?": "[2]", "Who?": "No answer"})
    first, second = load_passages(tmp_path / "out.jsonl")
    (expected,) = make_passages()
    assert (first.text, first.sentences, first.title) == (TEXT, expected.sentences, "Farm")
    assert first.questions[0].answers == (first.sentences[1],)
    assert second.questions[0].answers == ()


def test_marked_answers_stay(tmp_path: Path) -> None:
    passages = make_passages("Who?", answers=[{"start": 50, "end": 51}]) + make_passages("What?", answers=[])
    chat = FakeChat(replies={}, prompts=[])
    report = label_with_llm(passages, chat, tmp_path / "out.jsonl", show_progress=False)
    assert (report.labelled, chat.prompts) == (0, [])
    for before, after in zip(passages, load_passages(tmp_path / "out.jsonl"), strict=True):
        labels = [sentence_labels(before.sentences, p.questions[0].answers or ()) for p in (before, after)]
        assert labels[0] == labels[1]


REPLIES = {f"Question {i}?": f"[{i % 4 + 1}]" for i in range(20)}


def test_an_interrupted_call_goes_on(tmp_path: Path) -> None:
    passages, output = make_passages(*REPLIES), tmp_path / "out.jsonl"
    settings: dict[str, Any] = {"max_concurrency": 2, "prices": (2.0, 30.0), "show_progress": False}
    chat = FakeChat(replies=REPLIES, prompts=[], fail_at=5)
    with pytest.raises(ConnectionError, match=r"^rate limit$"):
        label_with_llm(passages, chat, output, **settings)
    assert not output.exists()
    kept = (tmp_path / "out.jsonl.replies.jsonl").read_bytes()
    assert kept.count(b'"reply"') == 7  # the call ended after 8 questions, of which one failed
    (tmp_path / "out.jsonl.replies.jsonl").write_bytes(kept + b'\n{"key": "half a li')

    chat = FakeChat(replies=REPLIES, prompts=[])
    report = label_with_llm(passages, chat, output, **settings)
    assert len(chat.prompts) == 13
    assert report == LabelReport(
        labelled=20, no_answer=0, unreadable=(), input_tokens=2000, output_tokens=200, cost=0.01
    )
    assert len(output.read_text().splitlines()) == 20

    chat = FakeChat(replies=REPLIES, prompts=[])
    assert label_with_llm(passages, chat, output, **settings) == report
    assert chat.prompts == []


def test_unreadable_replies_are_asked_again(tmp_path: Path) -> None:
    report, _ = label(tmp_path, {"Who?": "?", "What?": "[1]"})
    assert (report.labelled, report.unreadable, report.input_tokens) == (1, ("Who?",), 200)
    report, records = label(tmp_path, {"Who?": "[2]", "What?": "[3]"})
    assert (report.labelled, report.unreadable, report.input_tokens) == (2, (), 300)
    assert [record["labels"] for record in records] == [[0, 1, 0, 0], [1, 0, 0, 0]]


def test_the_same_question_twice_is_asked_once(tmp_path: Path) -> None:
    chat = FakeChat(replies={"Who?": "[2]"}, prompts=[])
    report = label_with_llm(make_passages("Who?", "Who?"), chat, tmp_path / "out.jsonl", show_progress=False)
    assert (report.input_tokens, len(chat.prompts)) == (100, 1)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


def test_tokens_and_cost_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chat = FakeChat(replies={"Who?": "[2]"}, prompts=[])
    label_with_llm(make_passages("Who?"), chat, tmp_path / "out.jsonl", prices=(10_000.0, 25_000.0))
    assert "100 tokens read, 10 written, cost 1.25" in capsys.readouterr().err


def test_a_model_that_does_not_count(tmp_path: Path) -> None:
    chat = FakeChat(replies={"Who?": "[2]"}, prompts=[], with_usage=False)
    report = label_with_llm(make_passages("Who?"), chat, tmp_path / "out.jsonl", show_progress=False)
    assert (report.labelled, report.input_tokens, report.cost) == (1, 0, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "{question}"}, "prompt must contain {sentences}, got '{question}'"),
        ({"max_concurrency": 0}, "max_concurrency must be an integer >= 1, got 0"),
    ],
)
def test_wrong_arguments(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        label(tmp_path, {"Who?": "[1]"}, **settings)
    assert str(raised.value) == message
