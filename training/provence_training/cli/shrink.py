"""`provence shrink`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from provence_rag.errors import InvalidInputError
from provence_training.cli.extra import needs_extra

__all__ = ["shrink"]

_TEXT_FIELDS = ("text", "title", "question", "query")


def shrink(
    source: Annotated[
        str,
        typer.Argument(metavar="NAME|PATH", help="An encoder, or a Provence checkpoint.", show_default=False),
    ],
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The directory to write.", show_default=False)
    ],
    *,
    vocabulary: Annotated[
        int | None, typer.Option(metavar="N", help="Number of vocabulary pieces to keep.")
    ] = None,
    corpus: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="UTF-8 texts that decide which pieces are kept; repeatable. In .jsonl and .jsonl.gz files, "
            "every text, title, question and query counts.",
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="LAYERS",
            help="Layers of an encoder to keep: first:N, last:N, alternate:N, or numbers from 0: 0,2,4.",
        ),
    ] = None,
) -> None:
    """Make a small checkpoint from a big one: fewer vocabulary pieces and, for an encoder, fewer layers."""
    if vocabulary is None and layers is None:
        raise InvalidInputError("give --vocabulary, --layers or both: nothing is left out without them")
    if (vocabulary is None) != (not corpus):
        raise InvalidInputError(
            "give --vocabulary and --corpus together: the corpus decides which pieces are kept"
        )
    with needs_extra("shrink"):
        from transformers import AutoConfig

        from provence_rag.hub import TORCH_WEIGHTS, checkpoint_directory
        from provence_training.shrinking.checkpoint import load_tokenizer, select_layers, shrink_checkpoint
        from provence_training.shrinking.vocabulary import select_pieces

    found = checkpoint_directory(source, weights=[TORCH_WEIGHTS])
    pieces = chosen = None
    if layers is not None:
        chosen = select_layers(layers, AutoConfig.from_pretrained(found).num_hidden_layers)
    if vocabulary is not None:
        pieces = select_pieces(load_tokenizer(found), _texts(corpus or []), vocabulary)
    shrink_checkpoint(found, directory, pieces=pieces, layers=chosen)


def _texts(paths: Sequence[Path]) -> Iterator[str]:
    from provence_training.data import JSON_LINES, read_json_lines

    for path in paths:
        if not path.is_file():
            raise InvalidInputError(f"{path} is not a file")
        if path.name.endswith(JSON_LINES):
            for _, record in read_json_lines(str(path)):
                yield from _strings(record)
        else:
            try:
                with path.open(encoding="utf-8") as lines:
                    yield from lines
            except UnicodeDecodeError as error:
                raise InvalidInputError(f"{path}: not UTF-8: {error.reason}") from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, entry in value.items():
            if isinstance(entry, str) and name in _TEXT_FIELDS:
                yield entry
            elif not isinstance(entry, str):
                yield from _strings(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _strings(entry)
