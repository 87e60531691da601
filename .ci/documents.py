"""Run the blocks of READMEs and guides in environments with just what the install line above them asks for.

python .ci/documents.py WHEEL BASE, where BASE is an environment with the wheel installed without extras.
Every other environment sees BASE and adds its own packages: the base dependencies are installed once.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from test_readme import DOCUMENTS, assert_same_output, examples_of, installs  # noqa: E402

RUN = """
import contextlib, io, json, sys
namespace = {}
for number, code in enumerate(json.load(sys.stdin)):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(code, f"block {number}", "exec"), namespace)
    print(json.dumps(output.getvalue()))
"""


def python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / "bin" / "python"


def make_environment(directory: Path, install: str, wheel: Path, base: Path) -> Path:
    """An environment on top of `base` with what an install line names, the wheel in place of the clone."""
    venv.create(directory, with_pip=True)
    site = "import sysconfig; print(sysconfig.get_path('purelib'))"
    for environment in (directory, base):
        done = subprocess.run(
            [python_of(environment), "-c", site], capture_output=True, text=True, check=True
        )
        if environment == directory:
            own = Path(done.stdout.strip())
        else:
            (own / "base.pth").write_text(done.stdout)
    requirements = [
        re.sub(r"^\.", str(wheel), word)
        for word in shlex.split(install)
        if word not in ("pip", "install", "-e")
    ]
    constraints = ["-c", str(ROOT / "constraints.txt")]
    command = [
        python_of(directory),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        *constraints,
        *requirements,
    ]
    subprocess.run(command, check=True)
    return directory


def run_examples(document: Path, install: str, environment: Path) -> int:
    """Run the blocks that need no more than the base or this install line; compare what they print."""
    examples = [e for e in examples_of(document) if e.install in (install, examples_of(document)[0].install)]
    done = subprocess.run(
        [python_of(environment), "-W", "ignore", "-c", RUN],
        input=json.dumps([example.code for example in examples]),
        capture_output=True,
        text=True,
        check=False,
        cwd=environment,
    )
    if done.returncode:
        raise SystemExit(f"{document} after {install}:\n{done.stderr}")
    for example, output in zip(examples, map(json.loads, done.stdout.splitlines()), strict=True):
        assert_same_output(output, example.output)
    return len(examples)


def main(wheel: Path, base: Path) -> None:
    """Run all examples; exit with the first error."""
    documents = list(filter(installs, DOCUMENTS))
    with TemporaryDirectory() as directory:
        environments = {"pip install -e .": base}
        for document in documents:
            for install in dict.fromkeys(example.install for example in examples_of(document)):
                start = time.perf_counter()
                if install not in environments:
                    path = Path(directory) / str(len(environments))
                    environments[install] = make_environment(path, install, wheel, base)
                count = run_examples(document, install, environments[install])
                name, seconds = document.relative_to(ROOT), time.perf_counter() - start
                print(f"{name} after `{install}`: {count} blocks, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:]))
