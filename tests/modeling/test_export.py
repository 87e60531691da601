"""ONNX files against the torch model that they come from."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from provence_rag import CheckpointError
from provence_rag.backends.onnx import OnnxBackend
from provence_rag.backends.torch import TorchBackend
from provence_rag.modeling.export import export_onnx, quantize_onnx

SHAPES = [(1, 1), (1, 9), (3, 20), (4, 33), (2, 60)]

Exported = Any


@pytest.fixture(scope="session")
def exported(make_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A float32 export for each encoder and mode; made once."""

    @cache
    def export(encoder: str, mode: str) -> Path:
        path = Path(tmp_path_factory.mktemp("onnx")) / f"{encoder}-{mode}.onnx"
        export_onnx(make_model(encoder, mode), path)
        return path

    return export


@pytest.fixture(scope="session")
def quantized(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its int8 version."""

    @cache
    def quantize(encoder: str) -> Path:
        path = Path(tmp_path_factory.mktemp("int8")) / f"{encoder}.onnx"
        quantize_onnx(exported(encoder, "joint"), path)
        return path

    return quantize


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def initializers(path: Path) -> dict[str, Any]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


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


# float32


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
    with pytest.raises(
        CheckpointError, match=r"does not give what BertForSequenceClassification gives in torch"
    ):
        export_onnx(make_model("bert", "joint"), tmp_path / "model.onnx")


# int8


def test_int8_is_close_to_float32(
    make_batch: Any, exported: Exported, quantized: Exported, encoder: str
) -> None:
    exact = OnnxBackend(exported(encoder, "joint"), threads=1)
    ours = OnnxBackend(quantized(encoder), threads=1)
    batch = make_batch(encoder, 4, 33)
    expected, logits = exact.run(*batch), ours.run(*batch)
    inside = batch[1] == 1
    assert logits.ranking.dtype == logits.pruning.dtype == np.float32
    error = (logits.pruning - expected.pruning)[inside]
    assert error.std() < 0.1 * expected.pruning[inside].std()
    assert 0 < np.abs(logits.ranking - expected.ranking).max() < 0.5 * expected.ranking.std()


def test_int8_keeps_names(exported: Exported, quantized: Exported, encoder: str) -> None:
    before, after = (onnx.load(p).graph for p in (exported(encoder, "joint"), quantized(encoder)))
    for attribute in ("input", "output"):
        assert [n.name for n in getattr(after, attribute)] == [n.name for n in getattr(before, attribute)]


def test_attention_is_fused(quantized: Exported) -> None:
    count = operators(quantized("bert"))
    assert count["QAttention"] == 2  # one a layer
    assert count["SkipLayerNormalization"] == 4
    assert count["BiasGelu"] == 2
    assert count["Softmax"] == count["Erf"] == count["MatMul"] == 0


def test_all_large_weights_are_int8(quantized: Exported, encoder: str) -> None:
    arrays = initializers(quantized(encoder))
    large = {name: array for name, array in arrays.items() if array.size >= 500}
    assert large
    # DeBERTa's embeddings of distances are no look-up, but are multiplied.
    floats = [name for name, array in large.items() if array.dtype != np.int8]
    assert [name for name in floats if "rel_embeddings" not in name] == []


def test_matrices_have_seven_bits_and_a_scale_a_column(quantized: Exported) -> None:
    arrays = initializers(quantized("bert"))
    multiplied = [
        name
        for node in onnx.load(quantized("bert")).graph.node
        if node.op_type in ("MatMulInteger", "QAttention")
        for name in node.input
        if name in arrays and name.endswith("_quantized")
    ]
    assert len(multiplied) >= 8
    for name in multiplied:
        # One more would overflow where two products are added in 16 bits.
        assert np.abs(arrays[name]).max() <= 64
        assert arrays[name.replace("_quantized", "_scale")].size == arrays[name].shape[1]


def test_embeddings_have_a_scale_a_row(make_model: Any, quantized: Exported) -> None:
    arrays = initializers(quantized("bert"))
    (name,) = (name for name in arrays if name.endswith("word_embeddings.weight_int8"))
    stored = arrays[name] * arrays[name.replace("_int8", "_scale")]
    weights = make_model("bert", "joint").transformer.get_input_embeddings().weight.detach().numpy()
    step = np.abs(weights).max(axis=1, keepdims=True) / 127
    assert (np.abs(stored - weights) <= 0.5001 * step).all()


def test_int8_is_deterministic(
    make_batch: Any, exported: Exported, quantized: Exported, tmp_path: Path
) -> None:
    quantize_onnx(exported("bert", "joint"), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == quantized("bert").read_bytes()
    batch = make_batch("bert")
    one, other = (OnnxBackend(quantized("bert"), threads=1).run(*batch) for _ in range(2))
    assert_close(one, other, batch[1], atol=0)


def test_neighbours_in_a_batch_matter_little(
    make_batch: Any, quantized: Exported, exported: Exported
) -> None:
    backend = OnnxBackend(quantized("bert"), threads=1)
    exact = OnnxBackend(exported("bert", "joint"), threads=1)
    batch = make_batch("bert", 3, 20)
    together = backend.run(*batch).pruning
    spread = exact.run(*batch).pruning[batch[1] == 1].std()
    for row, length in enumerate(batch[1].sum(1)):
        alone = backend.run(*(array[row : row + 1, :length] for array in batch)).pruning[0]
        assert np.abs(alone - together[row, :length]).max() < 0.2 * spread
