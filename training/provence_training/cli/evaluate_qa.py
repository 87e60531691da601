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
            help="Passages with questions and answer spans (JSON Lines, plain or compressed, or Parquet), or "
            "questions with answers and the passages that a retriever found (JSON Lines, plain or gzipped).",
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
            "oracle, embedding-filter:MODEL[:SHARE], llmlingua2:MODEL[:SHARE]. By default all and prune.",
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
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Strategy that the others are compared with; all by default, or without it the first one.",
        ),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Chat model that judges whether a reply is right.")
    ] = None,
    judge_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Server of the judge with OpenAI's API.")
    ] = None,
    judge_args: Annotated[
        str,
        typer.Option(
            metavar="JSON",
            help='Arguments of the judge, over {"temperature": 0, "max_tokens": 1000}; null omits one.',
            show_default=False,
        ),
    ] = "{}",
    query_prefix: Annotated[
        str | None, typer.Option(help="What the bi-encoder of embedding-filter expects before a question.")
    ] = None,
    passage_prefix: Annotated[str | None, typer.Option(help="What it expects before a sentence.")] = None,
    price_in: Annotated[
        float | None, typer.Option(help="Price of a million tokens that --llm reads, in any currency.")
    ] = None,
    price_out: Annotated[float | None, typer.Option(help="Price of a million tokens that it writes.")] = None,
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
    examples: Annotated[int, typer.Option(help="Lost answers of each strategy that the report shows.")] = 10,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME|PATH", help="Checkpoint; the bundled one by default."),
    ] = None,
    backend: Backend = "auto",
    device: Annotated[
        str | None, typer.Option(help="Where the checkpoint runs, such as cpu or cuda:0.")
    ] = None,
    dtype: Dtype = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Also write the report and plots to DIR."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure what reranking and pruning do to an LLM's answers, tokens and time."""
    with needs_extra("evaluate-qa", "qa"):
        from provence_rag import Provence
        from provence_rag.cli.writing import to_json, write
        from provence_training.qa import ChatModel, QAEvaluator, load_questions, parse_strategy
        from provence_training.qa.llm import JUDGE_DEFAULTS

    @cache
    def loaded() -> Provence:
        return Provence.from_pretrained(model, backend=backend, device=device, dtype=dtype)  # type: ignore[arg-type]

    if (price_in is None) != (price_out is None):
        raise InvalidInputError("--price-in and --price-out belong together: give both, or neither")
    if judge is None and (judge_url is not None or judge_args != "{}"):
        raise InvalidInputError("--judge-url and --judge-args belong to --judge: give it as well")
    chosen = strategy or ("all", "prune")
    prefixes = {"query_prefix": query_prefix, "passage_prefix": passage_prefix}
    if any(prefixes.values()) and not any(one.startswith("embedding-filter") for one in chosen):
        raise InvalidInputError(
            "--query-prefix and --passage-prefix belong to the strategy embedding-filter: give it as well"
        )
    depths = sorted(set(k or (5,)))
    # All that can be wrong comes before the first question, which costs time or money.
    answering = ChatModel(llm, url=llm_url, parameters=_arguments("--llm-args", llm_args))
    judging = None
    if judge is not None:
        arguments = {**JUDGE_DEFAULTS, **_arguments("--judge-args", judge_args)}
        judging = ChatModel(judge, url=judge_url, parameters=arguments)
    evaluator = QAEvaluator(
        answering,
        [parse_strategy(one, loaded, **prefixes) for one in chosen],
        k=depths,
        reference=reference,
        judge=judging,
        prices=None if price_in is None or price_out is None else (price_in, price_out),
        cache=replies,
        cached_only=cached_only,
        concurrency=concurrency,
        examples=examples,
    )
    sets = {}
    for path in files:
        name = path.name.split(".")[0]
        if name in sets:
            raise InvalidInputError(
                f"files must have different names up to the first dot, got {name!r} twice"
            )
        sets[name] = load_questions(path, k=depths[-1], limit=limit)
    report = evaluator(sets, show_progress=sys.stderr.isatty())
    if output is not None:
        report.save(output)
    write(to_json(report.to_dict()) if as_json else report.to_markdown(), None)


def _arguments(option: str, text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"{option} must be a JSON object, got {text!r}: {error}") from error
    if not isinstance(arguments, dict):
        raise InvalidInputError(f"{option} must be a JSON object, got {text!r}")
    return arguments
