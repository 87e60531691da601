"""The code of the README and of the other documents is run, and its output is what they say."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted(ROOT.glob("integrations/*/README.md")),
    *sorted(ROOT.glob("docs/*.md")),
]
NUMBER = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Example:
    """A block of Python, the output that the document shows, and the command that installs what it needs."""

    code: str
    output: str
    install: str


def blocks_of(text: str) -> list[tuple[str, str]]:
    """Language and content of each code block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def examples_of(document: Path) -> list[Example]:
    """The Python blocks of a document.

    What a block needs is installed by the last command above it in its section; in a section without a
    command, by the first command of the section on installing.
    """
    text = document.read_text(encoding="utf-8")
    sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    default = re.search(r"^## Install\n.*?(pip install [^`#\n]*)", text, flags=re.DOTALL | re.MULTILINE)
    examples = []
    for section in sections:
        install = default[1].strip() if default else ""
        for (language, code), (following, output) in pairwise([*blocks_of(section), ("", "")]):
            if language == "bash" and section.startswith("## "):
                install = code.partition("#")[0].strip()
            elif language == "python":
                examples.append(Example(code, output if following == "text" else "", install))
    return examples


README = (ROOT / "README.md").read_text(encoding="utf-8")


def assert_same_output(actual: str, expected: str, *, tolerance: float = 0.03) -> None:
    # int8 kernels differ between processors in the last digits of a score
    assert NUMBER.sub("#", actual) == NUMBER.sub("#", expected)
    numbers = [[float(n) for n in NUMBER.findall(text)] for text in (actual, expected)]
    assert numbers[0] == pytest.approx(numbers[1], abs=tolerance)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_blocks_print_what_the_document_shows(document: Path) -> None:
    namespace: dict[str, object] = {}
    for example in examples_of(document):
        stdout = io.StringIO()
        with contextlib.redirect_stdout(stdout):
            exec(example.code, namespace)
        assert_same_output(stdout.getvalue(), example.output)


@pytest.mark.parametrize("block", [code for language, code in blocks_of(README) if language == "console"])
def test_console_blocks_print_what_the_readme_shows(block: str) -> None:
    command, expected = block.split("\n", 1)
    words = shlex.split(command.removeprefix("$ "))
    program = str(Path(sys.executable).parent / words[0])
    done = subprocess.run(
        [program, *words[1:]],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert_same_output(done.stdout, expected)


def test_the_commands_are_those_of_ci_and_the_quickstart() -> None:
    commands = [code.strip() for language, code in blocks_of(README) if language == "bash"]
    assert commands[0] == "pip install -e '.[examples]' && python examples/quickstart.py"
    assert commands[-1] == "pip install -c constraints.txt -e '.[dev]' && pytest"
    for command in commands[-1].split(" && "):
        line = command.replace("pip install", "pip install --quiet")
        assert line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_what_each_example_needs_is_installed_above_it() -> None:
    """That they run after no other command is tested by .ci/documents.py."""
    installed = {
        document.parent.name: list(dict.fromkeys(example.install for example in examples_of(document)))
        for document in DOCUMENTS
        if document.name == "README.md"
    }
    assert installed == {
        ROOT.name: [
            "pip install -e .",
            "pip install -e '.[langchain]' langchain-classic",
            "pip install -e '.[llama-index]'",
            "pip install -e '.[sentence-transformers]'",
        ],
        "langchain_provence": [
            "pip install -e '.[langchain]'",
            "pip install -e '.[langchain]' langchain-classic",
            "pip install -e '.[langchain-agents]'",
        ],
        "llama_index_provence": ["pip install -e '.[llama-index]'"],
        "sentence_transformers_provence": ["pip install -e '.[sentence-transformers]'"],
    }
