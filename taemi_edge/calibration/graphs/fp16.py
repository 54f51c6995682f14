"""Converting a graph to strongly typed FP16, with islands of FP32 where FP16 would break it.

Islands are LayerNorm and softmax, the nodes that the recipe keeps, nodes whose tensors come near FP16's largest number
on real clips, and nodes with a constant that FP16 cannot hold. The graph's inputs and outputs keep their types.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx

from taemi_edge.calibration.graphs.graph import Graph

#: FP16's largest number, and its smallest one above zero.
FP16_MAX, FP16_TINY = 65504.0, 2.0**-24
#: QuantizeLinear takes FP16 from this opset on.
_FP16_QDQ_OPSET = 19
#: Sums of squares and exponentials: FP16 loses them long before their results overflow. Recurrences carry their
#: rounding from step to step.
KEPT_OPS = (
    *("GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization", "RMSNormalization"),
    *("LogSoftmax", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare", "Softmax"),
    *("GRU", "LSTM", "RNN"),
)


def find_islands(
    graph: Graph, amax: Mapping[str, float], kept_scopes: Collection[str], margin: float
) -> dict[str, str]:
    """Find the nodes that must stay in FP32.

    Args:
        graph: in FP32.
        amax: the largest magnitude of each tensor on real clips, by the tensor's name.
        kept_scopes: nodes whose name starts with one of these stay in any case.
        margin: how many times larger a magnitude may become before it reaches FP16's largest number.

    Returns:
        The reason of each node by its name. LayerNorm and softmax are not among them: `convert_to_fp16` keeps them
        anyway.
    """
    islands: dict[str, str] = {}
    squares = _mean_squares(graph)
    for node in graph.nodes:
        if node.op_type in KEPT_OPS:
            continue  # kept by their kind
        reason = "it is of a mean of squares" if node.name in squares else None
        reason = reason or _overflow(node, amax, margin) or _lost_constant(graph, node)
        if scope := next((scope for scope in kept_scopes if node.name.startswith(scope)), None):
            reason = f"the recipe keeps {scope}"
        if reason:
            islands[node.name] = reason
    return islands


def convert_to_fp16(graph: Graph, islands: Collection[str], kept_ops: Collection[str] = KEPT_OPS) -> Graph:
    """Convert a graph to FP16 with ONNX Runtime's converter; a graph with Q/DQ pairs becomes one of opset 19.

    Args:
        graph: in FP32, with or without Q/DQ pairs; it is not changed.
        islands: the names of further nodes that stay in FP32.
        kept_ops: the kinds of nodes that stay in FP32. Fewer show what those islands cost, not what is right.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = graph.at_opset(_FP16_QDQ_OPSET if graph.is_quantised else 0).model
    with warnings.catch_warnings():
        # the converter warns of every value that it clips to FP16's range; the islands make that harmless
        warnings.simplefilter("ignore")
        converted: Any = convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=list(kept_ops),
            node_block_list=list(islands),
        )
    OnnxModel(converted).topological_sort()  # the converter puts its casts last
    fp16 = Graph(converted)
    _join_islands(fp16, islands, kept_ops)
    return fp16


def _join_islands(graph: Graph, islands: Collection[str], kept_ops: Collection[str]) -> None:
    """Let neighbouring islands pass FP32 to each other: the converter casts to FP16 and back between any two."""
    wide_nodes = {node.name for node in graph.nodes if node.name in islands or node.op_type in kept_ops}
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
    for _ in range(2):  # the casts to FP32 first, then those to FP16 that nothing reads any more
        graph.reindex()
        graph.replace_nodes([n for n in graph.nodes if not (n.output[0] in dead and n.output[0] not in graph.readers)])


def _casts_to(node: Any, kind: int) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == kind for a in node.attribute)


def _overflow(node: Any, amax: Mapping[str, float], margin: float) -> str | None:
    for name in (*node.input, *node.output):
        if amax.get(name, 0.0) * margin > FP16_MAX:
            return f"{name} reaches {amax[name]:.3g}"
    return None


def _mean_squares(graph: Graph) -> set[str]:
    """The nodes that square a tensor and take its mean: a LayerNorm or RMSNorm that is written out."""
    found: set[str] = set()
    for node in graph.nodes:
        producer = graph.producers.get(node.input[0]) if node.op_type == "ReduceMean" else None
        if producer is not None and _squares(graph, producer):
            found |= {producer.name, node.name}
    return found


def _squares(graph: Graph, node: Any) -> bool:
    if node.op_type == "Mul":
        return bool(node.input[0] == node.input[1])
    exponent = graph.initialisers.get(node.input[1]) if node.op_type == "Pow" else None
    return exponent is not None and graph.value(node.input[1]).tolist() in (2, [2])


def _lost_constant(graph: Graph, node: Any) -> str | None:
    """A constant of one element that FP16 makes zero or infinite."""
    for name in node.input:
        tensor = graph.initialisers.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT or int(np.prod(tensor.dims)) != 1:
            continue
        value = abs(float(graph.value(name).item()))
        if value > FP16_MAX or 0 < value < FP16_TINY:
            return f"the constant {value:.3g} is none of FP16's"
    return None
