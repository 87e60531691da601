from __future__ import annotations

import pickle

import pytest

from provence_rag import CheckpointError, InvalidInputError, MissingExtraError, ProvenceError


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [(InvalidInputError, ValueError), (CheckpointError, ValueError), (MissingExtraError, ImportError)],
)
def test_every_error_is_ours_and_a_builtin_one(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, ProvenceError)
    assert issubclass(kind, builtin)


def test_a_missing_extra_has_the_pip_line() -> None:
    error = MissingExtraError("Exporting to ONNX", "export")
    assert str(error) == (
        "Exporting to ONNX needs an optional dependency: pip install 'provence-rag[export]'"
    )


def test_errors_survive_pickling() -> None:
    for error in (InvalidInputError("a"), CheckpointError("b"), MissingExtraError("c", "torch")):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy)) == (type(error), str(error))
