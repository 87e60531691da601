"""OpenVINO models against the torch model that they come from."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("nncf")

import openvino

from provence_rag import InvalidInputError, Provence
from provence_rag.backends.openvino import OpenVinoBackend
from provence_rag.backends.torch import TorchBackend
from provence_rag.modeling.convert import convert
from provence_rag.modeling.openvino import export_openvino

Exported = Any


@pytest.fixture(scope="session")
def exported(make_model: Any, sample: Any, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An export for each encoder and mode; made once."""

    @cache
    def export(encoder: str, mode: str = "joint") -> Path:
        path = Path(tmp_path_factory.mktemp("openvino")) / "deep" / f"{encoder}-{mode}.xml"
        export_openvino(make_model(encoder, mode), path, sample(encoder))
        return path

    return export


def test_it_is_close_to_torch(make_model: Any, make_batch: Any, exported: Exported, encoder: str) -> None:
    exact = TorchBackend(make_model(encoder, "joint"), device="cpu")
    ours = OpenVinoBackend(exported(encoder), threads=1)
    batch = make_batch(encoder, 4, 33)
    expected, logits = exact.run(*batch), ours.run(*batch)
    inside = batch[1] == 1
    assert logits.ranking.dtype == logits.pruning.dtype == np.float32
    assert logits.ranking.shape == expected.ranking.shape
    error = (logits.pruning - expected.pruning)[inside]
    assert 0 < error.std() < 0.2 * expected.pruning[inside].std()
    assert np.abs(logits.ranking - expected.ranking).max() < 0.5 * expected.ranking.std()


def test_a_head_alone(make_model: Any, make_batch: Any, exported: Exported) -> None:
    batch = make_batch("bert", 4, 33)
    ranks = OpenVinoBackend(exported("bert", "ranking"), threads=1).run(*batch)
    prunes = OpenVinoBackend(exported("bert", "pruning"), threads=1).run(*batch)
    assert ranks.pruning is None
    assert prunes.ranking is None
    expected = TorchBackend(make_model("bert", "pruning"), device="cpu").run(*batch).pruning
    assert expected is not None
    inside = batch[1] == 1
    assert (prunes.pruning - expected)[inside].std() < 0.2 * expected[inside].std()


def test_a_row_alone_gives_the_same(make_batch: Any, exported: Exported, encoder: str) -> None:
    """Scales are fixed: neighbours change the order of additions only, and thereby roundings at most."""
    backend = OpenVinoBackend(exported(encoder), threads=1)
    batch = make_batch(encoder, 3, 20)
    together = backend.run(*batch)
    for row, length in enumerate(batch[1].sum(1)):
        alone = backend.run(*(array[row : row + 1, :length] for array in batch))
        np.testing.assert_allclose(alone.ranking[0], together.ranking[row], rtol=0, atol=1e-4)
        np.testing.assert_allclose(alone.pruning[0], together.pruning[row, :length], rtol=0, atol=1e-4)


# DeBERTa's distances are projected, too: constants by constants, which stay float.
@pytest.mark.parametrize("encoder", ["bert", "xlm_roberta", "modernbert"])
def test_the_encoder_is_int8_and_the_heads_are_not(exported: Exported, encoder: str) -> None:
    graph = openvino.Core().read_model(exported(encoder))
    large = [
        node
        for node in graph.get_ordered_ops()
        if node.get_type_name() == "Constant" and np.prod(node.shape) >= 500
    ]
    floats = [list(node.shape) for node in large if node.get_element_type() != openvino.Type.i8]
    assert len(large) >= 10
    assert all(shape == [32, 32] for shape in floats)  # a pooler, ...
    assert len(floats) <= 2


def test_the_model_stays_as_it_was(make_model: Any, sample: Any, tmp_path: Path) -> None:
    model = make_model("bert", "joint").half().train()
    attention = model.transformer.config._attn_implementation
    export_openvino(model, tmp_path / "m.xml", sample("bert"))
    assert all(module.training for module in model.modules())
    assert {p.dtype for p in model.parameters()} == {torch.float16}
    assert model.transformer.config._attn_implementation == attention


def test_nothing_to_calibrate_on(make_model: Any, tmp_path: Path) -> None:
    message = "batches is empty: pass typical inputs, on which scales are measured"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        export_openvino(make_model("bert", "joint"), tmp_path / "m.xml", [])


def test_a_checkpoint_is_converted(
    checkpoint: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, text = checkpoint("xlm_roberta", "joint"), "the cat sat on the mat. a dog sat on the red house."
    convert(source, tmp_path, "openvino-int8")
    assert sorted(path.name for path in (tmp_path / "openvino").iterdir()) == [
        "model_int8.bin",
        "model_int8.xml",
    ]
    assert capsys.readouterr().out == ""
    ours = Provence.from_pretrained(tmp_path, backend="openvino").process("who sat", [text])[0]
    theirs = Provence.from_pretrained(source, backend="torch").process("who sat", [text])[0]
    assert ours.score == pytest.approx(theirs.score, abs=0.1)
    scores = [[sentence.score for sentence in passage.sentences] for passage in (ours, theirs)]
    assert scores[0] == pytest.approx(scores[1], abs=0.1)
