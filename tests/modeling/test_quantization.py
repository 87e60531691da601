"""int8 ONNX files against the float32 ones that they come from."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provence_rag import InvalidInputError
from provence_rag.backends.onnx import OnnxBackend
from provence_rag.modeling.quantization import quantize_onnx

Exported = Any


@pytest.fixture(scope="session")
def quantized(exported: Exported, sample: Any, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The int8 version of each encoder's export; made once."""

    @cache
    def quantize(encoder: str) -> Path:
        path = Path(tmp_path_factory.mktemp("int8")) / f"{encoder}.onnx"
        quantize_onnx(exported(encoder, "joint"), path, sample(encoder))
        return path

    return quantize


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def initializers(path: Path) -> dict[str, Any]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def test_it_is_close_to_float32(
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


def test_it_keeps_names(exported: Exported, quantized: Exported, encoder: str) -> None:
    before, after = (onnx.load(p).graph for p in (exported(encoder, "joint"), quantized(encoder)))
    for attribute in ("input", "output"):
        assert [n.name for n in getattr(after, attribute)] == [n.name for n in getattr(before, attribute)]


def test_each_activation_is_quantised_once_with_constants(quantized: Exported) -> None:
    count = operators(quantized("bert"))
    assert count["QAttention"] == 2  # one a layer
    assert count["MatMulIntegerToFloat"] == 6
    assert count["QuantizeLinear"] == 8
    assert count["LayerNormalization"] == 5
    assert count["Gelu"] == 2
    assert count["DynamicQuantizeLinear"] == count["SkipLayerNormalization"] == count["Softmax"] == 0
    # Pooler and classifier; pruning head.
    assert (count["Gemm"], count["MatMul"]) == (2, 1)


def test_all_large_weights_but_the_heads_are_int8(quantized: Exported, encoder: str) -> None:
    arrays = initializers(quantized(encoder))
    large = {name: array for name, array in arrays.items() if array.size >= 500}
    assert large
    # DeBERTa's embeddings of distances are no look-up, but are multiplied.
    floats = [name for name, array in large.items() if array.dtype != np.int8]
    assert [name for name in floats if not re.search(r"rel_embeddings|pooler|classifier|head", name)] == []


def test_matrices_have_seven_bits_and_a_scale_a_column(quantized: Exported, encoder: str) -> None:
    arrays = initializers(quantized(encoder))
    matrices = [
        node.input[1]
        for node in onnx.load(quantized(encoder)).graph.node
        if node.op_type in ("MatMulIntegerToFloat", "QAttention")
    ]
    assert len(matrices) >= 8
    for name in matrices:
        # One more would overflow where two products are added in 16 bits.
        assert np.abs(arrays[name]).max() == 64
        assert arrays[name.replace("_int8", "_scale")].shape == arrays[name].shape[1:]


def test_embeddings_have_a_scale_a_row(make_model: Any, quantized: Exported) -> None:
    arrays = initializers(quantized("bert"))
    (name,) = (name for name in arrays if name.endswith("word_embeddings.weight_int8"))
    stored = arrays[name] * arrays[name.replace("_int8", "_scale")]
    weights = make_model("bert", "joint").transformer.get_input_embeddings().weight.detach().numpy()
    step = np.abs(weights).max(axis=1, keepdims=True) / 127
    assert (np.abs(stored - weights) <= 0.5001 * step).all()


def test_it_is_deterministic(
    make_batch: Any, exported: Exported, quantized: Exported, sample: Any, tmp_path: Path
) -> None:
    quantize_onnx(exported("bert", "joint"), tmp_path / "again.onnx", sample("bert"))
    assert (tmp_path / "again.onnx").read_bytes() == quantized("bert").read_bytes()


def test_it_needs_a_sample(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"^batches is empty: pass those of sample_batches$"):
        quantize_onnx(exported("bert", "joint"), tmp_path / "model.onnx", [])
    assert not any(tmp_path.iterdir())


# Neighbours


@pytest.fixture(scope="session")
def backend(quantized: Exported) -> Any:
    """Runs an encoder's int8 version; loaded once."""
    return cache(lambda encoder: OnnxBackend(quantized(encoder), threads=1))


@settings(
    deadline=None,
    derandomize=True,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # `encoder` is a name
)
@given(lengths=st.lists(st.integers(1, 60), min_size=2, max_size=6), seed=st.integers(0, 999))
def test_a_row_alone_gives_the_same(backend: Any, encoder: str, lengths: list[int], seed: int) -> None:
    tokens = np.arange(max(lengths))
    mask = (tokens < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.random.default_rng(seed).integers(4, 64, mask.shape) * mask
    batch = (ids, mask, np.zeros_like(ids))
    together = backend(encoder).run(*batch)
    for row, length in enumerate(lengths):
        alone = backend(encoder).run(*(array[row : row + 1, :length] for array in batch))
        np.testing.assert_allclose(alone.ranking[0], together.ranking[row], rtol=0, atol=1e-5)
        np.testing.assert_allclose(alone.pruning[0], together.pruning[row, :length], rtol=0, atol=1e-5)
