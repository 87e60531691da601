"""`provence prune-table`: a file of questions and passages, of any size."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from provence_rag.cli.options import with_pruning_options
from provence_rag.cli.passages import Backend, BatchSize, Device, Model, Threads
from provence_rag.options import PruningOptions

__all__ = ["prune_table"]

_FILE = "A .parquet file (needs the extra tables), or one of JSON Lines: .jsonl, or .jsonl.gz."


@with_pruning_options
def prune_table(
    source: Annotated[Path, typer.Argument(metavar="IN", help=_FILE, show_default=False)],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write, in the same format.", show_default=False)
    ],
    *,
    query: Annotated[str, typer.Option("--query", "-q", metavar="COLUMN", help="Column of the questions.")],
    documents: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Column of the documents: in each row a passage or a list of passages, each a string or an "
            "object with text (or page_content) and optionally title.",
        ),
    ],
    titles: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the titles.")] = None,
    options: PruningOptions,
    sentence_scores: Annotated[
        bool, typer.Option("--sentence-scores", help="Also write the span and the score of each sentence.")
    ] = False,
    prefix: Annotated[str, typer.Option(help="What the names of the new columns begin with.")] = "",
    skip_bad_rows: Annotated[
        bool,
        typer.Option(
            "--skip-bad-rows",
            help="Write null for rows without a question, or with a cell that cannot be read, and warn. A "
            "line that is not a JSON object still ends the run, and so does a first record without the keys.",
        ),
    ] = False,
    rows_per_group: Annotated[
        int | None,
        typer.Option(help="Maximum rows per row group; at most this many are redone after an interruption."),
    ] = None,
    model: Model = None,
    backend: Backend = "auto",
    device: Device = None,
    threads: Threads = None,
    batch_size: BatchSize = None,
    score_cache: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="SQLite file of scores: no passage is read twice for a question."),
    ] = None,
) -> None:
    """Prune the passages of a table: add columns with pruned text, kept spans and relevance score.

    The file is read and written as a stream. A run that was interrupted continues where it left off when the
    same command is given again.
    """
    # Imported here so that --help does not wait for an inference engine.
    from provence_rag.batches import ProvenceBatch
    from provence_rag.batches.files import prune_file

    batch = ProvenceBatch(
        query,
        documents,
        titles=titles,
        model=model,
        options=options,
        batch_size=batch_size,
        sentence_scores=sentence_scores,
        prefix=prefix,
        skip_bad_rows=skip_bad_rows,
        backend=backend,
        device=device,
        threads=threads,
        score_cache=score_cache,
    )
    start = time.perf_counter()
    pruned = prune_file(
        source, target, batch, rows_per_group=rows_per_group, show_progress=sys.stderr.isatty()
    )
    seconds = time.perf_counter() - start
    rows = "1 row" if pruned.now == 1 else f"{pruned.now:,} rows"
    in_all = "" if pruned.now == pruned.in_all else f"; {pruned.in_all:,} in all"
    rate = pruned.now / seconds
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}"
    typer.echo(f"wrote {target}: {rows} in {seconds:,.1f} s ({shown} rows/s){in_all}", err=True)
