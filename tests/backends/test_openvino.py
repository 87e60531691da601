from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")

import openvino

from provence_rag import CheckpointError, Provence
from provence_rag.backends.openvino import OpenVinoBackend

IDS = np.array([[2, 5, 7, 0], [3, 3, 3, 3]], dtype=np.int64)
MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=np.int64)
TYPES = np.zeros_like(IDS)
RANKING = [2 / 3, 1.0]
KEEP = [[0.5, -0.5, -0.5, 0.5], [-0.5] * 4]

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path, save_onnx: Callable[..., None]) -> Save:
    """Writes a tiny OpenVINO model; see `save_onnx`."""

    def save(directory: Path = tmp_path, **model: object) -> Path:
        save_onnx(tmp_path / "m.onnx", **model)
        path = directory / "model_int8.xml"
        openvino.save_model(openvino.Core().read_model(tmp_path / "m.onnx"), path, compress_to_fp16=False)
        return path

    return save


def test_both_heads(save: Save) -> None:
    path = save(ranking="ranking_logits", pruning="pruning_logits")
    logits = OpenVinoBackend(path, threads=1).run(IDS, MASK, TYPES)
    assert logits.ranking is not None
    assert logits.pruning is not None
    assert logits.ranking.tolist() == pytest.approx(RANKING)
    assert logits.pruning.shape == (2, 4, 2)
    assert logits.pruning[..., 1].tolist() == KEEP
    assert logits.pruning[..., 0].tolist() == [[-logit for logit in row] for row in KEEP]


@pytest.mark.parametrize("output", ["ranking_logits", "logits"])
def test_only_ranking(save: Save, output: str) -> None:
    logits = OpenVinoBackend(save(ranking=output)).run(IDS, MASK, TYPES)
    assert logits.pruning is None
    assert logits.ranking is not None
    assert logits.ranking.tolist() == pytest.approx(RANKING)


@pytest.mark.parametrize("output", ["pruning_logits", "logits"])
def test_only_pruning(save: Save, output: str) -> None:
    logits = OpenVinoBackend(save(pruning=output)).run(IDS, MASK, TYPES)
    assert logits.ranking is None
    assert logits.pruning is not None
    assert logits.pruning[..., 1].tolist() == KEEP


def test_token_types_are_given_to_models_that_have_them(save: Save) -> None:
    path = save(pruning="pruning_logits", inputs=("token_type_ids",))
    logits = OpenVinoBackend(path).run(IDS, MASK, TYPES + 1)
    assert logits.pruning is not None
    assert logits.pruning[..., 1].tolist() == [[-0.5] * 4] * 2


def test_other_models(save: Save, other_model: tuple[dict[str, Any], str]) -> None:
    model, message = other_model
    path = save(**model)
    with pytest.raises(CheckpointError, match=f"^{re.escape(f'{path} {message}')}$"):
        OpenVinoBackend(path)


@pytest.mark.parametrize("damage", ["empty", "html", "cut", "no weights", "cut weights"])
def test_files_that_are_no_model(save: Save, damage: str) -> None:
    path = save(ranking="ranking_logits")
    weights = path.with_suffix(".bin")
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-8])
    else:
        path.write_bytes({"empty": b"", "html": b"<html>no</html>"}.get(damage, path.read_bytes()[:-400]))
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} cannot be loaded by OpenVINO: "):
        OpenVinoBackend(path)


def test_results_stay_as_they_are(save: Save) -> None:
    backend = OpenVinoBackend(save(ranking="ranking_logits", pruning="pruning_logits"))
    first = backend.run(IDS, MASK, TYPES)
    backend.run(IDS + 1, MASK, TYPES)
    assert first.ranking is not None
    assert first.pruning is not None
    assert first.ranking.tolist() == pytest.approx(RANKING)
    assert first.pruning[..., 1].tolist() == KEEP


def test_threads_may_share_a_model(save: Save) -> None:
    backend = OpenVinoBackend(save(ranking="ranking_logits"))
    together = Barrier(8)

    def share_of_odd_ids(tokens: int) -> list[float]:
        ids = np.zeros((2, tokens), dtype=np.int64)
        ids[0] = 1
        together.wait()
        ranking = backend.run(ids, np.ones_like(ids), np.zeros_like(ids)).ranking
        assert ranking is not None
        return ranking.tolist()

    with ThreadPoolExecutor(8) as pool:
        for shares in pool.map(share_of_odd_ids, range(1, 65)):
            assert shares == pytest.approx([1.0, 0.0])


def test_a_checkpoint_is_loaded(checkpoint: Path, save: Save) -> None:
    directory = checkpoint / "openvino"
    directory.mkdir()
    save(directory, ranking="ranking_logits", pruning="pruning_logits")
    model = Provence.from_pretrained(checkpoint, backend="openvino", dtype="int8")
    expected = Provence.from_pretrained(checkpoint, backend="onnx").process("a cat", ["The cat sat. It ate."])
    assert repr(model) == f"Provence({str(checkpoint)!r}, backend='openvino', device='cpu')"
    assert model.process("a cat", ["The cat sat. It ate."]) == expected
