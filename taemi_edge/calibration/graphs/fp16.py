"""An FP32 or Q/DQ graph in, a strongly typed FP16 graph out, with FP32 islands where FP16 would break it.

Islands are LayerNorm and softmax, what the recipe keeps, and what was measured: a tensor whose magnitude comes near
FP16's largest number on real clips, or a constant that FP16 cannot hold. Inputs and outputs stay as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import version_converter

from taemi_edge.calibration.graphs.graph import Graph

#: FP16's largest number, and its smallest one above zero.
HALF_MAX, HALF_TINY = 65504.0, 2.0**-24
#: QuantizeLinear takes FP16 from this opset on.
_HALF_QDQ_OPSET = 19
#: Sums of squares and exponentials: FP16 loses them long before their results overflow.
KEPT_OPS = ("InstanceNormalization", "LayerNormalization", "Softmax")


def find_islands(
    graph: Graph, amax: Mapping[str, float], kept_scopes: Collection[str], margin: float
) -> dict[str, str]:
    """The nodes that must stay in FP32, each with the reason.

    Args:
        amax: the largest magnitude of each tensor on real clips.
        kept_scopes: nodes whose name starts with one of them stay whatever was measured.
        margin: how far below FP16's largest number a magnitude must stay.
    """
    islands: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type in KEPT_OPS:
            continue  # blocked by kind
        reason = _overflow(node, amax, margin) or _lost_constant(graph, node)
        if scope := next((scope for scope in kept_scopes if node.name.startswith(scope)), None):
            reason = f"the recipe keeps {scope}"
        if reason:
            islands[node.name] = reason
    return islands


def to_half(graph: Graph, islands: Collection[str]) -> Graph:
    """The graph in FP16, by ONNX Runtime's converter; a graph with Q/DQ pairs goes to opset 19 first."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    if graph.is_quantised and graph.opset < _HALF_QDQ_OPSET:
        model = version_converter.convert_version(model, _HALF_QDQ_OPSET)
    with warnings.catch_warnings():
        # it says of every value that it is brought into FP16's range, which the islands make harmless
        warnings.simplefilter("ignore")
        converted: Any = convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=list(KEPT_OPS),
            node_block_list=list(islands),
        )
    OnnxModel(converted).topological_sort()  # the converter puts its casts last
    made = Graph(converted)
    _join_islands(made, islands)
    return made


def _join_islands(graph: Graph, islands: Collection[str]) -> None:
    """Let neighbouring islands hand FP32 to each other: the converter casts to FP16 and back between any two."""
    wide_nodes = {node.name for node in graph.nodes if node.name in islands or node.op_type in KEPT_OPS}
    wide_values = {name for node in graph.nodes if node.name in wide_nodes for name in node.output}
    inputs = graph.model.graph.input
    wide_values |= {value.name for value in inputs if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    source_of = {
        node.output[0]: node.input[0]
        for node in graph.nodes
        if _casts_to(node, onnx.TensorProto.FLOAT16) and node.input[0] in wide_values
    }
    wide = {
        node.output[0]: source_of[node.input[0]]
        for node in graph.nodes
        if _casts_to(node, onnx.TensorProto.FLOAT) and node.input[0] in source_of
    }
    for node in graph.nodes:
        for place, name in enumerate(node.input):
            if name in wide:
                node.input[place] = wide[name]
    dead = {*wide, *source_of} - set(graph.outputs)
    for _ in range(2):  # the casts to FP32 first, then those to FP16 that nobody reads any more
        graph.reindex()
        graph.replace_nodes([n for n in graph.nodes if not (n.output[0] in dead and n.output[0] not in graph.readers)])


def _casts_to(node: Any, kind: int) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == kind for a in node.attribute)


def _overflow(node: Any, amax: Mapping[str, float], margin: float) -> str | None:
    for name in (*node.input, *node.output):
        if amax.get(name, 0.0) * margin > HALF_MAX:
            return f"{name} reaches {amax[name]:.3g}"
    return None


def _lost_constant(graph: Graph, node: Any) -> str | None:
    """A constant of one element that FP16 makes zero or infinite."""
    for name in node.input:
        tensor = graph.initialisers.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT or int(np.prod(tensor.dims)) != 1:
            continue
        value = abs(float(graph.value(name).item()))
        if value > HALF_MAX or 0 < value < HALF_TINY:
            return f"the constant {value:.3g} is none of FP16's"
    return None
