"""The code of the README and of the other documents is run, and its output is what they say."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted(ROOT.glob("integrations/*/README.md")),
    *sorted(ROOT.glob("docs/*.md")),
]
NUMBER = re.compile(r"\d+\.\d+")


def blocks_of(document: Path) -> list[tuple[str, str]]:
    """Language and content of each code block."""
    text = document.read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


BLOCKS = blocks_of(ROOT / "README.md")


def assert_same_output(actual: str, expected: str) -> None:
    # int8 kernels differ between processors in the last digits of a score
    assert NUMBER.sub("#", actual) == NUMBER.sub("#", expected)
    numbers = [[float(n) for n in NUMBER.findall(text)] for text in (actual, expected)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.03)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_blocks_print_what_the_document_shows(document: Path) -> None:
    blocks = blocks_of(document)
    namespace: dict[str, object] = {}
    for (language, code), (following, expected) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language == "python":
            stdout = io.StringIO()
            with contextlib.redirect_stdout(stdout):
                exec(code, namespace)
            assert_same_output(stdout.getvalue(), expected if following == "text" else "")


@pytest.mark.parametrize("block", [code for language, code in BLOCKS if language == "console"])
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


def test_the_two_commands_are_those_of_ci_and_the_quickstart() -> None:
    commands = [code.strip() for language, code in BLOCKS if language == "bash"]
    assert commands == [
        "pip install -e '.[examples]' && python examples/quickstart.py",
        "pip install -c constraints.txt -e '.[dev]' && pytest",
    ]
    assert commands[1].replace("pip install", "pip install --quiet") in (ROOT / ".ci" / "run").read_text()
