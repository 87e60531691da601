"""`provence augment`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provence_rag.errors import InvalidInputError
from provence_training.augmentation import FORMS, LANGUAGES
from provence_training.cli.extra import needs_extra

if TYPE_CHECKING:
    from provence_training.augmentation import AugmentedPage

__all__ = ["augment"]

_FORMS_HELP = "; ".join(
    f"{form.name} ({form.description}{'' if form.languages == LANGUAGES else f', {form.languages[0]} only'})"
    for form in FORMS.values()
)


def augment(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="Passages with questions and marked answers: files, directories or names on the hub, as for "
            "training.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The .jsonl or .jsonl.gz file to write.",
            show_default=False,
        ),
    ],
    count: Annotated[int, typer.Option(metavar="N", help="Pages to make.")] = 1000,
    forms: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME...", help=f"Forms to make, by default all: {_FORMS_HELP}."),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(LANGUAGES),
            help="Use the passages in this language; repeatable. By default all are used.",
        ),
    ] = None,
    paraphrase: Annotated[
        float,
        typer.Option(
            help="Share of the entries of FAQ pages, dialogues, lists and records whose query words the "
            "question differently from the page."
        ),
    ] = 0.3,
    bi_encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Also take other wordings from the nearest questions of the data, found by this bi-encoder.",
        ),
    ] = None,
    similarity: Annotated[
        tuple[float, float],
        typer.Option(
            metavar="LOW HIGH",
            help="Cosine similarities of such questions; the defaults suit all-mpnet-base-v2.",
        ),
    ] = (0.8, 0.985),
    query_prefix: Annotated[
        str | None, typer.Option(help="What the bi-encoder expects before a question.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where it runs, such as cpu or cuda:0.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same pages.")] = 0,
) -> None:
    """Make training pages of many forms, such as FAQ, records and captions, from passages with questions."""
    with needs_extra("augment"):
        from provence_training.augmentation import Wordings
        from provence_training.augmentation import augment as run
        from provence_training.augmentation.neighbours import nearest_questions
        from provence_training.data import JSON_LINES, load_passages, write_json_lines

    if not output.name.endswith(JSON_LINES):
        raise InvalidInputError(f"--output must end with {' or '.join(JSON_LINES)}, got {output.name!r}")
    languages = language or LANGUAGES
    loaded = [passage for name in data for passage in load_passages(name)]
    passages = [passage for passage in loaded if passage.language in languages]
    wordings = None
    if bi_encoder is not None:
        neighbours = nearest_questions(
            passages,
            bi_encoder,
            similarity=similarity,
            query_prefix=query_prefix,
            device=device,
            show_progress=sys.stderr.isatty(),
        )
        wordings = Wordings(neighbours)
    pages = run(
        passages,
        count=count,
        forms=list(FORMS) if forms is None else [name.strip() for name in forms.split(",")],
        languages=languages,
        paraphrase=paraphrase,
        wordings=wordings,
        seed=seed,
    )
    made: Counter[str] = Counter()
    write_json_lines(output, (page.to_record() for page in _counted(pages, made)))
    per_form = ", ".join(f"{made[name]} {name}" for name in FORMS if made[name])
    typer.echo(
        f"wrote {output}: {count} pages ({per_form}); {made['questions']} questions, {made['reworded']} of "
        "them worded differently from the page",
        err=True,
    )
    if unused := Counter(p.language for p in loaded if p.language not in languages):
        left_out = ", ".join(f"{number} in {name}" for name, number in unused.most_common())
        typer.echo(f"passages in other languages were left out: {left_out}", err=True)


def _counted(pages: Iterator[AugmentedPage], made: Counter[str]) -> Iterator[AugmentedPage]:
    """Yield the pages and count their forms and questions."""
    for page in pages:
        made[page.form] += 1
        made["questions"] += len(page.questions)
        made["reworded"] += sum(question.reworded for question in page.questions)
        yield page
