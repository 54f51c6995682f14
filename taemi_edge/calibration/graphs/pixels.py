"""Finding inputs of bytes that a graph only moves and scales before it reads them.

A picture of bytes x that becomes (x - 127) / 128 is quantised already: its scale is 1/128 and its zero point 127. The
integer kernels take the bytes themselves then, without an error and without the arithmetic in front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from taemi_edge.calibration.graphs.graph import Graph

_MOVES = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
_CLOSE = 1e-3  # of a step of the input, to a whole number


@dataclass(frozen=True, eq=False)
class AffineInput:
    """An input of bytes x, moved, as scale * (x - zero_point).

    Attributes:
        name: of the graph's input.
        moves: the nodes that move its values, the first one first.
        scale: what a step of the input is.
        zero_point: the byte that is zero, 0 to 255.
    """

    name: str
    moves: tuple[Any, ...]
    scale: float
    zero_point: int


def affine_source(graph: Graph, tensor: str) -> AffineInput | None:
    """Give the input of bytes that a tensor is, moved, scaled and shifted by single numbers alone; None otherwise."""
    inputs = {value.name: value.type.tensor_type.elem_type for value in graph.model.graph.input}
    scale, shift = 1.0, 0.0  # tensor = scale * x + shift
    moves: list[Any] = []
    name, has_cast = tensor, False
    while name not in inputs:
        node: Any = graph.producers.get(name)
        if node is None:
            return None
        if node.op_type in _MOVES and all(not given or given in graph.initialisers for given in node.input[1:]):
            moves.insert(0, node)
        elif node.op_type == "Cast":
            if has_cast or next(a.i for a in node.attribute if a.name == "to") != onnx.TensorProto.FLOAT:
                return None
            has_cast = True
        else:
            step = _step(graph, node)
            if step is None or has_cast:
                return None
            shift += scale * step[1]
            scale *= step[0]
        name = node.input[0]
    if inputs[name] != onnx.TensorProto.UINT8 or scale <= 0 or not np.isfinite(scale):
        return None
    zero = -shift / scale
    if not -0.5 <= zero <= 255.5 or abs(zero - round(zero)) > _CLOSE:
        return None
    return AffineInput(name, tuple(moves), scale, round(zero))


def _step(graph: Graph, node: Any) -> tuple[float, float] | None:
    """What a node multiplies its first input by, and adds then; None where it does anything else."""
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or node.input[1] not in graph.initialisers:
        return None
    values = graph.value(node.input[1])
    if values.size == 0 or np.any(values != values.flat[0]) or values.ndim > 4:
        return None
    number = float(values.flat[0])
    if node.op_type in ("Mul", "Div") and number == 0:
        return None
    of: dict[str, tuple[float, float]] = {
        "Add": (1.0, number),
        "Sub": (1.0, -number),
        "Mul": (number, 0.0),
        "Div": (1.0 / number if number else 1.0, 0.0),
    }
    return of[node.op_type]


def moved_bytes(affine: AffineInput, place: str) -> tuple[list[Any], str]:
    """Give nodes that move the bytes as the graph moves the numbers, and the name of what the last one makes."""
    nodes, name = [], affine.name
    for number, move in enumerate(affine.moves):
        made = helper.make_node(move.op_type, [name, *move.input[1:]], [f"{place}/bytes_{number}"])
        made.name = f"{place}/Move_{number}"
        made.attribute.extend(move.attribute)
        nodes.append(made)
        name = made.output[0]
    return nodes, name
