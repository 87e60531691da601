"""Sentence labels from an LLM, which answers each question and cites the sentences it used."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_count
from provence_training.cache import content_key
from provence_training.data import write_json_lines
from provence_training.data.passages import Passage, Question, sentence_labels

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["PROMPT", "LabelReport", "label_with_llm"]

PROMPT = """\
Below are a question and a passage. The sentences of the passage are numbered.

Answer the question as briefly as you can, with nothing but what the passage says. After each statement,
give the numbers of all sentences that it rests on, in square brackets: [2] or [1][4]. If the passage does
not answer the question, your whole reply is: No answer

Question: {question}

Passage:
{sentences}

Answer:"""
"""After the "answer" prompt of Provence (arXiv 2501.16214, section 3): an LLM that must answer judges
better what is needed than one that is asked which sentences are relevant."""

_ROUNDS = 4
"""Questions asked per concurrent request before an error ends the call."""

_CITATION = re.compile(r"\[(\d[\d\s,;–-]*)\]")
_NUMBERS = re.compile(r"(\d+)(?:\s*[–-]\s*(\d+))?")
_NO_ANSWER = re.compile(r"\W*no answer\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """The outcome of labelling, and its cost."""

    labelled: int
    """Questions with labels in the output, `no_answer` included."""

    no_answer: int
    """Questions that their passage does not answer."""

    unreadable: tuple[str, ...]
    """Ids of questions whose reply cites nothing, or sentences that do not exist. They are not in the output;
    another call asks them again."""

    input_tokens: int
    """Tokens read, over all calls for this output, as the model's provider counts them."""

    output_tokens: int
    """Tokens written, likewise."""

    cost: float | None
    """The cost at the given prices."""


def label_with_llm(
    passages: Sequence[Passage],
    chat_model: BaseChatModel,
    output: str | Path,
    *,
    prompt: str = PROMPT,
    prices: tuple[float, float] | None = None,
    max_concurrency: int = 8,
    show_progress: bool = True,
) -> LabelReport:
    """Label the sentences of passages, and write them as training data.

    Every question without marked answers is asked. Each reply is stored at once beside the output
    (`OUTPUT.replies.jsonl`): after an interruption or an error, the same call continues where it was.

    Args:
        passages: From `load_passages`. Questions with marked answers are written unchanged.
        chat_model: Any chat model of LangChain.
        output: The file of JSON Lines to write, with labelled sentences.
        prompt: The prompt, with `{question}` and `{sentences}`.
        prices: Prices of a million tokens read and written, in any currency.
        max_concurrency: Questions asked at the same time.
        show_progress: Show a bar with the tokens so far and their cost.

    Returns:
        Counts, tokens and cost.

    Raises:
        InvalidInputError: `prompt` lacks a part, or `max_concurrency` is less than 1.
    """
    for part in ("{question}", "{sentences}"):
        if part not in prompt:
            raise InvalidInputError(f"prompt must contain {part}, got {prompt!r}")
    check_count("max_concurrency", max_concurrency, 1)
    rows = [_Row(passage, question, prompt) for passage in passages for question in passage.questions]
    replies = _Replies(Path(f"{output}.replies.jsonl"), prices)
    # The same question with the same passage is asked once.
    waiting = list({row.key: row for row in rows if row.is_open and replies.labels(row) is None}.values())
    with tqdm(total=len(waiting), disable=not show_progress, unit="question") as bar:
        bar.set_postfix_str(replies.usage)
        for start in range(0, len(waiting), _ROUNDS * max_concurrency):
            some = waiting[start : start + _ROUNDS * max_concurrency]
            _ask(chat_model, some, replies, max_concurrency)
            bar.set_postfix_str(replies.usage, refresh=False)
            bar.update(len(some))
    labelled = [(row, replies.labels(row) if row.is_open else row.known) for row in rows]
    write_json_lines(output, (_record(row, labels) for row, labels in labelled if labels))
    asked = [(row, labels) for row, labels in labelled if row.is_open]
    return LabelReport(
        labelled=sum(labels is not None for _, labels in asked),
        no_answer=sum(labels is not None and not any(labels) for _, labels in asked),
        unreadable=tuple(row.question.id for row, labels in asked if labels is None),
        input_tokens=replies.input_tokens,
        output_tokens=replies.output_tokens,
        cost=replies.cost,
    )


class _Row:
    """A question with its passage, and the prompt for the LLM."""

    def __init__(self, passage: Passage, question: Question, prompt: str) -> None:
        self.passage = passage
        self.question = question
        self.is_open = question.answers is None and bool(passage.sentences)
        self.known = sentence_labels(passage.sentences, question.answers or ())
        numbered = [
            f"[{number}] {' '.join(passage.text[s.start : s.end].split())}"
            for number, s in enumerate(passage.sentences, 1)
        ]
        self.prompt = prompt.format(question=question.text, sentences="\n".join(numbered))
        self.key = content_key(self.prompt).hex()

    def read(self, reply: str) -> list[int] | None:
        """A label for each sentence; None if the reply is unreadable."""
        labels = [0] * len(self.passage.sentences)
        cited = [pair for citation in _CITATION.findall(reply) for pair in _NUMBERS.findall(citation)]
        if not cited:
            return labels if _NO_ANSWER.match(reply) else None
        for first, last in cited:
            numbers = range(int(first), int(last or first) + 1)
            if not numbers or numbers[0] < 1 or numbers[-1] > len(labels):
                return None
            for number in numbers:
                labels[number - 1] = 1
        return labels


def _ask(chat_model: BaseChatModel, rows: Sequence[_Row], replies: _Replies, max_concurrency: int) -> None:
    """Ask some questions at the same time. The first error is raised once all other replies are stored."""
    prompts: list[Any] = [row.prompt for row in rows]
    errors = []
    for index, message in chat_model.batch_as_completed(
        prompts, config={"max_concurrency": max_concurrency}, return_exceptions=True
    ):
        if isinstance(message, Exception):
            errors.append(message)
        else:
            replies.add(rows[index], message)
    if errors:
        raise errors[0]


class _Replies:
    """The replies, in a file that grows."""

    def __init__(self, path: Path, prices: tuple[float, float] | None) -> None:
        self._path = path
        self._prices = prices
        self._replies: dict[str, str] = {}
        self.input_tokens = self.output_tokens = 0
        if path.exists():
            for line in path.read_bytes().split(b"\n"):
                try:
                    self._note(json.loads(line))
                except ValueError:  # the last line, if the process died while it was written
                    continue

    def add(self, row: _Row, message: Any) -> None:
        """Keep a reply."""
        usage = message.usage_metadata or {}
        entry = {
            "key": row.key,
            "question": row.question.text,
            "reply": str(message.text),
            "input_tokens": usage.get("input_tokens", 0),
            "output_tokens": usage.get("output_tokens", 0),
        }
        with self._path.open("ab") as file:
            # First end a line that was cut off.
            file.write(b"\n" * bool(file.tell()) + json.dumps(entry, ensure_ascii=False).encode())
        self._note(entry)

    def _note(self, entry: dict[str, Any]) -> None:
        self._replies[entry["key"]] = entry["reply"]
        self.input_tokens += entry["input_tokens"]
        self.output_tokens += entry["output_tokens"]

    def labels(self, row: _Row) -> list[int] | None:
        """The labels from the reply to a question; None without a readable reply."""
        reply = self._replies.get(row.key)
        return None if reply is None else row.read(reply)

    @property
    def cost(self) -> float | None:
        if self._prices is None:
            return None
        return (self.input_tokens * self._prices[0] + self.output_tokens * self._prices[1]) / 1e6

    @property
    def usage(self) -> str:
        """Tokens and cost, for people."""
        tokens = f"{self.input_tokens:,} tokens read, {self.output_tokens:,} written"
        return tokens if self.cost is None else f"{tokens}, cost {self.cost:.2f}"


def _record(row: _Row, labels: list[int]) -> dict[str, Any]:
    """A record of labelled sentences."""
    return {
        "id": row.question.id,
        "lang": row.passage.language,
        "title": row.passage.title,
        "query": row.question.text,
        "text": row.passage.text,
        "sentences": [list(span) for span in row.passage.sentences],
        "labels": labels,
    }
