"""What tests/test_readme.py does not run: commands, records, settings, and code with placeholders."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import transformers
import typer
import yaml
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.schema import TextNode

from provence_rag import Provence, attach_pruning_head
from provence_rag.cli import app
from provence_training import load_passages, load_topics, read_config
from provence_training.qa import load_questions

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("integrations/*/README.md")),
]
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BUNDLED = str(files("provence_rag") / "models" / "mini")


def blocks(*languages: str) -> list[Any]:
    """The content of each block in one of the languages, with the name of its document."""
    return [
        pytest.param(content, id=f"{document.relative_to(ROOT)}:{number}")
        for document in DOCUMENTS
        for number, (language, content) in enumerate(FENCED.findall(document.read_text("utf-8")))
        if language in languages
    ]


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    # python, text and console: tests/test_readme.py; py: here and in tests/test_plan.py
    kinds = {"python", "text", "console", "bash", "sh", "json", "yaml", "py"}
    for document in DOCUMENTS:
        assert {language for language, _ in FENCED.findall(document.read_text("utf-8"))} <= kinds, document
    assert len(blocks("py")) == 6


COMMANDS = typer.main.get_command(app)


def check_command(line: str) -> None:
    """Every option of a `provence` command is one that it has."""
    words = shlex.split(line, comments=True)
    while words and words[0] != "provence":
        words = words[1:]
    if words:
        command = COMMANDS.commands[words[1]]  # type: ignore[attr-defined]
        command.make_parser(click.Context(command)).parse_args(words[2:])


@pytest.mark.parametrize("block", blocks("bash", "sh"))
def test_commands_have_the_options_that_they_are_given(block: str) -> None:
    for line in block.replace("\\\n", " ").splitlines():
        program = line.split()[0]
        assert program in ("pip", "provence", "torchrun", "gunicorn", "curl", "serve"), line
        check_command(line)


def test_commands_in_prose_have_the_options_that_they_are_given() -> None:
    checked = 0
    for document in DOCUMENTS:
        for line in re.findall(r"`(provence \w+ [^`]+)`", document.read_text("utf-8")):
            check_command(line)
            checked += 1
    assert checked > 5


def test_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        check_command("provence prune --querry x")


@pytest.mark.parametrize("block", blocks("json"))
def test_records_can_be_read(block: str, tmp_path: Path) -> None:
    decoder, rest, records = json.JSONDecoder(), block.strip(), []
    while rest:
        record, end = decoder.raw_decode(rest)
        records.append(record)
        rest = rest[end:].strip()
    if "documents" in records[0]:
        path = tmp_path / "ranked.jsonl"
        path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
        assert len(load_topics(path).topics) == len(records)
    elif "passages" in records[0]:
        path = tmp_path / "retrieved.jsonl"
        path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
        assert len(load_questions(path, k=1)) == len(records)
    else:
        assert load_passages(records, title_queries=True)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_settings_are_those_of_a_run(block: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    whole = {"output": "runs/mine", "data": {"train": ["mine.jsonl", "faq.jsonl"]}}  # of two sources
    path.write_text(yaml.safe_dump({**whole, **yaml.safe_load(block)}))
    assert read_config(path).output


class _ChatModel(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **_: Any) -> _ChatModel:
        return self


def search(query: str) -> str:
    """Search the library."""
    return query


def placeholders() -> dict[str, Any]:
    """What examples leave to their readers."""
    return {
        "question": "Who patented the filter?",
        "passages": ["Melitta Bentz patented the filter. It is round.", "Tea is hot."],
        "retriever": RunnableLambda(lambda _: [Document("Melitta Bentz patented the filter.")]),
        "vector_store": InMemoryVectorStore(DeterministicFakeEmbedding(size=8)),
        "index": VectorStoreIndex(
            [TextNode(text="Melitta Bentz patented the filter.")], embed_model=MockEmbedding(embed_dim=8)
        ),
        "chat_model": _ChatModel(messages=iter([AIMessage("")])),
        "search": search,
    }


def docstring_examples() -> Iterator[Any]:
    for folder in ("provence_rag", "integrations", "training"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    docstring = ast.get_docstring(node) or ""
                    for code in re.findall(r"```python\n(.*?)```", docstring, re.DOTALL):
                        name = getattr(node, "name", path.stem)
                        yield pytest.param(textwrap.dedent(code), id=f"{path.relative_to(ROOT)}:{name}")
                    assert "```py\n" not in docstring
                    assert ">>>" not in docstring


EXAMPLES = list(docstring_examples())


def test_there_are_examples_in_docstrings() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("code", EXAMPLES)
def test_examples_in_docstrings_run(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_index.core import Settings

    monkeypatch.setattr(Settings, "_llm", MockLLM())
    exec(code.replace("path/to/a/joint/checkpoint", BUNDLED), placeholders())


def block_with(text: str) -> str:
    (found,) = [param.values[0] for param in blocks("py") if text in param.values[0]]
    return str(found)


def test_the_signal_of_celery_loads_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    class Signal:
        def connect(self, function: Any) -> Any:
            self.function = function
            return function

    signals = ModuleType("celery.signals")
    signals.worker_process_init = Signal()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "celery", ModuleType("celery"))
    monkeypatch.setitem(sys.modules, "celery.signals", signals)
    namespace: dict[str, Any] = {"Provence": Provence}
    exec(block_with("worker_process_init"), namespace)
    signals.worker_process_init.function(sender=None)
    assert isinstance(namespace["model"], Provence)


def test_a_model_on_a_server_does_what_the_page_says(
    serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = serve(Provence.from_pretrained(threads=1))
    exec(block_with("http://localhost:8000").replace("http://localhost:8000", url), {})
    pruned, ranked = capsys.readouterr().out.splitlines()
    assert pruned == "Melitta Bentz patented the filter in 1908."
    assert ast.literal_eval(ranked)[0]["corpus_id"] == 1


def test_a_transformer_in_memory_prunes() -> None:
    namespace: dict[str, Any] = {
        "Provence": Provence,
        "attach_pruning_head": attach_pruning_head,
        "AutoTokenizer": transformers.AutoTokenizer,
        "AutoModelForSequenceClassification": transformers.AutoModelForSequenceClassification,
    }
    exec(block_with("attach_pruning_head").replace("path/to/joint-checkpoint", BUNDLED), namespace)
    assert (
        namespace["model"].prune("When?", "It was in 1908. Tea is hot.", threshold=0.5) == "It was in 1908."
    )
