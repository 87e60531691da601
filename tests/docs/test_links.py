"""Links between documents lead somewhere, on GitHub and on the site."""

from __future__ import annotations

import re
from functools import cache
from os.path import normpath
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "integrations/*/*.md",
        "benchmarks/*.md",
        "examples/**/*.md",
        "training/**/*.md",
        "provence_rag/**/*.md",
    )
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@cache
def anchors_of(document: Path) -> set[str]:
    """The anchors of a document: its headings, as GitHub makes them, and what the API reference describes."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-1")
    return found | set(re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE))


def assert_leads_somewhere(target: str, document: Path) -> None:
    """Check the file and the anchor of a link in a document."""
    path, _, anchor = unquote(target).partition("#")
    file = Path(normpath(document.parent / path)) if path else document
    assert file.exists(), target
    assert ROOT in file.parents, target
    if anchor and file.suffix == ".md":
        described = anchors_of(file)
        # a member of a class has the anchor of the class and its own name
        assert anchor in described or anchor.rpartition(".")[0] in described, target


def targets_in(text: str) -> list[str]:
    """Where the links of a text within this repository lead."""
    return [target for target in LINK.findall(text) if not target.startswith(("https://", "mailto:"))]


def targets_of(document: Path) -> list[str]:
    return targets_in(FENCE.sub("", document.read_text(encoding="utf-8")))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    for target in targets_of(document):
        assert_leads_somewhere(target, document)


def test_many_links_are_looked_at() -> None:
    assert sum(len(targets_of(document)) for document in DOCUMENTS) > 150


def test_documents_that_messages_name_exist() -> None:
    """Errors, help texts and docstrings name pages by their path."""
    named = {
        name
        for folder in ("provence_rag", "integrations", "training", "examples", "benchmarks")
        for suffix in ("*.py", "*.yaml")
        for path in (ROOT / folder).rglob(suffix)
        for name in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert named
    for name in named:
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize(
    ("question", "page"),
    [
        ("which threshold", "docs/choosing.md"),
        ("metadata", "docs/langchain.md"),
        ("offline", None),
        ("async", "docs/python.md"),
        ("cost", "docs/speed.md"),
        ("tables", "docs/structure.md"),
        ("cite", None),
    ],
)
def test_what_people_ask_first_is_two_clicks_from_the_start(question: str, page: str | None) -> None:
    """One click from the README to the answer in the FAQ, and a second to the page with the details."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (target,) = re.findall(rf"\[[^\]]*\b{question}\b[^\]]*\]\((docs/faq\.md#[\w-]+)\)", readme)
    faq = ROOT / "docs" / "faq.md"
    anchor = target.partition("#")[2]
    assert anchor in anchors_of(faq)
    (section,) = [
        part
        for part in re.split(r"^(?=### )", faq.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if re.sub(r"[^\w\- ]", "", part.partition("\n")[0].removeprefix("### ").lower()).replace(" ", "-")
        == anchor
    ]
    if page is not None:
        assert f"]({Path(page).name}" in section
