"""ONNX files against the torch model that they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from provence_rag import CheckpointError
from provence_rag.backends.onnx import OnnxBackend
from provence_rag.backends.torch import TorchBackend
from provence_rag.modeling.export import export_onnx

SHAPES = [(1, 1), (1, 9), (3, 20), (4, 33), (2, 60)]

Exported = Any


def assert_close(ours: Any, theirs: Any, mask: Any, atol: float) -> None:
    """Compare logits, those of padding left out."""
    for name in ("ranking", "pruning"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert (one.dtype, one.shape) == (np.float32, other.shape)
            if name == "pruning":
                one, other = one[mask == 1], other[mask == 1]
            np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def test_it_agrees_with_torch(
    make_model: Any, make_batch: Any, exported: Exported, encoder: str, mode: str
) -> None:
    ours = OnnxBackend(exported(encoder, mode), threads=1)
    theirs = TorchBackend(make_model(encoder, mode), device="cpu")
    for rows, tokens in SHAPES:
        batch = make_batch(encoder, rows, tokens)
        assert_close(ours.run(*batch), theirs.run(*batch), batch[1], atol=1e-4)


@pytest.mark.parametrize("where", ["left", "within"])
def test_padding_may_be_anywhere(make_model: Any, make_batch: Any, exported: Exported, where: str) -> None:
    ids, mask, types = make_batch("bert", 2, 20)
    mask[0] = 1
    mask[0, :4] = where != "left"
    mask[0, 8:12] = where != "within"
    theirs = TorchBackend(make_model("bert", "joint"), device="cpu").run(ids, mask, types)
    ours = OnnxBackend(exported("bert", "joint"), threads=1).run(ids, mask, types)
    assert_close(ours, theirs, mask, atol=1e-4)


def test_inputs_and_outputs_have_names(exported: Exported, encoder: str, mode: str) -> None:
    graph = onnx.load(exported(encoder, mode)).graph
    types = ["token_type_ids"] if encoder == "bert" else []
    assert [node.name for node in graph.input] == ["input_ids", "attention_mask", *types]
    ranking, pruning = ["ranking_logits"] * (mode != "pruning"), ["pruning_logits"] * (mode != "ranking")
    assert [node.name for node in graph.output] == ranking + pruning


def test_a_row_alone_gives_the_same(make_batch: Any, exported: Exported, encoder: str) -> None:
    backend = OnnxBackend(exported(encoder, "joint"), threads=1)
    batch = make_batch(encoder, 3, 20)
    together = backend.run(*batch)
    for row, length in enumerate(batch[1].sum(1)):
        alone = backend.run(*(array[row : row + 1, :length] for array in batch))
        np.testing.assert_allclose(alone.ranking[0], together.ranking[row], rtol=0, atol=1e-5)
        np.testing.assert_allclose(alone.pruning[0], together.pruning[row, :length], rtol=0, atol=1e-5)


def test_exporting_twice_gives_the_same_file(make_model: Any, exported: Exported, tmp_path: Path) -> None:
    export_onnx(make_model("bert", "joint"), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == exported("bert", "joint").read_bytes()


def test_the_model_stays_as_it_was(make_model: Any, tmp_path: Path) -> None:
    model = make_model("bert", "joint").half().train()
    attention = model.transformer.config._attn_implementation
    export_onnx(model, tmp_path / "deep" / "model.onnx")
    assert model.training
    assert all(module.training for module in model.modules())
    assert {p.dtype for p in model.parameters()} == {torch.float16}
    assert model.transformer.config._attn_implementation == attention


def test_half_precision_is_exported_as_float32(make_model: Any, make_batch: Any, tmp_path: Path) -> None:
    export_onnx(make_model("bert", "joint").bfloat16(), tmp_path / "model.onnx")
    rounded = TorchBackend(make_model("bert", "joint").bfloat16(), dtype="float32")
    batch = make_batch("bert")
    ours = OnnxBackend(tmp_path / "model.onnx", threads=1).run(*batch)
    assert_close(ours, rounded.run(*batch), batch[1], atol=1e-4)


def test_an_export_that_is_wrong_is_noticed(
    make_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = torch.onnx.export

    def wrong(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = export(module, *args, **kwargs)
        module.model.pruning_head.bias.data += 0.1
        return result

    monkeypatch.setattr(torch.onnx, "export", wrong)
    with pytest.raises(CheckpointError, match=r"differs from BertForSequenceClassification in torch: "):
        export_onnx(make_model("bert", "joint"), tmp_path / "model.onnx")
