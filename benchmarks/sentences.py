"""Where sentences end: our chunkers beside other splitters, on texts whose sentences people have marked.

python -m benchmarks.sentences en --rules pySBD --treebank UD_English-GUM/en_gum-ud-test.conllu
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.border_sets import Marked, golden_rules, legal_documents, treebank_documents
from benchmarks.common import RESULTS, Output, run
from benchmarks.report import Figure, Report
from benchmarks.segmenters import OURS, Segmenter, segmenters
from provence_rag import InvalidInputError

__all__ = ["Agreement", "main", "measure"]

_DESCRIPTION = """Borders of sentences, language {language}. Golden Rules: cases of pragmatic_segmenter, as
pySBD holds them, that come out exactly. F1, precision and recall: of the borders inside each document, in
percent; the first {characters:,} characters of each set, in whole documents. Speed: all of that text, in one
process after it has been loaded, processor time.{missing}"""


@dataclass(frozen=True)
class Agreement:
    """How the borders that a splitter finds agree with those that people marked."""

    found: int
    """Borders of both."""

    extra: int
    """Borders of the splitter alone: cuts inside a sentence."""

    missed: int
    """Borders that it does not see."""

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in percent."""
        return 200 * self.found / max(1, 2 * self.found + self.extra + self.missed)

    @property
    def precision(self) -> float:
        """Share of the splitter's borders that people marked, in percent."""
        return 100 * self.found / max(1, self.found + self.extra)

    @property
    def recall(self) -> float:
        """Share of the marked borders that it finds, in percent."""
        return 100 * self.found / max(1, self.found + self.missed)


def measure(documents: Sequence[Marked], found: Sequence[Sequence[str]]) -> Agreement:
    """Compare the sentences that a splitter finds in each document with those that people marked."""
    both = extra = missed = 0
    for document, sentences in zip(documents, found, strict=True):
        own = Marked(document.text, sentences).borders
        both += len(own & document.borders)
        extra += len(own - document.borders)
        missed += len(document.borders - own)
    return Agreement(both, extra, missed)


def main(
    language: Annotated[str, typer.Argument(help="ISO 639-1 code.", show_default=False)],
    *,
    rules: Annotated[Path, typer.Option(metavar="DIR", help="A clone of github.com/nipunsadvilkar/pySBD.")],
    treebank: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A Universal Dependencies treebank (.conllu).")
    ] = None,
    legal: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A clone of github.com/jsavelka/sbd_adjudicatory_dec.")
    ] = None,
    characters: Annotated[int, typer.Option(min=1, help="Of each set, at most this much text.")] = 100_000,
    output: Output = RESULTS,
) -> None:
    """Compare sentence splitters: those that are not installed are left out."""
    sets = {path.stem: treebank_documents(path) for path in treebank or []}
    if legal:
        names = sorted(path.stem for path in (legal / "data_set").glob("*.json"))
        sets.update({f"legal, {name}": legal_documents(legal, name) for name in names})
    sets = {name: _first(documents, characters) for name, documents in sets.items()}
    cases = golden_rules(rules, language)
    systems, missing = segmenters(language)
    rows, seconds = [], {}
    for system, segment in systems.items():
        passed = sum(_is_exact(case, segment) for case in cases)
        start = time.process_time()
        found = {name: [segment(document.text) for document in documents] for name, documents in sets.items()}
        seconds[system] = time.process_time() - start
        agreements = {name: measure(documents, found[name]) for name, documents in sets.items()}
        rows.append(_row(system, f"{passed} of {len(cases)}", agreements))
    megabytes = (
        sum(len(document.text.encode()) for documents in sets.values() for document in documents) / 1e6
    )
    speeds = (
        [{"splitter": name, "MB/s": megabytes / taken} for name, taken in seconds.items()] if sets else []
    )
    best = _best(rows[1:])
    Report(
        name=f"sentences-{language}",
        description=_DESCRIPTION.format(
            language=language,
            characters=characters,
            missing=f" Not installed, and left out: {', '.join(missing)}." if missing else "",
        ),
        figures=[
            Figure(f"{OURS}, {column}", [_number(rows[0][column])], at_least=value)
            for column, value in best.items()
        ],
        tables={"Borders": rows, **({"Speed": speeds} if speeds else {})},
    ).save(output)


def _first(documents: Sequence[Marked], characters: int) -> list[Marked]:
    """Return whole documents up to a number of characters, at least one."""
    chosen: list[Marked] = []
    for document in documents:
        characters -= len(document.text)
        if chosen and characters < 0:
            break
        chosen.append(document)
    if not chosen:
        raise InvalidInputError("a set of texts has no document")
    return chosen


def _is_exact(case: Marked, segment: Segmenter) -> bool:
    found = ["".join(sentence.split()) for sentence in segment(case.text)]
    return found == ["".join(sentence.split()) for sentence in case.sentences]


def _row(system: str, passed: str, agreements: Mapping[str, Agreement]) -> dict[str, str]:
    row = {"splitter": system, "Golden Rules": passed}
    for name, agreement in agreements.items():
        row[f"F1, {name}"] = f"{agreement.f1:.2f}"
        row[f"precision, recall, {name}"] = f"{agreement.precision:.1f}, {agreement.recall:.1f}"
    return row


def _best(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Return the best value that any of the others reaches, by column: ours is to be no less."""
    columns = [
        column for column in (rows[0] if rows else {}) if column == "Golden Rules" or column.startswith("F1")
    ]
    return {column: max(_number(row[column]) for row in rows) for column in columns}


def _number(cell: str) -> float:
    return float(cell.partition(" ")[0])


if __name__ == "__main__":
    run(main)
