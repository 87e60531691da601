"""What docs/server.md and examples/serving say: the commands run, and their output is what they show."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from provence_rag import Provence
from provence_rag.inference.engine import Engine
from provence_rag.server import ServerSettings
from provence_rag.server.command import serve
from provence_rag.testing import fake_provence

from .conftest import Connect

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
SERVING = ROOT / "examples" / "serving"
CURL = re.findall(r"^```sh\n(curl [^\n]+)\n```\n\n```text\n(.*?)\n```$", GUIDE, re.DOTALL | re.MULTILINE)


def same(actual: Any, shown: Any) -> None:
    """Equal but for the last digits of scores, which differ between processors, and ids of answers."""
    if isinstance(shown, dict):
        assert list(actual) == list(shown)
        for key in shown.keys() - {"id"}:
            same(actual[key], shown[key])
    elif isinstance(shown, list):
        assert len(actual) == len(shown)
        for one, other in zip(actual, shown, strict=True):
            same(one, other)
    else:
        # Logits move more than probabilities.
        assert actual == (pytest.approx(shown, rel=0.05, abs=0.03) if isinstance(shown, float) else shown)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(("line", "shown"), CURL)
def test_curl_lines_answer_as_shown(bundled: str, line: str, shown: str) -> None:
    words = shlex.split(line.replace("http://127.0.0.1:8000", bundled))
    done = subprocess.run([*words, "--max-time", "60"], capture_output=True, text=True, check=True)
    same(json.loads(done.stdout), json.loads(shown))


def keys(value: Any) -> set[str]:
    """The names of all fields in some JSON, but for those of free objects."""
    free = ("document", "metadata", "api_version", "billed_units", "tokens")
    if isinstance(value, dict):
        inner = (keys(one) for name, one in value.items() if name not in free)
        return set(value).union(*inner)
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def fields_of(schema: Any, schemas: dict[str, Any]) -> set[str]:
    """The names of all fields that an answer can have, by its schema; of a document of the client's, none."""
    if isinstance(schema, dict):
        if name := schema.get("$ref", "").rpartition("/")[2]:
            return set() if name == "TextObject" else fields_of(schemas[name], schemas)
        return set(schema.get("properties", {})).union(
            *(fields_of(one, schemas) for key, one in schema.items())
        )
    return set().union(*(fields_of(one, schemas) for one in schema)) if isinstance(schema, list) else set()


LONG_QUERY = "Когда построена башня? " * 200
TEXTS = ["Башня построена. Кошки спят.", "{'a': "]
BASE: dict[str, Any] = {"query": LONG_QUERY, "documents": TEXTS}


@pytest.mark.filterwarnings("ignore:1 query is longer than half of the window", "ignore:a question is in")
@pytest.mark.parametrize(
    ("section", "bodies"),
    [
        (
            "Fields of the answer",
            {"/v1/prune": {"query": LONG_QUERY, "documents": [{"text": TEXTS[0], "id": 1, "metadata": {}}]}},
        ),
        (
            "The APIs of others",
            {
                "/v1/rerank": {**BASE, "prune": True},
                "/v2/rerank": {**BASE, "prune": True, "return_documents": True},
                "/rerank": {"query": LONG_QUERY, "texts": TEXTS, "prune": True, "return_text": True},
            },
        ),
    ],
)
def test_all_fields_of_answers_are_documented(
    connect: Connect, section: str, bodies: dict[str, dict[str, Any]]
) -> None:
    fake = fake_provence()
    config = replace(fake.config, languages=("en",))
    client = connect(model=Provence(Engine(fake.backend, fake.engine._tokenizer, config, pad_token_id=2)))
    openapi = client.get("/openapi.json").json()
    schemas = openapi["components"]["schemas"]
    table = re.findall(
        r"^\| (`.*?) \| (.*) \|$", re.split("\n##+ ", GUIDE.partition(f"# {section}")[2])[0], re.M
    )
    documented = {name for cells in table for name in re.findall(r"`([a-z_]+)`", " ".join(cells))}
    for path, request in bodies.items():
        content = openapi["paths"][path]["post"]["responses"]["200"]["content"]
        promised = fields_of(content["application/json"]["schema"], schemas)
        answered = keys(client.post(path, json=request).raise_for_status().json())
        assert answered <= promised, path
        assert promised <= documented, path
        assert promised - answered <= {"kept_whole"}, path  # nothing is promised in vain


def test_there_are_curl_lines_for_each_api() -> None:
    paths = [re.search(r"8000(/\S+)", line) for line, _ in CURL]
    assert {path[1] for path in paths if path} == {"/v1/prune", "/rerank", "/v2/rerank"}


def check_options(words: list[str]) -> None:
    """All of these are options of `provence serve`, with values that they can have."""
    app = typer.Typer()
    app.command()(serve)
    command = typer.main.get_command(app)
    command.make_parser(click.Context(command)).parse_args(words)


def test_the_options_that_the_guide_names_exist() -> None:
    section = GUIDE.partition("## Load")[2].partition("## Errors")[0]
    for name in set(re.findall(r"`(--[a-z-]+)(?: \d+)?[ `]", section)):
        check_options([name] if name == "--share-batches" else [name, "1"])


def test_deployments_start_the_command_with_options_that_it_has() -> None:
    dockerfile = (SERVING / "Dockerfile").read_text(encoding="utf-8")
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.+)$", dockerfile, re.MULTILINE)
    program, name, *options = json.loads(entrypoint)
    assert (program, name) == ("provence", "serve")
    compose = yaml.safe_load((SERVING / "compose.yaml").read_text(encoding="utf-8"))["services"]["provence"]
    check_options([*options, *compose["command"]])
    assert (SERVING / compose["build"]["context"]).resolve() == ROOT
    assert (ROOT / compose["build"]["dockerfile"]).is_file()
    unit = (SERVING / "provence.service").read_text(encoding="utf-8")
    (start,) = re.findall(r"^ExecStart=\S+/provence serve (.+)$", unit, re.MULTILINE)
    check_options(shlex.split(start))
    # Longer than the default deadline, after which nothing is left to wait for.
    deadline = ServerSettings.model_fields["timeout"].default
    assert int(compose["stop_grace_period"].removesuffix("s")) > deadline
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) > deadline


def test_the_image_gets_all_that_the_wheel_is_built_from() -> None:
    kept = re.findall(r"^!(.+)$", (SERVING / "Dockerfile.dockerignore").read_text("utf-8"), re.MULTILINE)
    assert all((ROOT / name).exists() for name in kept)
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    packages = project.partition("targets.wheel]\npackages = [")[2].partition("]")[0]
    assert {name.partition("/")[0] for name in re.findall(r'"(.+)"', packages)} <= set(kept)
