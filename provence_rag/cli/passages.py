"""`provence prune` and `provence rank`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provence_rag.backends import BackendName
from provence_rag.cli.options import choice, with_pruning_options
from provence_rag.cli.reading import Document, read_documents
from provence_rag.cli.writing import to_json, write
from provence_rag.errors import InvalidInputError
from provence_rag.options import PruningOptions
from provence_rag.rendering import html_page, plain_text, terminal_view
from provence_rag.results import finite

if TYPE_CHECKING:
    from provence_rag.results import PrunedPassage

__all__ = ["prune", "rank"]

_LONG_INPUT = 100_000
"""Number of characters from which a progress bar is shown."""

Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE|-",
        help="A UTF-8 text file is one document. A .json file may hold an array of documents, a .jsonl file "
        "has one per line; each is a string, or an object with text (or page_content) and optionally title. "
        "Other JSON in a .json file is one document, pruned by record. - is standard input, a text; it is "
        "also read if no FILE is given.",
        show_default=False,
    ),
]
Query = Annotated[str, typer.Option("--query", "-q", help="The question.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|PATH|URL",
        help="Checkpoint, or a server with one (API key: PROVENCE_API_KEY); the bundled one by default.",
    ),
]
Backend = Annotated[BackendName, choice(BackendName, "Engine that runs the model.")]
Device = Annotated[str | None, typer.Option(help="Device of the model, such as cpu or cuda:0.")]
Threads = Annotated[int | None, typer.Option(help="Threads on a CPU; one per core by default.")]
BatchSize = Annotated[int | None, typer.Option(help="Windows per forward pass.")]
TopK = Annotated[int | None, typer.Option(help="Maximum number of documents, best first.")]
ScoreThreshold = Annotated[float | None, typer.Option(help="Minimum score of a document; best first.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to FILE.")]


@with_pruning_options
def prune(
    query: Query,
    files: Files = None,
    *,
    options: PruningOptions,
    top_k: TopK = None,
    score_threshold: ScoreThreshold = None,
    reorder: Annotated[bool, typer.Option(help="Best document first, instead of the order given.")] = False,
    model: Model = None,
    backend: Backend = "auto",
    device: Device = None,
    threads: Threads = None,
    batch_size: BatchSize = None,
    as_json: AsJson = False,
    html: Annotated[bool, typer.Option("--html", help="Write a web page.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Write only the pruned texts.")] = False,
    output: Output = None,
) -> None:
    """Remove the sentences that do not help to answer the query."""
    _check_exclusive({"--json": as_json, "--html": html, "--plain": plain})
    passages = _process(
        query,
        read_documents(files),
        options,
        model=model,
        backend=backend,
        device=device,
        threads=threads,
        batch_size=batch_size,
        top_k=top_k,
        score_threshold=score_threshold,
        reorder=reorder,
    )
    if as_json:
        write(to_json([passage.to_dict() for passage in passages]), output)
    elif html:
        write(html_page(query, passages), output)
    elif plain:
        write(f"{plain_text(passages)}\n", output)
    else:
        write(terminal_view(passages, query), output)


def rank(
    query: Query,
    files: Files = None,
    *,
    top_k: TopK = None,
    score_threshold: ScoreThreshold = None,
    model: Model = None,
    backend: Backend = "auto",
    device: Device = None,
    threads: Threads = None,
    batch_size: BatchSize = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """List the documents by their relevance to the query, best first."""
    documents = read_documents(files)
    passages = _process(
        query,
        documents,
        PruningOptions(mode="off"),
        model=model,
        backend=backend,
        device=device,
        threads=threads,
        batch_size=batch_size,
        top_k=top_k,
        score_threshold=score_threshold,
        reorder=True,
    )
    if as_json:
        write(to_json([_ranked(passage) for passage in passages]), output)
    else:
        lines = [f"{passage.score:.4f}  {documents[passage.index].preview}\n" for passage in passages]
        write("".join(lines), output)


def _ranked(passage: PrunedPassage) -> dict[str, Any]:
    """The keys of sentence-transformers' `CrossEncoder.rank`, and the title."""
    return {
        "corpus_id": passage.index,
        "score": finite(passage.score),
        "title": passage.title,
        "text": passage.document,
    }


def _process(
    query: str,
    documents: Sequence[Document],
    options: PruningOptions,
    *,
    model: str | None,
    backend: BackendName,
    device: str | None,
    threads: int | None,
    batch_size: int | None,
    top_k: int | None,
    score_threshold: float | None,
    reorder: bool,
) -> list[PrunedPassage]:
    # Imported here so that --help does not wait for an inference engine.
    from provence_rag import Provence

    is_long = sum(len(document.text) for document in documents) >= _LONG_INPUT
    return Provence.from_pretrained(model, backend=backend, device=device, threads=threads).process(
        query,
        [document.text for document in documents],
        titles=[document.title for document in documents],
        options=options,
        top_k=top_k,
        score_threshold=score_threshold,
        reorder=reorder,
        batch_size=batch_size,
        show_progress=is_long and sys.stderr.isatty(),
    )


def _check_exclusive(flags: dict[str, bool]) -> None:
    given = [name for name, is_given in flags.items() if is_given]
    if len(given) > 1:
        raise InvalidInputError(f"{' and '.join(given)} cannot be combined")
