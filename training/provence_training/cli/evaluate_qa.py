"""`provence evaluate-qa`."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from provence_rag.errors import InvalidInputError
from provence_training.cli.extra import needs_extra
from provence_training.cli.options import Backend, Dtype

__all__ = ["evaluate_qa"]


def evaluate_qa(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Passages with questions and answer spans: JSON Lines, plain or compressed, or Parquet.",
            show_default=False,
        ),
    ],
    *,
    llm: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="Chat model that answers: LangChain's PROVIDER:MODEL, or a model's name with --llm-url.",
            show_default=False,
        ),
    ],
    llm_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Server with OpenAI's API, such as http://host:8000/v1.")
    ] = None,
    llm_args: Annotated[
        str,
        typer.Option(
            metavar="JSON",
            help='Arguments of the chat model, over {"temperature": 0, "max_tokens": 48}; null omits one.',
            show_default=False,
        ),
    ] = "{}",
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            "-s",
            metavar="NAME",
            help="What the LLM reads, given several times: none, all, rerank:N, prune, prune:NAME=VALUE,..., "
            "oracle. By default all and prune.",
        ),
    ] = None,
    k: Annotated[
        list[int] | None,
        typer.Option("-k", help="Passages that the retriever gives, given several times. By default 5."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Questions of each file, at most, in a random sample; a smaller one is part of a larger."
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(help="Questions asked at the same time; more than 1 lengthens the times measured.")
    ] = 1,
    replies: Annotated[
        Path,
        typer.Option(
            "--cache", metavar="FILE", help="Where the replies are stored, so that none is asked for twice."
        ),
    ] = Path("qa-replies.jsonl"),
    cached_only: Annotated[
        bool, typer.Option("--cached-only", help="Ask nothing; report on the questions with all replies.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME|PATH", help="Checkpoint; the bundled one by default."),
    ] = None,
    backend: Backend = "auto",
    device: Annotated[
        str | None, typer.Option(help="Where the checkpoint runs, such as cpu or cuda:0.")
    ] = None,
    dtype: Dtype = None,
) -> None:
    """Measure what reranking and pruning do to an LLM's answers, tokens and time."""
    with needs_extra("evaluate-qa", "qa"):
        from provence_rag import Provence
        from provence_rag.cli.writing import to_json, write
        from provence_training.qa.cache import CachedChat
        from provence_training.qa.evaluator import QAEvaluator
        from provence_training.qa.llm import ChatModel
        from provence_training.qa.questions import load_questions
        from provence_training.qa.strategies import parse_strategy

    @cache
    def loaded() -> Provence:
        return Provence.from_pretrained(model, backend=backend, device=device, dtype=dtype)  # type: ignore[arg-type]

    # Everything that can be wrong first, before an LLM is paid.
    strategies = [parse_strategy(one, loaded) for one in strategy or ("all", "prune")]
    depths = sorted(set(k or (5,)))
    chat = CachedChat(ChatModel(llm, url=llm_url, parameters=_arguments(llm_args)), replies)
    evaluator = QAEvaluator(chat, strategies, k=depths, concurrency=concurrency)
    sets = {path.name.split(".")[0]: load_questions(path, k=depths[-1], limit=limit) for path in files}
    result = {}
    for name, questions in sets.items():
        answered = evaluator.answer(questions, stored_only=cached_only, show_progress=sys.stderr.isatty())
        complete = [(q, a) for q, a in zip(questions, answered, strict=True) if a is not None]
        result[name] = {
            "questions": len(complete),
            **{
                f"{one} @{depth}": {
                    "match": sum(
                        any(gold.lower() in a[depth, one].reply.text.lower() for gold in q.answers)
                        for q, a in complete
                    ),
                    "seconds": sum(a[depth, one].reply.seconds for _, a in complete),
                    "context_seconds": sum(a[depth, one].context_seconds for _, a in complete),
                }
                for depth in depths
                for one in (s.name for s in strategies)
            },
        }
    write(to_json(result), None)


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"--llm-args must be a JSON object, got {text!r}: {error}") from error
    if not isinstance(arguments, dict):
        raise InvalidInputError(f"--llm-args must be a JSON object, got {text!r}")
    return arguments
