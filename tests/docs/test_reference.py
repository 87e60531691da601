"""The API reference has a place for every public name."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
DOCUMENTS = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("integrations/*/README.md")),
]
# The modules that users import from.
PUBLIC = [
    "provence_rag",
    "provence_rag.adapters",
    "provence_rag.batches",
    "provence_rag.chunking",
    "provence_rag.prompting",
    "provence_rag.server",
    "provence_rag.testing",
    "langchain_provence",
    "langchain_provence.middleware",
    "llama_index_provence",
    "sentence_transformers_provence",
    "provence_training",
    "provence_training.augmentation",
    "provence_training.qa",
]
DESCRIBED = re.findall(
    r"^::: (\S+)$", "\n".join(page.read_text(encoding="utf-8") for page in REFERENCE), re.MULTILINE
)


def as_defined(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def test_nothing_is_described_twice_or_does_not_exist() -> None:
    assert len(DESCRIBED) == len(set(DESCRIBED))
    for name in DESCRIBED:
        as_defined(name)


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_has_a_place(module: str) -> None:
    described = {name: as_defined(name) for name in DESCRIBED}
    for name in importlib.import_module(module).__all__:
        value = as_defined(f"{module}.{name}")
        # A name that a module passes on has its place where it is usually imported from.
        assert f"{module}.{name}" in described or any(value is other for other in described.values()), name


def test_what_documents_import_is_public_or_described() -> None:
    ours = "provence_|langchain_provence|llama_index_provence|sentence_transformers_provence"
    imports = re.compile(rf"^from ((?:{ours})[\w.]*) import (\([^)]*\)|.+)$", re.MULTILINE)
    used = {
        f"{module}.{name}"
        for document in DOCUMENTS
        for block in re.findall(r"^```py(?:thon)?\n(.*?)^```$", document.read_text("utf-8"), re.DOTALL | re.M)
        for module, names in imports.findall(block)
        for name in re.findall(r"\w+", names.partition("#")[0])
    }
    assert len(used) > 30
    described = [as_defined(name) for name in DESCRIBED]
    for name in used:
        assert any(as_defined(name) is value for value in described), name
