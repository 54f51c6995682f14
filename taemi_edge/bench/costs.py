"""Counts the least that a machine must do to run an ONNX graph: operations, and bytes that it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array, Frozen
from taemi_edge.calibration.graph_sessions import open_graph
from taemi_edge.calibration.graphs.graph import Graph, with_all_outputs

_RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
_CONVOLUTIONS = ("Conv", "FusedConv", "ConvInteger", "QLinearConv")
_GEMMS = ("Gemm", "FusedGemm", "QGemm")
_FUSED_ATTENTION = ("Attention", "QAttention")
#: Products that are written with names of ONNX Runtime's own, as `build-engine` leaves them in a graph, among them.
_PRODUCTS = (
    "MatMul",
    "FusedMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QLinearMatMul",
    "ConvTranspose",
    "MultiHeadAttention",
    *_CONVOLUTIONS,
    *_GEMMS,
    *_FUSED_ATTENTION,
    *_RECURRENT,
)
#: Those that add up products of whole numbers. Pairs of Q/DQ around other products are computed in FP32.
_INTEGER = (
    "ConvInteger",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "QAttention",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
)
#: The input that holds the weights where it is not the second one: a scale and a zero point lie between.
_WEIGHTS = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}


class Cost(Frozen, frozen=True):
    """The least that one run needs.

    Attributes:
        operations: of matrix products, convolutions and recurrences, two for each multiply-accumulate; all others are
            few. Those inside of loops and branches are not counted.
        integer_operations: those of them that kernels of whole numbers compute.
        weight_bytes: the constants as the graph holds them, each read once.
        seam_bytes: the inputs, read once, and the outputs, written once.
    """

    operations: float
    integer_operations: float
    weight_bytes: int
    seam_bytes: int

    @property
    def bytes(self) -> int:
        """All bytes that are read or written."""
        return self.weight_bytes + self.seam_bytes


def count_cost(graph: Graph, feeds: Mapping[str, Array]) -> Cost:
    """Run a graph once, and count from the shapes that its products had.

    Args:
        graph: of one part.
        feeds: arrays by input name, at one batch.
    """
    model, _ = with_all_outputs(graph)
    session = open_graph(model)
    products = [node for node in graph.nodes if node.op_type in _PRODUCTS]
    wanted = {name for node in products for name in (*node.input, *node.output)}
    known = {name: tuple(tensor.dims) for name, tensor in graph.initialisers.items()}
    made = sorted(name for name in wanted if name and name in graph.producers)  # "" is an input that is left out
    outputs = session.run([*made, *graph.outputs], dict(feeds))
    shapes = {**known, **{n: v.shape for n, v in feeds.items()}}
    shapes |= {name: value.shape for name, value in zip(made, outputs, strict=False)}
    operations = [(node.op_type in _INTEGER, 2.0 * _accumulations(node, shapes)) for node in products]
    seams = [*feeds.values(), *outputs[len(made) :]]
    return Cost(
        operations=sum(count for _, count in operations),
        integer_operations=sum(count for is_integer, count in operations if is_integer),
        weight_bytes=sum(_bytes(tensor) for tensor in graph.initialisers.values()),
        seam_bytes=int(sum(value.nbytes for value in seams)),
    )


def _accumulations(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """Multiply-accumulates of one product: elements of its output times how many each adds up."""
    op, inputs, outputs = node.op_type, list(node.input), list(node.output)
    if op in _RECURRENT:  # at each step of each row, both matrices of weights
        steps, rows = shapes[inputs[0]][:2]
        return float(steps * rows) * sum(float(np.prod(shapes[name])) for name in inputs[1:3])
    if op == "ConvTranspose":
        return float(np.prod(shapes[inputs[0]])) * float(np.prod(shapes[inputs[1]][1:]))
    if op in _FUSED_ATTENTION or op == "MultiHeadAttention":
        return _of_attention(op, [shapes.get(name, ()) for name in inputs])
    output, weight = float(np.prod(shapes[outputs[0]])), shapes[inputs[_WEIGHTS.get(op, 1)]]
    if op in _CONVOLUTIONS:
        return output * float(np.prod(weight[1:]))
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    left = shapes[inputs[0]]
    if op in _GEMMS:
        return output * left[0 if turned else 1]
    return output * left[-2 if turned else -1]


def _of_attention(op: str, inputs: Sequence[tuple[int, ...]]) -> float:
    """Multiply-accumulates of a fused attention: the projections where they lie in it, scores, and weighted values."""
    if op == "MultiHeadAttention":  # queries (rows, steps, width), keys and values projected already
        (rows, steps), width = inputs[0][:2], float(np.prod(inputs[0][2:]))
        keys = inputs[1] if len(inputs) > 1 and inputs[1] else inputs[0]
        length = keys[2] if len(keys) == 4 else keys[1]
        return 2.0 * rows * steps * length * width
    (rows, steps, _), weight = inputs[0], inputs[1]
    return float(rows * steps) * float(np.prod(weight)) + 2.0 * rows * steps * steps * weight[1] / 3


def _bytes(tensor: Any) -> int:
    from onnx import helper

    element = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(np.prod(tuple(tensor.dims)) * element)
