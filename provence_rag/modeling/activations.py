"""The ranges of an ONNX graph's activations on a sample, and the effect of rounding them to 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnxruntime import InferenceSession, SessionOptions

from provence_rag.inference.arrays import FloatArray, IntArray

__all__ = ["Activation", "Batch", "Grid", "observe"]

Batch = Mapping[str, IntArray]
"""The inputs of a graph by name, each of shape (1, T), without padding."""

_PERCENTILE = 75
"""Which of the minima and maxima of a sample's batches set the range. Most texts have nearly the same; the
few outliers are clipped, since steps wide enough for them lose more: with them, the errors of the bundled
model's ranking logits are a fifth (Japanese) to a third (English) larger."""


@dataclass(frozen=True)
class Grid:
    """The values that an activation is rounded to: `(integer - zero_point) * scale`, with 8-bit integers."""

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> Grid:
        """Cover a range, with zero exactly representable, since padding and masks produce many zeros."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255 or 1.0
        return cls(scale, round(-low / scale))

    def rounded(self, values: FloatArray) -> FloatArray:
        """The nearest values of the grid."""
        integers = np.clip(np.round(values / self.scale) + self.zero_point, 0, 255)
        return (integers - self.zero_point) * self.scale


@dataclass(frozen=True)
class Activation:
    """Statistics of an activation with H features over the tokens of a sample."""

    grid: Grid
    mean: FloatArray
    """(H,)"""
    rounded_mean: FloatArray
    """(H,): the mean after rounding to the grid."""
    rounded_products: FloatArray
    """(H, H): the sum over all tokens of the products of each pair of features, after rounding."""


def observe(source: Path, names: Sequence[str], batches: Sequence[Batch]) -> dict[str, Activation]:
    """Run a float graph on a sample.

    Args:
        source: The graph's file.
        names: Names of activations with shape (1, T, H).
        batches: The sample.

    Returns:
        The statistics of each activation, by name.
    """
    grids = _grids(source, names, batches)
    sums: dict[str, list[Any]] = {}
    tokens = 0
    for outputs in _run(onnx.load(source, load_external_data=False), source, names, batches):
        for (name, grid), output in zip(grids.items(), outputs, strict=True):
            values = output.reshape(-1, output.shape[-1]).astype(np.float64)  # (T, H)
            rounded = grid.rounded(values)
            found = [values.sum(axis=0), rounded.sum(axis=0), rounded.T @ rounded]
            sums[name] = [a + b for a, b in zip(sums[name], found, strict=True)] if name in sums else found
        tokens += len(values)
    return {
        name: Activation(grids[name], total / tokens, rounded / tokens, products)
        for name, (total, rounded, products) in sums.items()
    }


def _grids(source: Path, names: Sequence[str], batches: Sequence[Batch]) -> dict[str, Grid]:
    probe = onnx.load(source, load_external_data=False)
    lows, highs = [f"{name}_low" for name in names], [f"{name}_high" for name in names]
    for operator, outputs in (("ReduceMin", lows), ("ReduceMax", highs)):
        for name, output in zip(names, outputs, strict=True):
            probe.graph.node.append(helper.make_node(operator, [name], [output], keepdims=0))
    found = np.array(list(_run(probe, source, [*lows, *highs], batches)))  # (N, 2 A)
    low, high = np.split(found, 2, axis=1)
    low, high = np.percentile(low, 100 - _PERCENTILE, axis=0), np.percentile(high, _PERCENTILE, axis=0)
    return dict(zip(names, map(Grid.of_range, low.tolist(), high.tolist()), strict=True))


def _run(probe: Any, source: Path, names: Sequence[str], batches: Sequence[Batch]) -> Iterator[list[Any]]:
    """The values with these names that a graph computes for each batch."""
    float_type = onnx.TensorProto.FLOAT
    probe.graph.output.extend(helper.make_tensor_value_info(name, float_type, None) for name in names)
    settings = SessionOptions()
    settings.log_severity_level = 3
    folder = "session.model_external_initializers_file_folder_path"
    settings.add_session_config_entry(folder, str(source.parent.absolute()))
    session = InferenceSession(probe.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    inputs = [node.name for node in session.get_inputs()]
    for batch in batches:
        yield session.run(list(names), {name: batch[name] for name in inputs})
