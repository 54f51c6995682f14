"""Scales pictures while their channels are still the last axis, in rows that a processor computes as one.

Graphs that take pictures as they come, (frames, height, width, 3), put the channels first and subtract a mean of each.
ONNX Runtime moves the step behind the arithmetic where integer convolutions follow, which then runs over three numbers
at a time. Here each row of a picture becomes one axis of width x 3 numbers, with the constants repeated along it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.fused.fact import attributes
from taemi_edge.calibration.fused.facts import Facts
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.names import fresh_name, only_reader

_ARITHMETIC = ("Add", "Sub", "Mul", "Div")
#: Rows of more channels than that are computed well as they are.
_MOST_CHANNELS = 8
#: Rows, their width, and the channels.
_LEAST_AXES = 3
_FLOAT = 1


@dataclass(frozen=True)
class _Chain:
    """Arithmetic by channel: its nodes, and where the channels are when it runs.

    Attributes:
        source: the tensor with the channels last.
        turn: the Transpose in front of the arithmetic; None where there is none.
        nodes: Cast, Add, Sub, Mul and Div, in their order.
        width, channels: the last two axes of the source.
    """

    source: str
    turn: Any | None
    nodes: list[Any]
    width: int
    channels: int


def scale_rows(graph: Graph) -> int:
    """Rewrite every chain of arithmetic by channel on a tensor with few channels last.

    Where a Transpose comes first, a graph in FP32 is computed as fast as it is written, and is left alone.

    Args:
        graph: is changed.

    Returns:
        How many there were.
    """
    facts, taken, chains = Facts(graph), set(), []
    quantised = any(node.op_type == "QuantizeLinear" for node in graph.nodes)
    for node in graph.nodes:
        chain = None if node.name in taken else _chain(graph, facts, node)
        if chain is not None and (quantised or chain.turn is None):
            chains.append(chain)
            taken |= {n.name for n in (chain.turn, *chain.nodes) if n is not None}
    for chain in chains:
        _write(graph, facts, chain)
    return len(chains)


def _chain(graph: Graph, facts: Facts, node: Any) -> _Chain | None:
    """The chain that a node begins: a Transpose, a Cast, or arithmetic."""
    turn = node if node.op_type == "Transpose" else None
    source = node.input[0] if node.input else ""
    if turn is None and (node.op_type not in _ARITHMETIC or source in graph.initialisers):
        return None
    shape = facts.shape(source)
    if shape is None or len(shape) < _LEAST_AXES or shape[-1].number is None or shape[-2].number is None:
        return None
    channels, width = shape[-1].number, shape[-2].number
    order = attributes(node).get("perm", ()) if turn is not None else range(len(shape))
    if not 1 < channels <= _MOST_CHANNELS or width < 2 or len(order) != len(shape):
        return None
    place = list(order).index(len(shape) - 1) - len(shape)
    nodes: list[Any] = []
    following = only_reader(graph, turn.output[0]) if turn is not None else node
    while following is not None and _is_by_channel(graph, facts, following, place, channels):
        nodes.append(following)
        following = only_reader(graph, following.output[0])
    while nodes and nodes[-1].op_type == "Cast":
        nodes.pop()
    constants = [_values(graph, following) for following in nodes]
    by_channel = any(constant is not None and constant.size > 1 for constant in constants)
    return _Chain(source, turn, nodes, width, channels) if by_channel else None


def _values(graph: Graph, node: Any) -> Array | None:
    """The constant side of a node's arithmetic."""
    name = next((name for name in node.input if name in graph.initialisers), None)
    return None if name is None or node.op_type == "Cast" else graph.value(name)


def _is_by_channel(graph: Graph, facts: Facts, node: Any, place: int, channels: int) -> bool:
    """Whether a node casts, or computes with constants that are one number, or one number for each channel.

    Args:
        graph: of the node.
        facts: of the graph.
        node: that reads the chain so far.
        place: the axis of the channels, counted from the end.
        channels: how many there are.
    """
    if node.op_type == "Cast":
        return attributes(node).get("to") == _FLOAT
    constant = _values(graph, node)
    if node.op_type not in _ARITHMETIC or constant is None or facts[node.output[0]].dtype != _FLOAT:
        return False
    moving = next((name for name in node.input if name not in graph.initialisers), "")
    shape = facts.shape(moving)
    if shape is None or shape != facts.shape(node.output[0]):
        return False
    axis = constant.ndim + place
    return constant.size == 1 or (axis >= 0 and constant.shape[axis] == channels and constant.size == channels)


def _write(graph: Graph, facts: Facts, chain: _Chain) -> None:
    """Put the arithmetic on rows in front of the Transpose."""
    output = chain.nodes[-1].output[0]
    rank = len(facts.shape(chain.source) or ())
    keep = [0] * (rank - 2)
    name = _reshape(graph, new := [], chain.source, [*keep, chain.width * chain.channels])
    for node in chain.nodes:
        inputs = []
        for read in node.input:
            constant = graph.value(read) if read in graph.initialisers else None
            inputs.append(name if constant is None else _repeated(graph, read, constant, chain))
        name = fresh_name(graph, f"{node.output[0]}/rows")
        rowwise = helper.make_node(node.op_type, inputs, [name], name=name)
        rowwise.attribute.extend(node.attribute)
        new.append(rowwise)
    name = _reshape(graph, new, name, [*keep, chain.width, chain.channels])
    if chain.turn is not None:
        turned = helper.make_node("Transpose", [name], [output], name=chain.turn.name)
        turned.attribute.extend(chain.turn.attribute)
        new.append(turned)
    else:
        new[-1].output[0] = output
    gone = {node.name for node in (chain.turn, *chain.nodes) if node is not None}
    last = chain.nodes[-1].name
    nodes: list[Any] = []
    for node in graph.nodes:
        nodes += new if node.name == last else [] if node.name in gone else [node]
    graph.replace_nodes(nodes)


def _reshape(graph: Graph, new: list[Any], name: str, target: list[int]) -> str:
    shaped = fresh_name(graph, f"{name}/{'x'.join(map(str, target[-2:]))}")
    constant = graph.add_value(fresh_name(graph, f"{shaped}/target"), np.array(target, np.int64))
    new.append(helper.make_node("Reshape", [name, constant], [shaped], name=shaped))
    return shaped


def _repeated(graph: Graph, name: str, constant: Array, chain: _Chain) -> str:
    """The constant for a whole row: one number stays one."""
    row = constant.flat[0] if (constant == constant.flat[0]).all() else np.tile(constant.ravel(), chain.width)
    return graph.add_value(fresh_name(graph, f"{name}/row"), row)
