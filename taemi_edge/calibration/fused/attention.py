"""Puts attention that an exporter wrote as a dozen nodes into ONNX Runtime's one operator for it.

What is recognised is softmax(query x key' x scale + mask) x value, with any number of heads, queries of one sequence
and keys of another, and any mask that is added or filled in. Projections before and after it stay as they are, so
quantised ones stay quantised. Attention with anything else between these steps is left alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper

from taemi_edge.calibration.fused.dims import ONE, Dim
from taemi_edge.calibration.fused.fact import Shape, attributes
from taemi_edge.calibration.fused.facts import Facts
from taemi_edge.calibration.fused.folding import target_of
from taemi_edge.calibration.fused.layouts import LAYOUT, Axes, Factor, after, whole
from taemi_edge.calibration.fused.names import DOMAIN, declare_domain, drop_unread, fresh_name, kept_names, only_reader
from taemi_edge.calibration.graphs.graph import Graph

#: What is filled in for masked scores must be so low that adding it to a score gives the same number.
_LOW_ENOUGH = -1e8
_FLOAT = 1


@dataclass
class _Side:
    """Query, key or value: the tensor that holds it as (batch, steps, heads x size), or (steps, batch, ...).

    Attributes:
        source: the tensor.
        batch, heads, steps, size: the factors of its axes.
        scale: what it is multiplied by on its way.
        steps_first: whether the steps are its first axis.
    """

    source: str
    batch: Dim
    heads: Dim
    steps: Dim
    size: Dim
    scale: float
    steps_first: bool


@dataclass
class _Found:
    """One attention: its sides, mask, and the tensor that it makes."""

    query: _Side
    key: _Side
    value: _Side
    mask: tuple[str, ...]
    scale: float
    guarded: bool
    context: str
    output: str
    turned: bool


def fuse_attention(graph: Graph) -> int:
    """Replace every attention that is recognised.

    Args:
        graph: is changed.

    Returns:
        How many there were.
    """
    finder = _Finder(graph)
    found = [one for node in graph.nodes if node.op_type == "Softmax" and (one := finder.attention(node))]
    writer = _Writer(graph, finder.facts)
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

    def attention(self, softmax: Any) -> _Found | None:
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
        output, turned = self._output(context, query, value)
        if not output:
            return None
        scale *= query.scale * key.scale
        if value.scale != 1.0 or not np.isfinite(scale):
            return None
        return _Found(query, key, value, mask, scale, guarded, context.output[0], output, turned)

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

    def _side(self, name: str, is_key: bool) -> _Side | None:
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

    def _of_path(self, path: list[tuple[Any, str, float]], is_key: bool) -> _Side | None:
        """One side where it starts at the last tensor of a path that was walked back."""
        name = path[-1][1]
        shape = self.facts.shape(name)
        if shape is None or len(shape) != 3 or self.facts[name].dtype != _FLOAT:
            return None
        axes: Axes | None = whole(shape)
        for node, _, _ in reversed(path):
            if axes is not None and node.op_type in LAYOUT:
                axes = after(self.facts, node, axes)
        scale = math.prod(factor for _, _, factor in path)
        return None if axes is None else _side_of(name, shape, axes, scale, is_key)

    def _fit(self, query: _Side, key: _Side, value: _Side, scores: Shape, mask: tuple[str, ...]) -> bool:
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

    def _output(self, context: Any, query: _Side, value: _Side) -> tuple[str, bool]:
        """The tensor behind the context that has heads and steps together, and whether its steps come first."""
        name, found, turned = context.output[0], "", False
        sizes = (query.batch, query.heads, query.steps, value.size)
        batch, heads, steps, size = (((Factor(i, d),) if d != ONE else ()) for i, d in enumerate(sizes))
        three = len(self.facts.shape(name) or ()) == 3
        axes: Axes | None = (batch + heads, steps, size) if three else (batch, heads, steps, size)
        while (node := only_reader(self.graph, name)) is not None and node.input[0] == name:
            axes = after(self.facts, node, axes)
            if axes is None:
                break
            name = node.output[0]
            flat = tuple(factor for axis in axes for factor in axis)
            straight = flat == batch + steps + heads + size
            if (straight or flat == steps + batch + heads + size) and self._reaches(name, straight, query, value):
                found, turned = name, not straight
        return found, turned

    def _reaches(self, name: str, straight: bool, query: _Side, value: _Side) -> bool:
        """Whether a Reshape with a constant target makes a tensor of what the operator gives."""
        shape = self.facts.shape(name)
        return shape is not None and target_of(_attended(query, value, straight), shape) is not None


def _attended(query: _Side, value: _Side, straight: bool) -> Shape:
    """The shape that the operator gives, and after its first two axes are exchanged."""
    width = query.heads * value.size
    return (query.batch, query.steps, width) if straight else (query.steps, query.batch, width)


def _side_of(name: str, shape: Shape, axes: Axes, scale: float, is_key: bool) -> _Side | None:
    """Read the four factors of one side; None where the axes are something else."""
    if len(axes) < 3:
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
            return _Side(name, shape[batch_axis], heads, shape[steps_axis], inner, scale, steps_axis == 0)
    return None


class _Writer:
    """Puts the operator in the place of what was found."""

    def __init__(self, graph: Graph, facts: Facts) -> None:
        self.graph = graph
        self.facts = facts
        self.before: dict[str, list[Any]] = {}
        self.made: dict[tuple[str, ...], str] = {}
        self.count = 0

    def write(self, one: _Found) -> None:
        """Add the nodes of one attention in front of the node that makes its output."""
        self.new = self.before.setdefault(one.output, [])
        sides = [self._straight(side) for side in (one.query, one.key, one.value)]
        mask = self._mask(one) if one.mask else ""
        inputs = [*sides, "", "", mask] if mask else sides
        fused = self._name("attention")
        self._add(
            "MultiHeadAttention", inputs, fused, domain=DOMAIN, num_heads=one.query.heads.number, scale=float(one.scale)
        )
        if one.guarded and one.mask:
            fused = self._add("Where", [self._any_key(one), fused, self._zero()], self._name("guarded"))
        if one.turned:
            fused = self._add("Transpose", [fused], self._name("turned"), perm=[1, 0, 2])
        self._give(fused, one)

    def _give(self, fused: str, one: _Found) -> None:
        """Make the tensor that the graph goes on with."""
        before, shape = _attended(one.query, one.value, not one.turned), self.facts.shape(one.output) or ()
        if before == shape:
            self.new.append(helper.make_node("Identity", [fused], [one.output], name=self._name("output")))
            return
        target = self._constant(np.array(target_of(before, shape), np.int64))
        self.new.append(helper.make_node("Reshape", [fused, target], [one.output], name=self._name("output")))

    def finish(self) -> None:
        """Write the graph's nodes anew."""
        nodes = []
        for node in self.graph.nodes:
            replaced = next((name for name in node.output if name in self.before), None)
            nodes += [node] if replaced is None else self.before[replaced]
        self.graph.replace_nodes(nodes)
        declare_domain(self.graph)
        drop_unread(self.graph)

    def _name(self, word: str) -> str:
        self.count += 1
        return fresh_name(self.graph, f"fused/{word}_{self.count}")

    def _add(self, operator: str, inputs: list[str], output: str, **given: Any) -> str:
        self.new.append(helper.make_node(operator, inputs, [output], name=output, **given))
        return output

    def _constant(self, array: Any) -> str:
        return self.graph.add_value(self._name("constant"), array)

    def _zero(self) -> str:
        return self._once(("zero",), lambda: self._constant(np.zeros(1, np.float32)))

    def _once(self, key: tuple[str, ...], make: Any) -> str:
        """A tensor that several attentions share; the first of them makes it."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def _straight(self, side: _Side) -> str:
        if not side.steps_first:
            return side.source
        turn = lambda: self._add("Transpose", [side.source], self._name("turned"), perm=[1, 0, 2])  # noqa: E731
        return self._once(("turned", side.source), turn)

    def _added(self, one: _Found) -> str:
        """What is added to the scores, as four axes of which the queries' may be 1."""

        def make() -> str:
            name = one.mask[1]
            if one.mask[0] != "add":
                zero, low = self._zero(), one.mask[2]
                order = [zero, low] if one.mask[0] == "keep" else [low, zero]
                name = self._add("Where", [name, *order], self._name("mask"))
            missing = 4 - len(self.facts.shape(one.mask[1]) or ())
            if missing:
                axes = self._constant(np.arange(missing, dtype=np.int64))
                name = self._add("Unsqueeze", [name, axes], self._name("mask"))
            return name

        return self._once(("added", *one.mask), make)

    def _mask(self, one: _Found) -> str:
        """The mask with an own row for each query: the operator repeats it over the batch and the heads alone."""
        added = self._added(one)
        shape = self.facts.shape(one.mask[1]) or ()
        steps = shape[-2] if len(shape) > 1 else ONE
        if steps == one.query.steps:
            return added

        def make() -> str:
            sizes = self._add("Shape", [self._straight(one.query)], self._name("sizes"))
            one_, two = self._constant(np.array([1], np.int64)), self._constant(np.array([2], np.int64))
            count = self._add("Slice", [sizes, one_, two], self._name("sizes"))
            pair = self._constant(np.array([1, 1], np.int64))
            target = self._add("Concat", [pair, count, one_], self._name("sizes"), axis=0)
            return self._add("Expand", [added, target], self._name("mask"))

        return self._once(("mask", *one.mask, str(one.query.steps)), make)

    def _any_key(self, one: _Found) -> str:
        """Whether a query may read any key, as (batch, queries, 1)."""
        added = self._added(one)

        def make() -> str:
            axis = self._constant(np.array([1], np.int64))
            highest = self._add("ReduceMax", [added], self._name("any"), axes=[3], keepdims=1)
            lowest = self._constant(np.array(-np.inf, np.float32))
            found = self._add("Greater", [highest, lowest], self._name("any"))
            return self._add("Squeeze", [found, axis], self._name("any"))

        return self._once(("any", *one.mask), make)
