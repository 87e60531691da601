"""The `provence` command: its group, its errors, and its commands."""

from __future__ import annotations

import io
import sys
import warnings
from importlib.metadata import entry_points, version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from provence_rag.cli.checkpoints import export, inspect, verify
from provence_rag.cli.passages import prune, rank
from provence_rag.cli.tables import prune_table
from provence_rag.errors import ProvenceError

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """The group of all commands. The library's own errors become one line and exit code 2."""

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
    rich_markup_mode=None,  # a long list of options is easier to read without tables
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line on `sys.argv`."""
    # Input is UTF-8, so output is too, on every system and into every pipe, with the documents' line endings.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="")
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # of its arguments one is read
    app()


def _show_warning(message: Warning | str, *_: Any) -> None:
    """Write a warning as one line, like an error, without the line of source that caused it."""
    typer.echo(f"provence: warning: {' '.join(str(message).split())}", err=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"provence-rag {version('provence-rag')}")
        raise typer.Exit


app.command()(prune)
app.command()(rank)
app.command()(prune_table)
app.command()(inspect)
app.command()(verify)
app.command()(export)
# The training package adds its commands through entry points, since this package does not import it.
for _entry in entry_points(group="provence_rag.commands"):
    app.command(_entry.name)(_entry.load())


@app.callback()
def _provence(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Rerank retrieved documents and prune their sentences, with one model."""
