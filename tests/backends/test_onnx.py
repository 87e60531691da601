from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provence_rag import CheckpointError
from provence_rag.backends.onnx import OnnxBackend

IDS = np.array([[2, 5, 7, 0], [3, 3, 3, 3]], dtype=np.int64)
MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=np.int64)
TYPES = np.zeros_like(IDS)
RANKING = [2 / 3, 1.0]
KEEP = [[0.5, -0.5, -0.5, 0.5], [-0.5] * 4]

SaveOnnx = Callable[..., None]


def test_both_heads(tmp_path: Path, save_onnx: SaveOnnx) -> None:
    save_onnx(tmp_path / "m.onnx", ranking="ranking_logits", pruning="pruning_logits")
    logits = OnnxBackend(tmp_path / "m.onnx", threads=1).run(IDS, MASK, TYPES)
    assert logits.ranking is not None
    assert logits.pruning is not None
    assert logits.ranking.tolist() == pytest.approx(RANKING)
    assert logits.pruning.shape == (2, 4, 2)
    assert logits.pruning[..., 1].tolist() == KEEP
    assert logits.pruning[..., 0].tolist() == [[-logit for logit in row] for row in KEEP]


def test_one_head(tmp_path: Path, save_onnx: SaveOnnx) -> None:
    save_onnx(tmp_path / "ranks.onnx", ranking="ranking_logits")
    save_onnx(tmp_path / "prunes.onnx", pruning="pruning_logits")
    assert OnnxBackend(tmp_path / "ranks.onnx").run(IDS, MASK, TYPES).pruning is None
    assert OnnxBackend(tmp_path / "prunes.onnx").run(IDS, MASK, TYPES).ranking is None


def test_stock_exports(tmp_path: Path, save_onnx: SaveOnnx) -> None:
    save_onnx(tmp_path / "reranker.onnx", ranking="logits")
    save_onnx(tmp_path / "classifier.onnx", pruning="logits")
    reranker = OnnxBackend(tmp_path / "reranker.onnx").run(IDS, MASK, TYPES)
    classifier = OnnxBackend(tmp_path / "classifier.onnx").run(IDS, MASK, TYPES)
    assert reranker.pruning is None
    assert reranker.ranking is not None
    assert reranker.ranking.tolist() == pytest.approx(RANKING)
    assert classifier.ranking is None
    assert classifier.pruning is not None
    assert classifier.pruning[..., 1].tolist() == KEEP


def test_token_types_are_given_to_models_that_have_them(tmp_path: Path, save_onnx: SaveOnnx) -> None:
    save_onnx(tmp_path / "m.onnx", pruning="pruning_logits", inputs=("token_type_ids",))
    logits = OnnxBackend(tmp_path / "m.onnx").run(IDS, MASK, TYPES + 1)
    assert logits.pruning is not None
    assert logits.pruning[..., 1].tolist() == [[-0.5] * 4] * 2


def test_other_models(tmp_path: Path, save_onnx: SaveOnnx, other_model: tuple[dict[str, Any], str]) -> None:
    model, message = other_model
    path = tmp_path / "m.onnx"
    save_onnx(path, **model)
    with pytest.raises(CheckpointError, match=re.escape(f"{path} {message}")):
        OnnxBackend(path)


@pytest.mark.parametrize("content", [b"", b"<html>no model</html>", None])
def test_a_file_that_is_no_model(tmp_path: Path, save_onnx: SaveOnnx, content: bytes | None) -> None:
    path = tmp_path / "m.onnx"
    if content is None:
        save_onnx(path, ranking="ranking_logits")
        content = path.read_bytes()[:-40]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(f"{path} ")):
        OnnxBackend(path)


def test_threads_may_share_a_session(tmp_path: Path, save_onnx: SaveOnnx) -> None:
    save_onnx(tmp_path / "m.onnx", ranking="ranking_logits")
    backend = OnnxBackend(tmp_path / "m.onnx")
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda _: backend.run(IDS, MASK, TYPES).ranking, range(64))
    assert all(ranking is not None and ranking.tolist() == pytest.approx(RANKING) for ranking in results)
