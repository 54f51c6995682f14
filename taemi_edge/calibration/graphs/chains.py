"""Finding what integer kernels can compute one after the other: convolutions, and the operators between them.

A convolution has an integer kernel only where its output is quantised as well. An activation behind it costs nothing:
the quantised range ends where the ReLU does. Operators between convolutions join them where their inputs are quantised
already, and where something quantised reads them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from taemi_edge.calibration.graphs.graph import Graph, Layer
from taemi_edge.calibration.graphs.pixels import AffineInput, affine_source
from taemi_edge.calibration.graphs.qdq import is_excluded

#: Operators with integer kernels whose output has a range of its own.
_OWN_RANGE = ("Mul", "Sigmoid", "LeakyRelu", "Concat", "GlobalAveragePool", "AveragePool")
#: Operators that hand on the numbers of their first input, and so its range.
_SAME_RANGE = ("MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity")


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution that is computed in integers.

    Attributes:
        layer: its node and weight.
        source, output: the quantised tensors that it reads and makes; the output is that of the folded activation.
        activation: the node of the activation that the range of the output takes in; None without one.
        least, most: the bounds of that activation.
    """

    layer: Layer
    source: str
    output: str
    activation: str | None
    least: float
    most: float


@dataclass(frozen=True, eq=False)
class Chains:
    """The quantised tensors of a graph around its convolutions.

    Attributes:
        convolutions: those that are computed in integers, by the name of their node.
        joined: the names of the other nodes that are.
        made: the tensors whose makers give them quantised: every reader takes what was quantised.
        range_of: the tensor whose range another one has, because it holds the same numbers.
        pixels: tensors that hold an input of bytes, moved and scaled alone: they need no range.
    """

    convolutions: dict[str, Convolution]
    joined: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    range_of: dict[str, str] = field(default_factory=dict)
    pixels: dict[str, AffineInput] = field(default_factory=dict)

    @property
    def read(self) -> set[str]:
        """The tensors that only the convolutions read quantised."""
        return {each.source for each in self.convolutions.values()} - self.made

    @property
    def ranged(self) -> set[str]:
        """The tensors that need a range from clips."""
        tensors = self.made | self.read
        return {self.range_of.get(name, name) for name in tensors}


def find_chains(graph: Graph, excluded: Collection[str] = ()) -> Chains:
    """Find what is computed in integers around the convolutions of a graph.

    Args:
        graph: in FP32, as `simplify` gives it.
        excluded: the blocks that stay in FP32.
    """
    found = Chains(
        {
            layer.node: _convolution(graph, layer)
            for layer in graph.layers()
            if not layer.is_linear and not is_excluded(layer.block, excluded) and _has_constant_bias(graph, layer)
        }
    )
    found.made.update(each.output for each in found.convolutions.values())
    for each in found.convolutions.values():
        affine = affine_source(graph, each.source)
        if affine is not None:
            found.pixels[each.source] = affine
    _join(graph, found)
    return found


def _has_constant_bias(graph: Graph, layer: Layer) -> bool:
    """Whether a convolution adds nothing, or numbers that no input changes: its kernel takes them as integers."""
    given: list[str] = next(list(node.input[2:]) for node in graph.nodes if node.name == layer.node)
    return all(not name or name in graph.initialisers for name in given)


def _convolution(graph: Graph, layer: Layer) -> Convolution:
    node = next(node for node in graph.nodes if node.name == layer.node)
    output = node.output[0]
    readers = graph.readers.get(output, [])
    if len(readers) == 1 and output not in graph.outputs:
        bounds = activation_bounds(graph, readers[0])
        if bounds is not None:
            return Convolution(layer, layer.source, readers[0].output[0], readers[0].name, *bounds)
    return Convolution(layer, layer.source, output, None, -np.inf, np.inf)


def activation_bounds(graph: Graph, node: Any) -> tuple[float, float] | None:
    """Give the ends of what an activation lets through unchanged, zero between them; None for another operator."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    if node.op_type != "Clip":
        return None
    given = {a.name: a.f for a in node.attribute}  # before opset 11
    ends = [given.get("min", -np.inf), given.get("max", np.inf)]
    for place, name in enumerate(node.input[1:3]):
        if name and name not in graph.initialisers:
            return None
        if name:
            ends[place] = float(graph.value(name))
    return (ends[0], ends[1]) if ends[0] <= 0.0 <= ends[1] else None


def _join(graph: Graph, found: Chains) -> None:
    """Add the operators between quantised tensors, and drop those again that nothing quantised reads."""
    candidates: dict[str, Any] = {}
    made = set(found.made)
    for node in graph.nodes:
        if node.op_type in (*_OWN_RANGE, *_SAME_RANGE) and node.output[0] not in made and _is_fed(graph, node, made):
            candidates[node.name] = node
            made.add(node.output[0])
    sources = {each.source for each in found.convolutions.values()}
    for node in reversed(list(candidates.values())):
        if node.output[0] in sources and node.output[0] not in graph.outputs:
            found.joined.add(node.name)
            sources.update(name for name in node.input if name in made)
    for node in candidates.values():
        if node.name in found.joined:
            found.made.add(node.output[0])
            if node.op_type in _SAME_RANGE:
                found.range_of[node.output[0]] = found.range_of.get(node.input[0], node.input[0])


def _is_fed(graph: Graph, node: Any, made: Collection[str]) -> bool:
    """Whether every activation that a node reads is quantised, and nothing but shapes besides."""
    if node.op_type in _SAME_RANGE:
        return node.input[0] in made and all(not name or name in graph.initialisers for name in node.input[1:])
    return all(name in made for name in node.input)
