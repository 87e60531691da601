from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provence_rag import CheckpointError, InvalidInputError, MissingExtraError, ProvenceError


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [(InvalidInputError, ValueError), (CheckpointError, ValueError), (MissingExtraError, ImportError)],
)
def test_every_error_is_ours_and_a_builtin_one(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, ProvenceError)
    assert issubclass(kind, builtin)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        pytest.param(None, "pip install 'provence-rag[export]'", id="index"),
        pytest.param(
            {"url": "file:///home/me/my%20clone", "dir_info": {"editable": True}},
            "pip install -e '/home/me/my clone[export]'",
            id="editable clone",
        ),
        pytest.param(
            {"url": "file:///home/me/clone", "dir_info": {}},
            "pip install '/home/me/clone[export]'",
            id="clone",
        ),
        pytest.param(
            {"url": "file:///dist/provence_rag-0.1.0-py3-none-any.whl", "archive_info": {}},
            "pip install 'provence-rag[export] @ file:///dist/provence_rag-0.1.0-py3-none-any.whl'",
            id="wheel",
        ),
        pytest.param(
            {
                "url": "https://example.org/rag.git",
                "vcs_info": {"vcs": "git", "commit_id": COMMIT, "requested_revision": "v0.1.0"},
            },
            "pip install 'provence-rag[export] @ git+https://example.org/rag.git@v0.1.0'",
            id="tag",
        ),
        pytest.param(
            {"url": "https://example.org/rag.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"pip install 'provence-rag[export] @ git+https://example.org/rag.git@{COMMIT}'",
            id="commit",
        ),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths differ")
def test_a_missing_extra_has_the_command_for_this_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None, command: str
) -> None:
    installed = tmp_path / "provence_rag-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: provence-rag\nVersion: 0.1.0\n")
    if origin is not None:
        (installed / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(tmp_path)
    error = MissingExtraError("Exporting to ONNX", "export")
    assert str(error) == f"Exporting to ONNX needs an optional dependency: {command}"


def test_sources_that_are_not_installed_are_named_by_their_path() -> None:
    code = "from provence_rag.errors import MissingExtraError; print(MissingExtraError('It', 'export'))"
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"It needs an optional dependency: pip install -e '{root}[export]'"


def test_errors_survive_pickling() -> None:
    for error in (InvalidInputError("a"), CheckpointError("b"), MissingExtraError("c", "torch")):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy)) == (type(error), str(error))
