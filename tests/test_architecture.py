"""What holds for all source files: who imports what, and who knows what."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import provence_rag

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for folder in ("provence_rag", "integrations", "training") for path in (ROOT / folder).rglob("*.py")
)
ADAPTERS = ("langchain_provence", "llama_index_provence", "sentence_transformers_provence")
SENTENCE_TRANSFORMERS = "sentence_transformers_provence"
OURS = ("provence_rag", "provence_training", *ADAPTERS)

# Who may name whom, besides training, which may name torch. A folder stands for all that is in it.
ALLOWED = {
    "torch": {"provence_rag/backends/torch.py", "provence_rag/modeling", "training"},
    "ir_measures": {"training/provence_training/evaluation/ranking.py"},
    "sklearn": {"training/provence_training/cross_encoder"},
    "safetensors": {"provence_rag/modeling", "training"},
    "transformers": {"provence_rag/modeling", "training"},
    "onnxruntime": {
        "provence_rag/backends/onnx.py",
        "provence_rag/modeling/activations.py",
        "provence_rag/modeling/export.py",
        "provence_rag/modeling/quantization.py",
    },
    "onnx": {"provence_rag/modeling/activations.py", "provence_rag/modeling/quantization.py"},
    "openvino": {"provence_rag/backends/openvino.py", "provence_rag/modeling/openvino.py"},
    "nncf": {"provence_rag/modeling/openvino.py"},
    "langchain": {"integrations/langchain_provence/middleware.py", "training/provence_training/qa/llm.py"},
    "langchain_openai": {"training/provence_training/qa/llm.py"},
    "llmlingua": {"training/provence_training/qa/rivals.py"},
    "langgraph": {"integrations/langchain_provence/middleware.py"},
    "langchain_core": {"integrations/langchain_provence", "training"},
    "llama_index": {"integrations/llama_index_provence"},
    "sentence_transformers": {"integrations/sentence_transformers_provence", "training"},
    "pydantic": {"provence_rag/adapters.py", "provence_rag/server", "integrations", "training"},
    "fastapi": {"provence_rag/server"},
    "starlette": {"provence_rag/server"},
    "uvicorn": {"provence_rag/server/command.py"},
    "prometheus_client": {"provence_rag/server/metrics.py"},
    "typer": {"provence_rag/cli", "provence_rag/server/command.py", "training/provence_training/cli"},
    "matplotlib": {"training/provence_training/evaluation/plot.py"},
    "rich": {
        "provence_rag/cli",
        "provence_rag/prompting",
        "provence_rag/rendering.py",
        "provence_rag/results.py",
    },
    "pyarrow": {"provence_rag/batches", "training"},
    "nltk": {"provence_rag/chunking"},
    "budoux": {"provence_rag/chunking"},
    "langdetect": {"provence_rag/chunking"},
    "tokenizers": {"provence_rag/inference/encoding.py", "training"},
    "huggingface_hub": {"provence_rag/hub.py", "training"},
    "provence_rag.adapters": {"provence_rag/server", "integrations"},
}

# The rooms of provence_rag from the inside out: each imports its own and those in front of it.
ROOMS = [
    {"errors"},
    {"languages", "surrogates"},
    {"validation"},
    {"rendering", "results"},
    {"config_json"},
    {"config"},
    {"options"},
    {"hub"},
    {"chunking"},
    {"inference"},
    {"ranking"},
    {"modeling"},
    {"backends"},
    {"transformers_bridge"},
    {"inputs"},
    {"processing"},
    {"provence", "remote"},
    {"early_checks"},
    {"prompting"},
    {"batches"},
    {"adapters", "cli", "testing"},
    {"server"},
]

# The wings of provence_training in the same order.
WINGS = [
    {"arrays", "cache", "compute"},
    {"config"},
    {"data"},
    {"augmentation"},
    {"pairs"},
    {"shrinking"},
    {"learning"},
    {"teachers"},
    {"evaluation"},
    {"cross_encoder"},
    {"qa"},
    {"run"},
    {"cli"},
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """The dotted names of all modules and members that a file imports, in functions as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} has a relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(name: str, parents: set[str]) -> bool:
    return any(name == parent or name.startswith((f"{parent}/", f"{parent}.")) for parent in parents)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_their_rooms_name_other_libraries(path: Path) -> None:
    for imported in imports(path):
        for library, places in ALLOWED.items():
            if is_in(imported, {library}):
                assert is_in(name_of(path), places), f"{name_of(path)} imports {imported}"


def room(module: str, rooms: list[set[str]] = ROOMS) -> int:
    found = [number for number, names in enumerate(rooms) if is_in(module, names)]
    assert found, f"{module} is in no room"
    return found[0]


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith("provence_rag/")], ids=name_of)
def test_rooms_import_inner_rooms_only(path: Path) -> None:
    own = (
        name_of(path)
        .removeprefix("provence_rag/")
        .removesuffix(".py")
        .removesuffix("/__init__")
        .replace("/", ".")
    )
    if own == "__init__":
        return  # imports lazily; see below
    for imported in imports(path):
        assert not is_in(imported, {"provence_training", *ADAPTERS}), f"{own} imports {imported}"
        if imported.startswith("provence_rag.") and not imported.removeprefix("provence_rag.")[0].isupper():
            other = imported.removeprefix("provence_rag.")
            assert room(other) <= room(own), f"{own} imports {imported}"
    if own in ("errors", "validation"):
        assert not [i for i in imports(path) if i.startswith("provence_rag.") and "errors" not in i]


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith("integrations/")], ids=name_of)
def test_integrations_import_public_names_and_themselves(path: Path) -> None:
    own = path.parent.name
    for imported in imports(path):
        if is_in(imported, set(OURS) - {own}):
            public = {f"provence_rag.{name}" for name in provence_rag.__all__}
            # What trains is imported on first use, by name; type checkers see it here.
            lazy = {"provence_training.cross_encoder"} if path.parent.name == SENTENCE_TRANSFORMERS else set()
            rooms = {"provence_rag.adapters", "provence_rag.prompting"}
            assert imported in public or is_in(imported, rooms | lazy), f"{own} imports {imported}"


def test_the_adapter_for_sentence_transformers_imports_training_on_first_use() -> None:
    tree = ast.parse((ROOT / "integrations" / SENTENCE_TRANSFORMERS / "__init__.py").read_text())
    on_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [node for node in on_import if "provence_training" in ast.unparse(node)]
    for path in (ROOT / "integrations").rglob("*.py"):
        if path.name != "__init__.py":
            assert not [name for name in imports(path) if is_in(name, {"provence_training"})]


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith("training/")], ids=name_of)
def test_training_imports_no_integration(path: Path) -> None:
    assert not [imported for imported in imports(path) if is_in(imported, set(ADAPTERS))]


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith("training/")], ids=name_of)
def test_wings_import_inner_wings_only(path: Path) -> None:
    """So data and pairs import neither the collator nor the loss, and nothing imports a whole run."""
    own = name_of(path).removeprefix("training/provence_training/").removesuffix(".py").replace("/", ".")
    for imported in imports(path):
        if own != "__init__" and imported.startswith("provence_training."):
            other = imported.removeprefix("provence_training.")
            assert room(other, WINGS) <= room(own, WINGS), f"{own} imports {imported}"


def test_the_name_of_an_array_type_means_one_type() -> None:
    """A FloatArray has the same precision wherever it is read."""
    types: dict[str, set[str]] = {}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        for name, element in re.findall(r"^(\w+) = NDArray\[(.+)\]$", text, re.MULTILINE):
            types.setdefault(name, set()).add(element)
    assert types["FloatArray"] == {"np.float64"}
    assert {name: found for name, found in types.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_runs_foreign_code(path: Path) -> None:
    assert not [
        i for i in imports(path) if i.partition(".")[0] in ("pickle", "cPickle", "dill", "joblib", "shelve")
    ]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
            assert isinstance(node.value, ast.Constant), f"{name_of(path)}:{node.value.lineno}"
            assert node.value.value is False, f"{name_of(path)}:{node.value.lineno}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("eval", "exec"):
            raise AssertionError(f"{name_of(path)}:{node.lineno} calls {ast.unparse(node.func)}")
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            settings = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert settings.get("weights_only") == "True", f"{name_of(path)}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_the_checkpoint_reader_knows_the_names_of_other_projects(path: Path) -> None:
    if is_in(name_of(path), {"provence_rag/modeling/checkpoints"}):
        return
    text = path.read_text(encoding="utf-8")
    assert not [name for name in ("default_thread", "out_proj", "token_classifier.", "naver") if name in text]


# Keys of JSON files are constants in snake case. Ours are the fields of the configuration.
CHECKPOINTS = sorted((ROOT / "provence_rag" / "modeling" / "checkpoints").glob("*.py"))
OUR_KEYS = {field.name for field in fields(provence_rag.ProvenceConfig)}


def snake_case_constants(path: Path) -> set[str]:
    """The strings of a file that could be keys of a JSON file: no docstrings, no `__all__`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    others: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            others.add(id(node.value))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            others |= {id(constant) for constant in ast.walk(node.value)}
    values = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in others
    }
    return {
        value for value in values if isinstance(value, str) and re.fullmatch("[a-z0-9]+(_[a-z0-9]+)+", value)
    }


def test_keys_of_foreign_files_are_known_in_the_rooms_for_them_only() -> None:
    # The code that loads and saves stock models knows what transformers and sentence-transformers write.
    stock_room = {
        "provence_rag/config_json.py",
        "provence_rag/modeling",
        f"integrations/{SENTENCE_TRANSFORMERS}",
    }
    # The name of one of pydantic's errors is also a key of config.json.
    stock_room |= {"training/provence_training/data/shapes.py"}
    readers = [*CHECKPOINTS, ROOT / "provence_rag" / "config_json.py"]
    theirs = set().union(*map(snake_case_constants, readers))
    theirs -= OUR_KEYS | {"pruning_head", "before_final_norm", "sentence_transformers"}
    assert {"base_model_config", "max_position_embeddings", "sbert_ce_default_activation_function"} <= theirs
    found = {
        name_of(path): sorted(keys)
        for path in SOURCES
        if not is_in(name_of(path), stock_room) and (keys := snake_case_constants(path) & theirs)
    }
    assert found == {}


def test_integrations_use_nothing_private_of_the_library() -> None:
    tree = ast.parse((ROOT / "provence_rag" / "adapters.py").read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    private = {name for name in names if name.startswith("_") and not name.endswith("__")}
    assert private
    for path in SOURCES:
        if name_of(path).startswith("integrations/"):
            attributes = [
                node
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Attribute)
            ]
            own = {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
            used = {node.attr for node in attributes} & private - own
            assert not used, f"{name_of(path)} uses {used}"


def test_the_architecture_names_the_rooms_in_their_order() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.partition("| room |")[2].partition("\n\n")[0]
    listed = [re.findall(r"`(\w+)/?`", row.split("|")[1]) for row in table.splitlines()[2:]]
    assert list(map(set, listed)) == ROOMS
    package = ROOT / "provence_rag"
    modules = {path.stem for path in package.glob("*.py")}
    modules |= {path.parent.name for path in package.glob("*/__init__.py")}
    assert set().union(*ROOMS) == modules - {"__init__"}
    for name in re.findall(r"`([\w./]+)`", text):
        if "/" in name:
            assert any((root / name).exists() for root in (ROOT, package)), name


def test_no_folder_of_ours_bears_the_name_of_a_dependency() -> None:
    packages = {path.parent.name for path in SOURCES if path.name == "__init__.py"}
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()}
    assert not (packages | tops) & {
        "langchain",
        "langchain_core",
        "langgraph",
        "llama_index",
        "sentence_transformers",
        "punkt",
    }
    assert {
        path.parent.name for path in SOURCES if path.parent.parent == ROOT and path.name == "__init__.py"
    } == {"provence_rag"}
