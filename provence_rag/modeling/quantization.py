"""int8 versions of float32 ONNX exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provence_rag.errors import InvalidInputError, MissingExtraError

try:
    import onnx
    from onnx import helper, numpy_helper
    from onnxruntime import InferenceSession, SessionOptions
except ModuleNotFoundError as error:  # pragma: no cover - exercised in an environment without onnx
    raise MissingExtraError("Exporting to ONNX", "export") from error

__all__ = ["quantize_onnx"]

_FLOAT = onnx.TensorProto.FLOAT
_CONTRIBUTED = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""

_LARGEST_WEIGHT = 64
"""Weights of 7 bits: processors without VNNI add pairs of products in 16 bits, which 8 would overflow."""

_FEWEST_COLUMNS = 16
"""A matrix with fewer is a head's last layer, which takes no time and whose rounding would go straight into
the logits."""

_PERCENTILE = 75
"""Of the lows and highs of a sample's batches. They are nearly the same in most texts; the few that go
further are cut off, since a step for all that reaches to their ends loses more than it saves: a third more
error in the bundled model's logits."""

Batch = Mapping[str, NDArray[np.int64]]


def quantize_onnx(source: str | Path, target: str | Path, batches: Sequence[Batch]) -> None:
    """Write an int8 version of a float32 export.

    Matrices are stored in 8-bit integers with a scale a column, embeddings with a scale a row. Each
    activation has one scale for good, from the range that it has on a sample: a window's scores do not
    depend on what else is in its batch, as they would with a scale taken from the batch. What is computed
    once a window (the pooler, the ranking head) and a head's last layer stay in floats.

    Args:
        source: From `export_onnx`.
        target: The file to write.
        batches: The sample, from `sample_batches`.

    Raises:
        InvalidInputError: The sample is empty.
    """
    if not batches:
        raise InvalidInputError("batches is empty: give those of sample_batches")
    source, target = Path(source), Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    model = onnx.load(source)
    products = _products(model.graph)
    activations = list(dict.fromkeys(node.input[0] for node in products.values()))
    _quantize_products(model.graph, products, _ranges(source, activations, batches))
    _quantize_embeddings(model.graph)
    onnx.save(model, target)


def _products(graph: Any) -> dict[str, Any]:
    """The nodes that multiply an activation by a large constant matrix, by the name of what they give."""
    shapes = {t.name: tuple(t.dims) for t in graph.initializer if t.data_type == _FLOAT}
    return {
        node.output[0]: node
        for node in graph.node
        if (node.op_type == "MatMul" or (node.op_type == "Attention" and _is_plain(node)))
        and node.input[0] not in shapes
        and len(shape := shapes.get(node.input[1], ())) == 2
        and shape[1] >= _FEWEST_COLUMNS
    }


def _is_plain(attention: Any) -> bool:
    """Whether an Attention node has nothing that its integer version lacks."""
    sizes = any(attribute.name == "qkv_hidden_sizes" for attribute in attention.attribute)
    return not sizes and all(attention.input[:3]) and not any(attention.input[4:])


def _ranges(source: Path, names: Sequence[str], batches: Sequence[Batch]) -> dict[str, tuple[float, float]]:
    """Where each activation lies in most batches of the sample."""
    probe = onnx.load(source, load_external_data=False)
    lows, highs = [f"{name}_low" for name in names], [f"{name}_high" for name in names]
    for operator, outputs in (("ReduceMin", lows), ("ReduceMax", highs)):
        for name, output in zip(names, outputs, strict=True):
            probe.graph.node.append(helper.make_node(operator, [name], [output], keepdims=0))
            probe.graph.output.append(helper.make_tensor_value_info(output, _FLOAT, []))
    settings = SessionOptions()
    settings.log_severity_level = 3
    folder = "session.model_external_initializers_file_folder_path"
    settings.add_session_config_entry(folder, str(source.parent.absolute()))
    session = InferenceSession(probe.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    inputs = [node.name for node in session.get_inputs()]
    feeds = [{name: batch[name] for name in inputs} for batch in batches]
    found = np.array([session.run([*lows, *highs], feed) for feed in feeds])  # (N, 2 A)
    low, high = np.split(found, 2, axis=1)
    low, high = np.percentile(low, 100 - _PERCENTILE, axis=0), np.percentile(high, _PERCENTILE, axis=0)
    return dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _quantize_products(
    graph: Any, products: Mapping[str, Any], ranges: Mapping[str, tuple[float, float]]
) -> None:
    """Let the products be computed in integers, and what is added to one be added in the same pass.

    The operators are written here, since ONNX Runtime finds them neither in what its own dynamic quantizer
    makes once the scales are constants, nor, around fused attention, in what its static one makes.
    """
    biases = _biases(graph, products)
    added = {node.output[0] for _, node in biases.values()}
    for name in dict.fromkeys(node.input[1] for node in products.values()):
        _quantize_matrix(graph, name)
    quantizing = {name: _quantize_activation(graph, name, *ends) for name, ends in ranges.items()}
    nodes = []
    for node in graph.node:
        output = node.output[0]
        if output in added:
            continue
        if output not in products:
            nodes.append(node)
            continue
        activation, matrix = node.input[:2]
        if activation in quantizing:  # by its first reader
            nodes.append(quantizing.pop(activation))
        factors = [f"{activation}_uint8", f"{matrix}_int8"]
        scales = [f"{activation}_scale", f"{matrix}_scale"]
        zero_points = [f"{activation}_zero_point", f"{matrix}_zero_point"]
        if node.op_type == "Attention":
            bias, mask = node.input[2], [*node.input[3:4], ""][0]
            inputs, operator = [*factors, bias, *scales, mask, *zero_points], "QAttention"
        else:
            inputs, operator = [*factors, *scales, *zero_points], "MatMulIntegerToFloat"
            if output in biases:
                bias, adding = biases[output]
                inputs.append(bias)
                output = adding.output[0]
        product = helper.make_node(operator, inputs, [output], node.name, domain=_CONTRIBUTED)
        product.attribute.extend(node.attribute)
        nodes.append(product)
    del graph.node[:]
    graph.node.extend(nodes)


def _biases(graph: Any, products: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Of the products that only a constant vector is added to: its name, and the node that adds it."""
    vectors = {t.name for t in graph.initializer if t.data_type == _FLOAT and len(t.dims) == 1}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    return {
        product: (vector, node)
        for node in graph.node
        if node.op_type == "Add"
        for product, vector in permutations(node.input)
        if product in products and vector in vectors and uses[product] == 1
    }


def _quantize_matrix(graph: Any, name: str) -> None:
    (tensor,) = (t for t in graph.initializer if t.name == name)
    weights = numpy_helper.to_array(tensor)  # (in, out)
    scale = np.abs(weights).max(axis=0) / _LARGEST_WEIGHT  # (out,)
    scale[scale == 0] = 1.0
    graph.initializer.remove(tensor)
    _add_constants(
        graph,
        {
            f"{name}_int8": np.round(weights / scale).astype(np.int8),
            f"{name}_scale": scale,
            f"{name}_zero_point": np.zeros(len(scale), dtype=np.int8),
        },
    )


def _quantize_activation(graph: Any, name: str, low: float, high: float) -> Any:
    """The node that does it; zero has an integer of its own, since padding and masks make much of it."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    scale_name, zero_point = f"{name}_scale", f"{name}_zero_point"
    _add_constants(graph, {scale_name: np.float32(scale), zero_point: np.uint8(round(-low / scale))})
    return helper.make_node("QuantizeLinear", [name, scale_name, zero_point], [f"{name}_uint8"])


def _add_constants(graph: Any, values: Mapping[str, Any]) -> None:
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in values.items())


def _quantize_embeddings(graph: Any) -> None:
    """Replace each look-up in a float table by one in an int8 table, times the row's scale.

    The quantizer would give a whole table one scale, which the largest of its values sets: of a typical row
    3.4 % is then lost, against 0.7 % with a scale of its own (multilingual-e5-small).
    """
    floats = {t.name: t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    looked_up: dict[str, Any] = {}
    nodes = []
    for node in graph.node:
        table = floats.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2:
            nodes.append(node)
            continue
        looked_up[table.name] = table
        indices, output = node.input[1], node.output[0]
        nodes += [
            helper.make_node("Gather", [f"{table.name}_int8", indices], [f"{output}_int8"]),
            helper.make_node("Cast", [f"{output}_int8"], [f"{output}_cast"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [f"{table.name}_scale", indices], [f"{output}_scale"]),
            helper.make_node("Mul", [f"{output}_cast", f"{output}_scale"], [output]),
        ]
    for name, table in looked_up.items():
        weights = numpy_helper.to_array(table)  # (V, H)
        scale = np.abs(weights).max(axis=1, keepdims=True) / 127  # (V, 1)
        scale[scale == 0] = 1.0
        values = np.round(weights / scale).astype(np.int8)
        graph.initializer.remove(table)
        graph.initializer.append(numpy_helper.from_array(values, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
    del graph.node[:]
    graph.node.extend(nodes)
