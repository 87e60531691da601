"""The command line: `provence prune` and `provence rank`."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, get_args

import typer
from rich.console import Console
from typer.core import TyperGroup

from provence_rag.errors import InvalidInputError, ProvenceError
from provence_rag.options import PruningMode, PruningOptions
from provence_rag.rendering import html_page, plain_text, printable, terminal_view

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable

    from provence_rag.results import PrunedPassage

__all__ = ["app", "main"]

_LONG_INPUT = 100_000
"""Characters from which a progress bar is worth its place."""

_PREVIEW = 80
"""Characters that `rank` shows of a document without a title."""


class _Commands(TyperGroup):
    """The group of all commands: what the library raises on purpose becomes one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ProvenceError as error:
            typer.echo(f"provence: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    name="provence",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # so many options are easier to read without tables
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line on `sys.argv`."""
    # What is read is UTF-8, so what is written is too, on every system and into every pipe, with the
    # documents' own line ends.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="")
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"provence-rag {version('provence-rag')}")
        raise typer.Exit


@app.callback()
def _provence(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Rerank retrieved documents and prune their sentences, with one model."""


Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE|-",
        help="A UTF-8 text file is one document. A .jsonl file holds a document per line: a string, or an "
        "object with text (or page_content) and optionally title. - is standard input, which is also read "
        "when no FILE is given.",
        show_default=False,
    ),
]
Query = Annotated[str, typer.Option("--query", "-q", help="The question.")]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME|PATH", help="Checkpoint; the bundled one by default."),
]
Backend = Annotated[str, typer.Option(help="auto, onnx or torch.")]
Device = Annotated[str | None, typer.Option(help="Where the model runs, such as cpu or cuda:0.")]
BatchSize = Annotated[int | None, typer.Option(help="Windows per forward pass.")]
TopK = Annotated[int | None, typer.Option(help="Only this many documents, best first.")]
ScoreThreshold = Annotated[
    float | None, typer.Option(help="Only documents with at least this score, best first.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write into FILE.")]


@app.command()
def prune(
    query: Query,
    files: Files = None,
    *,
    mode: Annotated[
        PruningMode | None,
        # PruningOptions checks the value, as it does for every caller.
        typer.Option(parser=str, metavar="|".join(get_args(PruningMode)), help="How sentences are selected."),
    ] = PruningOptions.mode,
    threshold: Annotated[
        float | None, typer.Option(help="Keep sentences with at least this keep probability.")
    ] = PruningOptions.threshold,
    ratio: Annotated[
        float | None, typer.Option(help="Remove at most this share of each document.")
    ] = PruningOptions.ratio,
    max_tokens: Annotated[
        int | None, typer.Option(help="Keep at most this many tokens of all documents together.")
    ] = PruningOptions.max_tokens,
    min_sentences: Annotated[
        int, typer.Option(help="Keep at least this many sentences of each document.")
    ] = PruningOptions.min_sentences,
    context_before: Annotated[
        int, typer.Option(help="Also keep this many sentences before each selected one.")
    ] = PruningOptions.context_before,
    context_after: Annotated[
        int, typer.Option(help="Also keep this many sentences after each selected one.")
    ] = PruningOptions.context_after,
    keep_title: Annotated[
        bool, typer.Option("--keep-title", help="Keep a document's title with whatever is kept of it.")
    ] = PruningOptions.keep_title,
    keep_headings: Annotated[
        bool, typer.Option("--keep-headings", help="Keep the Markdown headings above kept sentences.")
    ] = PruningOptions.keep_headings,
    language: Annotated[
        str, typer.Option(help="ISO 639-1 code of the documents, or auto.")
    ] = PruningOptions.language,
    top_k: TopK = None,
    score_threshold: ScoreThreshold = None,
    reorder: Annotated[bool, typer.Option(help="Best document first, or the order given.")] = False,
    model: Model = None,
    backend: Backend = "auto",
    device: Device = None,
    batch_size: BatchSize = None,
    as_json: AsJson = False,
    html: Annotated[bool, typer.Option("--html", help="Write a web page.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Write only the pruned texts.")] = False,
    output: Output = None,
) -> None:
    """Drop the sentences that do not help to answer the query."""
    _check_exclusive({"--json": as_json, "--html": html, "--plain": plain})
    options = PruningOptions(
        mode=mode,
        threshold=threshold,
        ratio=ratio,
        max_tokens=max_tokens,
        min_sentences=min_sentences,
        context_before=context_before,
        context_after=context_after,
        keep_title=keep_title,
        keep_headings=keep_headings,
        language=language,
    )
    passages = _process(
        query,
        _read_documents(files),
        options,
        model=model,
        backend=backend,
        device=device,
        batch_size=batch_size,
        top_k=top_k,
        score_threshold=score_threshold,
        reorder=reorder,
    )
    if as_json:
        _write(_json([passage.to_dict() for passage in passages]), output)
    elif html:
        _write(html_page(query, passages), output)
    elif plain:
        _write(f"{plain_text(passages)}\n", output)
    else:
        _write(terminal_view(passages, query), output)


@app.command()
def rank(
    query: Query,
    files: Files = None,
    *,
    top_k: TopK = None,
    score_threshold: ScoreThreshold = None,
    model: Model = None,
    backend: Backend = "auto",
    device: Device = None,
    batch_size: BatchSize = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """List the documents by their relevance to the query, best first."""
    documents = _read_documents(files)
    passages = _process(
        query,
        documents,
        PruningOptions(mode="off"),
        model=model,
        backend=backend,
        device=device,
        batch_size=batch_size,
        top_k=top_k,
        score_threshold=score_threshold,
        reorder=True,
    )
    if as_json:
        _write(_json([_ranked(passage) for passage in passages]), output)
    else:
        lines = [f"{passage.score:.4f}  {documents[passage.index].preview}\n" for passage in passages]
        _write("".join(lines), output)


def _ranked(passage: PrunedPassage) -> dict[str, Any]:
    """The keys of sentence-transformers' `CrossEncoder.rank`, and the title."""
    return {
        "corpus_id": passage.index,
        "score": passage.score,
        "title": passage.title,
        "text": passage.document,
    }


def _process(
    query: str,
    documents: Sequence[_Document],
    options: PruningOptions,
    *,
    model: str | None,
    backend: str,
    device: str | None,
    batch_size: int | None,
    top_k: int | None,
    score_threshold: float | None,
    reorder: bool,
) -> list[PrunedPassage]:
    # Imported here: --help should not wait for an inference engine.
    from provence_rag import Provence

    is_long = sum(len(document.text) for document in documents) >= _LONG_INPUT
    return Provence.from_pretrained(model, backend=backend, device=device).process(
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
        raise InvalidInputError(f"{' and '.join(given)} exclude each other")


# Reading


@dataclass(frozen=True)
class _Document:
    """A document and where it came from."""

    text: str
    title: str | None
    source: str

    @property
    def preview(self) -> str:
        """One line to know it by: its source, and its title or first characters."""
        line = " ".join(printable(self.title or self.text[:_PREVIEW]).split())
        return f"{printable(self.source)}  {line}"


def _read_documents(files: Sequence[str] | None) -> list[_Document]:
    if not files and sys.stdin.isatty():
        raise InvalidInputError("no documents: give a FILE, or pipe text into standard input")
    return [document for file in files or ["-"] for document in _read_file(file)]


def _read_file(file: str) -> Iterator[_Document]:
    text = _decode(_read_bytes(file), file)
    if file.lower().endswith(".jsonl"):
        # Not str.splitlines: JSON strings may hold line separators that are not newlines.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield _parse_line(line, f"{file}:{number}")
    else:
        yield _Document(text, None, file)


def _read_bytes(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{file}: {error.strerror}") from error


def _decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")  # editors on Windows write a byte order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(f"{file}:{line}: not UTF-8: {error.reason}") from error


def _parse_line(line: str, source: str) -> _Document:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{source}: not JSON: {error.msg} at column {error.colno}") from error
    if isinstance(entry, str):
        return _Document(entry, None, source)
    text = entry.get("text", entry.get("page_content")) if isinstance(entry, dict) else None
    if not isinstance(text, str):
        raise InvalidInputError(f"{source}: expected a string, or an object with text or page_content")
    title = entry.get("title")
    if not isinstance(title, str | None):
        raise InvalidInputError(f"{source}: title must be a string, got {title!r}")
    return _Document(text, title, source)


# Writing


def _json(value: Any) -> str:
    # ASCII, so that a lone surrogate is an escape and no reader needs to know the encoding.
    return f"{json.dumps(value, indent=2)}\n"


def _write(content: str | ConsoleRenderable, output: Path | None) -> None:
    if output is None:
        _write_to_stdout(content)
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as stream:
            _write_to(stream, content)
    except OSError as error:
        raise InvalidInputError(f"{output}: {error.strerror}") from error


def _write_to_stdout(content: str | ConsoleRenderable) -> None:
    try:
        _write_to(sys.stdout, content)
    except OSError as error:
        # Who reads the pipe has seen enough (`| head`); Windows calls that an invalid argument.
        if error.errno not in (errno.EPIPE, errno.EINVAL):
            raise
        # Python flushes once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from error


def _write_to(stream: TextIO, content: str | ConsoleRenderable) -> None:
    if isinstance(content, str):
        stream.write(content)
    else:
        console = Console(file=stream)
        # Lines are broken for a screen only: in a file they would not be the document's.
        console.print(content, soft_wrap=not console.is_terminal)
    stream.flush()  # here, where a closed pipe is noticed, and not when Python ends


if __name__ == "__main__":
    main()
