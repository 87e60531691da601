"""`provence evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from provence_training.cli.extra import needs_extra
from provence_training.cli.options import Backend, Distractors, Dtype, Limit

__all__ = ["evaluate"]


def evaluate(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="JSON Lines, plain or gzip-compressed: passages with questions and answer spans, or "
            "questions with ranked, graded documents.",
            show_default=False,
        ),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME|PATH", help="Checkpoint; the bundled one by default."),
    ] = None,
    backend: Backend = "auto",
    device: Annotated[str | None, typer.Option(help="Where the models run, such as cpu or cuda:0.")] = None,
    dtype: Dtype = None,
    distractors: Distractors = 9,
    limit: Limit = None,
    k: Annotated[int, typer.Option(help="Ranks that count for nDCG.")] = 10,
    relevant_grade: Annotated[
        int, typer.Option(help="Lowest grade of a relevant document, for MAP, MRR and AUC.")
    ] = 1,
    embedding_filter: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH", help="A bi-encoder, whose similarities are measured as a filter as well."
        ),
    ] = None,
    query_prefix: Annotated[
        str | None, typer.Option(help="What the bi-encoder expects before a question.")
    ] = None,
    passage_prefix: Annotated[
        str | None, typer.Option(help="What it expects before a passage or sentence.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Also write the report and plots to DIR."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure ranking and pruning on questions with known answers, beside BM25 and an embedding filter."""
    with needs_extra("evaluate"):
        from provence_rag import Provence
        from provence_rag.cli.writing import to_json, write
        from provence_training.evaluation import EmbeddingFilter, ProvenceEvaluator

    # The model first, so that a wrong name fails at once.
    loaded = Provence.from_pretrained(model, backend=backend, device=device, dtype=dtype)  # type: ignore[arg-type]
    baseline = None
    if embedding_filter is not None:
        baseline = EmbeddingFilter(
            embedding_filter, query_prefix=query_prefix, passage_prefix=passage_prefix, device=device
        )
    evaluator = ProvenceEvaluator(
        files,
        distractors=distractors,
        limit=limit,
        k=k,
        relevant_grade=relevant_grade,
        embedding_filter=baseline,
    )
    report = evaluator(loaded, show_progress=sys.stderr.isatty())
    if output is not None:
        report.save(output)
    write(to_json(report.to_dict()) if as_json else report.to_markdown(), None)
