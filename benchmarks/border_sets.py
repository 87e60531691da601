"""Texts whose sentences people have marked, read from checkouts of their repositories."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from provence_rag import InvalidInputError

__all__ = ["Marked", "golden_rules", "legal_documents", "treebank_documents"]

_SPACE = re.compile(r"\s+")
_TREEBANK_SENTENCES = 10


@dataclass(frozen=True)
class Marked:
    """A text, and its sentences in order."""

    text: str
    sentences: Sequence[str]
    """White space around and inside them does not matter."""

    @property
    def borders(self) -> frozenset[int]:
        """Where sentences end: how many characters that are not white space come before.

        The end of the text is left out: nobody misses it.
        """
        return borders_of(self.text, self.sentences)


def borders_of(text: str, sentences: Sequence[str]) -> frozenset[int]:
    """Return where `sentences` end in `text`, counted in characters that are not white space.

    A sentence that the text does not hold (some splitters lose or change text) has no border.
    """
    bare = _SPACE.sub("", text)
    borders, position = set(), 0
    for sentence in sentences:
        content = _SPACE.sub("", sentence)
        found = bare.find(content, position)
        if content and found >= 0:
            position = found + len(content)
            borders.add(position)
    return frozenset(borders - {len(bare)})


def golden_rules(checkout: Path, language: str) -> list[Marked]:
    """Read the Golden Rules of a language from a checkout of pySBD.

    Its tests hold them as lists of a text and its sentences. Japanese has one more rule in a list of its
    own, about a line break inside a sentence.

    Raises:
        InvalidInputError: The checkout has no rules of the language.
    """
    found: list[Marked] = []
    names = re.compile(rf"GOLDEN_{language.upper()}_RULES_TEST_CASES|JA_TEST_CASES_CLEAN")
    for path in sorted((checkout / "tests" / "lang").glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                continue
            name = node.targets[0].id
            if names.fullmatch(name) and (language == "ja" or name.startswith("GOLDEN")):
                found.extend(_rules(node.value))
    if not found:
        raise InvalidInputError(f"{checkout}: no Golden Rules of language {language!r} in tests/lang")
    return found


def _rules(cases: ast.expr) -> Iterator[Marked]:
    assert isinstance(cases, ast.List)
    for case in cases.elts:
        # A rule that pySBD does not pass is a pytest.param(text, sentences, marks=...).
        arguments = case.args if isinstance(case, ast.Call) else getattr(case, "elts", [])
        text, sentences = (ast.literal_eval(argument) for argument in arguments[:2])
        yield Marked(text, sentences)


def treebank_documents(path: Path) -> list[Marked]:
    """Read the documents of a Universal Dependencies treebank (CoNLL-U).

    Sentences are joined as in the document: by a blank line where a paragraph begins, else by what
    `SpaceAfter` says of the last word. Where every sentence is a document of its own, ten are joined.
    """
    documents: list[list[tuple[str, str]]] = []
    separator, last_word, is_spaced = "", "", True
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# newdoc"):
            documents.append([])
            separator = ""
        elif line.startswith("# newpar"):
            separator = "\n\n"
        elif line.startswith("# text ="):
            documents[-1].append((separator, line.partition("=")[2].strip()))
        elif line[:1].isdigit():
            last_word = line
        elif not line:
            is_spaced = "SpaceAfter=No" not in last_word.rpartition("\t")[2]
            separator = " " if is_spaced else ""
    if all(len(document) == 1 for document in documents):
        joiner = "" if path.name.startswith(("ja", "zh")) else " "
        flat = [(joiner, sentence) for [(_, sentence)] in documents]
        documents = [flat[i : i + _TREEBANK_SENTENCES] for i in range(0, len(flat), _TREEBANK_SENTENCES)]
    return [
        Marked("".join(map("".join, document)).strip(), [sentence for _, sentence in document])
        for document in documents
    ]


def legal_documents(checkout: Path, name: str) -> list[Marked]:
    """Read decisions of United States courts (Savelka et al. 2017) from a checkout of their data set.

    Args:
        checkout: Of `jsavelka/sbd_adjudicatory_dec`.
        name: The file in `data_set`, without its ending.
    """
    data = json.loads((checkout / "data_set" / f"{name}.json").read_text(encoding="utf-8"))
    return [
        Marked(document["text"], _between(document["text"], document["annotations"]))
        for document in data.values()
    ]


def _between(text: str, annotations: Sequence[dict[str, int]]) -> list[str]:
    """What the annotators left unmarked (page numbers, rules of dashes) belongs to the sentence before."""
    starts = sorted(annotation["start"] for annotation in annotations)
    return [text[start:end] for start, end in zip([0, *starts[1:]], [*starts[1:], len(text)], strict=True)]
