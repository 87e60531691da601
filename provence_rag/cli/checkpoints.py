"""`provence inspect`, `verify` and `export`: describe, check and convert a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provence_rag.cli.options import choice
from provence_rag.cli.writing import to_json, write
from provence_rag.errors import InvalidInputError
from provence_rag.hub import TORCH_WEIGHTS, checkpoint_directory, read_card
from provence_rag.modeling import Format
from provence_rag.options import PruningOptions
from provence_rag.rendering import printable

if TYPE_CHECKING:
    from provence_rag.modeling.checkpoints import Published, Summary
    from provence_rag.provence import Provence

__all__ = ["export", "inspect", "verify"]

_SCORE_TOLERANCE = 0.005
"""Published scores were computed in half precision, or are rounded."""

Name = Annotated[str, typer.Argument(metavar="NAME|PATH", help="A checkpoint on the hub, or a directory.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


def inspect(name: Name, *, revision: Revision = None, as_json: AsJson = False) -> None:
    """Describe a checkpoint: family, size, languages, licence, window, threshold and heads."""
    from provence_rag.modeling.checkpoints import summarize

    summary = summarize(checkpoint_directory(name, revision=revision))
    if as_json:
        write(to_json(summary.to_dict()), None)
    else:
        # The text of a card or a config is not trusted.
        write("".join(f"{label:<16}{printable(value)}\n" for label, value in _lines(summary)), None)
    if summary.non_commercial:
        message = "the licence allows non-commercial use only: read it before you use this checkpoint"
        typer.echo(f"warning: {message}", err=True)


def _lines(summary: Summary) -> list[tuple[str, str]]:
    unknown = "unknown"
    size = summary.num_parameters
    return [
        ("family", summary.family),
        ("architecture", summary.architecture or unknown),
        ("parameters", unknown if size is None else f"{size:,}"),
        ("heads", ", ".join(summary.heads)),
        ("languages", ", ".join(summary.languages) or unknown),
        ("licence", summary.licence or unknown),
        ("window", f"{summary.max_length} tokens"),
        ("threshold", f"{summary.threshold:g}"),
        ("scores", {"sigmoid": "probabilities", "identity": "logits"}[summary.score_activation]),
        ("weights", ", ".join(summary.weights) or "none"),
    ]


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """A published figure and ours."""

    what: str
    published: float
    ours: float
    agrees: bool

    def __str__(self) -> str:
        verdict = "agrees" if self.agrees else "DIFFERS"
        return f"{self.what:<28}{self.published:>12.6g}{self.ours:>12.6g}  {verdict}"


def verify(
    name: Name,
    *,
    published_as: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="The published checkpoint that DIR is a copy of."),
    ] = None,
    revision: Revision = None,
    as_json: AsJson = False,
) -> None:
    """Run the example of a published checkpoint's card and compare its figures with ours."""
    from provence_rag import Provence
    from provence_rag.modeling.checkpoints import PUBLISHED, example_of_card

    published = PUBLISHED.get(published_as or name)
    if published is None:
        raise InvalidInputError(
            f"no published figures are known for {published_as or name!r}, only for "
            f"{', '.join(sorted(PUBLISHED))}: if it is a copy of one of these, name that with --as"
        )
    card = read_card(checkpoint_directory(name, revision=revision, weights=[]))[1]
    question, context = example_of_card(card)
    model = Provence.from_pretrained(name, revision=revision)
    rows = _compare(model, question, context, published)
    if as_json:
        write(to_json([asdict(row) for row in rows]), None)
    else:
        lines = [f"{'':<28}{'published':>12}{'ours':>12}", *map(str, rows), f"published: {published.source}"]
        write("\n".join([*lines, ""]), None)
    if not all(row.agrees for row in rows):
        raise typer.Exit(1)


def _compare(model: Provence, question: str, context: str, published: Published) -> list[_Comparison]:
    rows = []
    for expected in published.outputs:
        options = PruningOptions(threshold=published.threshold, keep_title=expected.keep_title)
        (passage,) = model.process(question, [context], options=options)
        score, num_kept = passage.score or 0.0, len(passage.text.strip())
        suffix = ", with title" if expected.keep_title else ""
        agrees = abs(score - expected.score) <= _SCORE_TOLERANCE
        rows += [
            _Comparison(what=f"score{suffix}", published=expected.score, ours=score, agrees=agrees),
            _Comparison(
                what=f"characters kept{suffix}",
                published=expected.num_kept,
                ours=num_kept,
                agrees=num_kept == expected.num_kept,
            ),
        ]
    return rows


def export(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A checkpoint on the hub, or a directory.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to write to.")],
    *,
    to: Annotated[Format, choice(Format, "Format to write.")] = "safetensors",
    revision: Revision = None,
) -> None:
    """Convert a checkpoint of any family to a common layout that loads fast."""
    from provence_rag.modeling.convert import convert

    convert(checkpoint_directory(source, revision=revision, weights=[TORCH_WEIGHTS]), directory, to)
    typer.echo(f"wrote {directory}", err=True)
