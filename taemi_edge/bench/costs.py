"""Counts the least that a machine must do to run an ONNX graph: operations, and bytes that it moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array, Frozen
from taemi_edge.calibration.graph_sessions import open_graph
from taemi_edge.calibration.graphs.graph import Graph, with_all_outputs

_RECURRENT = ("LSTM", "GRU", "RNN")
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose", *_RECURRENT)


class Cost(Frozen, frozen=True):
    """The least that one run needs.

    Attributes:
        operations: of matrix products, convolutions and recurrences, two for each multiply-accumulate; all others are
            few. Those inside of loops and branches are not counted.
        weight_bytes: the constants as the graph holds them, each read once.
        seam_bytes: the inputs, read once, and the outputs, written once.
    """

    operations: float
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
    wanted = {name for node in graph.nodes if node.op_type in _PRODUCTS for name in (*node.input, *node.output)}
    known = {name: tuple(tensor.dims) for name, tensor in graph.initialisers.items()}
    made = sorted(name for name in wanted if name and name in graph.producers)  # "" is an input that is left out
    outputs = session.run([*made, *graph.outputs], dict(feeds))
    shapes = {**known, **{n: v.shape for n, v in feeds.items()}}
    shapes |= {name: value.shape for name, value in zip(made, outputs, strict=False)}
    operations = sum(2.0 * _accumulations(node, shapes) for node in graph.nodes if node.op_type in _PRODUCTS)
    seams = [*feeds.values(), *outputs[len(made) :]]
    return Cost(
        operations=operations,
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
    output, weight = shapes[outputs[0]], shapes[inputs[1]]
    if op == "Conv":
        return float(np.prod(output)) * float(np.prod(weight[1:]))
    if op == "Gemm":
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return float(np.prod(output)) * shapes[inputs[0]][0 if turned else 1]
    return float(np.prod(output)) * shapes[inputs[0]][-1]


def _bytes(tensor: Any) -> int:
    from onnx import helper

    element = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(np.prod(tuple(tensor.dims)) * element)
