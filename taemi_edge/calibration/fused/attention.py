"""Puts attention that an exporter wrote as a dozen nodes into ONNX Runtime's one operator for it.

What is recognised is softmax(query x key' x scale + mask) x value, with any number of heads, queries of one sequence
and keys of another, and any mask that is added or filled in. Projections before and after it stay as they are, so
quantised ones stay quantised. Attention with anything else between these steps is left alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taemi_edge.calibration.fused.attention_operator import Attention, AttentionWriter, Side, attended
from taemi_edge.calibration.fused.dims import ONE
from taemi_edge.calibration.fused.fact import Shape, attributes
from taemi_edge.calibration.fused.facts import Facts
from taemi_edge.calibration.fused.folding import target_of
from taemi_edge.calibration.fused.layouts import LAYOUT, Axes, Factor, after, whole
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.names import kept_names, only_reader

#: What is filled in for masked scores must be so low that adding it to a score gives the same number.
_LOW_ENOUGH = -1e8
_FLOAT = 1
#: Of a tensor with batch, steps, and heads and features together.
_AXES = 3


def fuse_attention(graph: Graph) -> int:
    """Replace every attention that is recognised.

    Args:
        graph: is changed.

    Returns:
        How many there were.
    """
    finder = _Finder(graph)
    found = [one for node in graph.nodes if node.op_type == "Softmax" and (one := finder.attention(node))]
    writer = AttentionWriter(graph, finder.facts)
    for one in found:
        writer.write(one)
    if found:
        writer.finish()
    return len(found)


class _Finder:
    """Recognises attention in a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.facts = Facts(graph)
        self.kept_names = kept_names(graph)

    def attention(self, softmax: Any) -> Attention | None:
        """The attention that a Softmax belongs to."""
        scores = self.facts.shape(softmax.input[0])
        if scores is None or attributes(softmax).get("axis", -1) not in (-1, len(scores) - 1):
            return None
        product, mask, scale = self._scores(softmax.input[0])
        context, guarded = self._context(softmax)
        if product is None or context is None:
            return None
        query, key = self._side(product.input[0], False), self._side(product.input[1], True)
        value = self._side(context.input[1], False)
        if query is None or key is None or value is None or not self._fit(query, key, value, scores, mask):
            return None
        emptied, made = self._emptied(context, query)
        output, turned = self._output(made, query, value)
        if not output:
            return None
        scale *= query.scale * key.scale
        if value.scale != 1.0 or not np.isfinite(scale):
            return None
        return Attention(query, key, value, mask, scale, guarded, emptied, context.output[0], output, turned)

    def _number(self, name: str) -> float | None:
        """The one number that a constant holds."""
        tensor = self.graph.initialisers.get(name)
        if tensor is None or tensor.data_type != _FLOAT or any(size != 1 for size in tensor.dims):
            return None
        return float(self.graph.value(name).flat[0])

    def _scaling(self, node: Any) -> tuple[str, float] | None:
        """What a node multiplies by a number, and the number."""
        if node.op_type == "Div" and (divisor := self._number(node.input[1])):
            return node.input[0], 1.0 / divisor
        if node.op_type == "Mul":
            for this, other in ((0, 1), (1, 0)):
                number = self._number(node.input[this])
                if number is not None:
                    return node.input[other], number
        return None

    def _scores(self, name: str) -> tuple[Any | None, tuple[str, ...], float]:
        """The product of queries and keys behind the scores, the mask, and the scale between them."""
        nothing = (None, (), 1.0)
        node = self.graph.producers.get(name)
        if node is None or only_reader(self.graph, name) is None:
            return nothing
        if node.op_type == "MatMul":
            return node, (), 1.0
        if (scaled := self._scaling(node)) is not None:
            product, mask, scale = self._scores(scaled[0])
            return (product, (), scale * scaled[1]) if not mask else nothing
        if node.op_type == "Add":
            for this, other in ((0, 1), (1, 0)):
                product, mask, scale = self._scores(node.input[this])
                if product is not None:
                    return (product, ("add", node.input[other]), scale) if not mask else nothing
        if node.op_type == "Where":
            for place, other in ((1, 2), (2, 1)):
                low = self._number(node.input[other])
                if low is not None and low <= _LOW_ENOUGH:
                    product, mask, scale = self._scores(node.input[place])
                    words = ("keep" if place == 1 else "hide", node.input[0], node.input[other])
                    return (product, words, scale) if not mask else nothing
        return nothing

    def _context(self, softmax: Any) -> tuple[Any | None, bool]:
        """The product of probabilities and values, and whether rows that are no number become zero before it."""
        name = softmax.output[0]
        reader, guarded = only_reader(self.graph, name), False
        if reader is None:
            readers = self.graph.readers.get(name, [])
            test = next((node for node in readers if node.op_type == "IsNaN"), None)
            choice = next((node for node in readers if node.op_type == "Where"), None)
            if name in self.kept_names or len(readers) != 2 or test is None or choice is None:
                return None, False
            zero = self._number(choice.input[1])
            if zero != 0.0 or list(choice.input) != [test.output[0], choice.input[1], name]:
                return None, False
            if only_reader(self.graph, test.output[0]) is None:
                return None, False
            reader, guarded, name = only_reader(self.graph, choice.output[0]), True, choice.output[0]
        if reader is None or reader.op_type != "MatMul" or reader.input[0] != name or reader.input[1] == name:
            return None, False
        return reader, guarded

    def _side(self, name: str, is_key: bool) -> Side | None:
        """The earliest tensor behind one side of a product that has heads and steps together."""
        path: list[tuple[Any, str, float]] = []
        while (node := self.graph.producers.get(name)) is not None:
            scaled = self._scaling(node)
            if scaled is not None and self.facts.shape(scaled[0]) == self.facts.shape(name):
                path.append((node, *scaled))
            elif node.op_type in LAYOUT:
                path.append((node, node.input[0], 1.0))
            else:
                break
            name = path[-1][1]
        for start in range(len(path), 0, -1):
            side = self._of_path(path[:start], is_key)
            if side is not None:
                return side
        return None

    def _of_path(self, path: list[tuple[Any, str, float]], is_key: bool) -> Side | None:
        """One side where it starts at the last tensor of a path that was walked back."""
        name = path[-1][1]
        shape = self.facts.shape(name)
        if shape is None or len(shape) != _AXES or self.facts[name].dtype != _FLOAT:
            return None
        axes: Axes | None = whole(shape)
        for node, _, _ in reversed(path):
            if axes is not None and node.op_type in LAYOUT:
                axes = after(self.facts, node, axes)
        scale = math.prod(factor for _, _, factor in path)
        return None if axes is None else _side_of(name, shape, axes, scale, is_key)

    def _fit(self, query: Side, key: Side, value: Side, scores: Shape, mask: tuple[str, ...]) -> bool:
        """Whether the three sides, the mask and the scores belong to one attention."""
        alike = query.batch == key.batch == value.batch and query.heads == key.heads == value.heads
        sizes = query.size == key.size and key.steps == value.steps
        numbers = None not in (query.heads.number, query.size.number, value.size.number)
        if not (alike and sizes and numbers):
            return False
        if not mask:
            return True
        if len(scores) != 4:
            return False
        shape = self.facts.shape(mask[1])
        if shape is None or len(shape) > 4:
            return False
        shape = (ONE,) * (4 - len(shape)) + shape
        fits = zip(shape, (query.batch, query.heads, query.steps, key.steps), strict=True)
        return all(have in (ONE, want) for have, want in fits) and shape[3] == key.steps

    def _emptied(self, context: Any, query: Side) -> tuple[str, str]:
        """The condition under which a row of the context is zero, and the tensor behind that choice."""
        name = context.output[0]
        choice = only_reader(self.graph, name)
        if choice is None or choice.op_type != "Where" or choice.input[2] != name:
            return "", name
        shape = self.facts.shape(choice.input[0])
        fits = zip(shape or (), (query.batch, ONE, query.steps, ONE), strict=False)
        if self._number(choice.input[1]) != 0.0 or len(shape or ()) != 4 or any(h not in (ONE, w) for h, w in fits):
            return "", name
        return str(choice.input[0]), str(choice.output[0])

    def _output(self, name: str, query: Side, value: Side) -> tuple[str, bool]:
        """The tensor behind the context that has heads and steps together, and whether its steps come first."""
        found, turned = "", False
        sizes = (query.batch, query.heads, query.steps, value.size)
        batch, heads, steps, size = (((Factor(i, d),) if d != ONE else ()) for i, d in enumerate(sizes))
        three = len(self.facts.shape(name) or ()) == _AXES
        axes: Axes = (batch + heads, steps, size) if three else (batch, heads, steps, size)
        while (node := only_reader(self.graph, name)) is not None and node.input[0] == name:
            following = after(self.facts, node, axes)
            if following is None:
                break
            axes = following
            name = node.output[0]
            flat = tuple(factor for axis in axes for factor in axis)
            straight = flat == batch + steps + heads + size
            if (straight or flat == steps + batch + heads + size) and self._reaches(name, straight, query, value):
                found, turned = name, not straight
        return found, turned

    def _reaches(self, name: str, straight: bool, query: Side, value: Side) -> bool:
        """Whether a Reshape with a constant target makes a tensor of what the operator gives."""
        shape = self.facts.shape(name)
        return shape is not None and target_of(attended(query, value, straight), shape) is not None


def _side_of(name: str, shape: Shape, axes: Axes, scale: float, is_key: bool) -> Side | None:
    """Read the four factors of one side; None where the axes are something else."""
    if len(axes) < _AXES:
        return None
    lead = [factor for axis in axes[:-2] for factor in axis]
    steps, size = (axes[-1], axes[-2]) if is_key else (axes[-2], axes[-1])
    for steps_axis in (1, 0):
        batch_axis = 1 - steps_axis
        inner = size[0].size if len(size) == 1 else ONE
        heads = shape[2].divided_by(inner)
        if heads is None:
            continue
        expected = (
            ((Factor(batch_axis, shape[batch_axis]), Factor(2, heads, inner)), lead),
            ((Factor(steps_axis, shape[steps_axis]),), steps),
            ((Factor(2, inner),), size),
        )
        if all([f for f in want if f.size != ONE] == list(have) for want, have in expected):
            return Side(name, shape[batch_axis], heads, shape[steps_axis], inner, scale, steps_axis == 0)
    return None
