"""Weights of seven bits, with which integer kernels cannot overflow on x86 processors without VNNI.

There `vpmaddubsw` multiplies unsigned activations by signed weights and adds each pair of products in 16 bits, which
hold 32,767 at most: 2 * 255 * 127 is 64,770. With weights from -64 to 63 a pair is 2 * 255 * 64 = 32,640 at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.graphs.graph import Graph

#: The weights of seven bits.
LEAST, MOST = -64, 63


def with_seven_bit_weights(graph: Graph) -> Graph:
    """Give a graph whose signed eight-bit weights have seven bits and twice the scale; the given one is not changed.

    What a convolution adds is in steps of its weight's scale, and becomes coarser with it.

    Args:
        graph: with weights as INT8 constants behind DequantizeLinear, as `quantise_for_hosts` writes them, or as FP32
            constants with a Q/DQ pair behind them, as `quantise` does.
    """
    made = graph.copy()
    _write_as_integers(made)
    pairs = {node.output[0]: node for node in made.nodes if node.op_type == "DequantizeLinear"}
    for node in pairs.values():
        if _holds(made, node, TensorProto.INT8):
            steps = np.clip(np.rint(made.value(node.input[0]) / 2.0), LEAST, MOST).astype(np.int8)
            _replace(made, node, steps)
    for node in made.nodes:
        bias = _bias(made, node, pairs)
        if bias is not None:
            _replace(made, bias, np.rint(made.value(bias.input[0]) / 2.0).astype(np.int32))
    made.drop_unread_values()
    return made


def _write_as_integers(graph: Graph) -> None:
    """Replace FP32 weights that a QuantizeLinear rounds by the INT8 numbers that it makes of them."""
    rounded = set()
    for node in graph.nodes:
        given = [graph.value(name) for name in node.input if name in graph.initialisers]
        if node.op_type != "QuantizeLinear" or len(given) != 3 or given[2].dtype != np.int8 or given[2].any():
            continue
        weight, scale, _ = given
        shape = [1] * weight.ndim
        if scale.ndim:
            shape[next((a.i for a in node.attribute if a.name == "axis"), 1)] = -1
        steps = np.clip(np.rint(weight / scale.reshape(shape)), -128, 127).astype(np.int8)
        rounded.add(node.name)
        graph.add_value(node.output[0], steps)
    graph.replace_nodes([node for node in graph.nodes if node.name not in rounded])


def _holds(graph: Graph, node: Any, kind: int) -> bool:
    """Whether a DequantizeLinear reads a constant of a type."""
    return node.input[0] in graph.initialisers and graph.initialisers[node.input[0]].data_type == kind


def _bias(graph: Graph, node: Any, pairs: Mapping[str, Any]) -> Any | None:
    """The DequantizeLinear of a layer's INT32 bias, where its weight has become seven bits."""
    if node.op_type not in ("Conv", "Gemm") or not node.input[2:]:
        return None
    weight, bias = (pairs.get(name) for name in node.input[1:3])
    if weight is None or bias is None or not _holds(graph, weight, TensorProto.INT8):
        return None
    return bias if _holds(graph, bias, TensorProto.INT32) else None


def _replace(graph: Graph, node: Any, steps: Array) -> None:
    """Give a DequantizeLinear other steps and twice the scale, under names of their own."""
    names = [f"{name}/seven_bits/{node.name}" for name in node.input[:2]]
    doubled = np.asarray(graph.value(node.input[1]) * np.float32(2))
    node.input[0] = graph.add_value(names[0], steps)
    node.input[1] = graph.add_tensor(numpy_helper.from_array(doubled, names[1]))  # a single scale has no axis
    graph.reindex()
