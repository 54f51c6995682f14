"""Writes ONNX Runtime's operator for attention in the place of what was recognised (`attention.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.fused.dims import ONE, Dim
from taemi_edge.calibration.fused.fact import Shape
from taemi_edge.calibration.fused.facts import Facts
from taemi_edge.calibration.fused.folding import target_of
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.names import DOMAIN, declare_domain, drop_unread, fresh_name


@dataclass(frozen=True)
class Side:
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


@dataclass(frozen=True)
class Attention:
    """One attention: its sides, mask, and the tensor that it makes."""

    query: Side
    key: Side
    value: Side
    mask: tuple[str, ...]
    scale: float
    guarded: bool
    emptied: str
    context: str
    output: str
    turned: bool


def attended(query: Side, value: Side, straight: bool) -> Shape:
    """The shape that the operator gives, and after its first two axes are exchanged."""
    width = query.heads * value.size
    return (query.batch, query.steps, width) if straight else (query.steps, query.batch, width)


class AttentionWriter:
    """Puts the operator in the place of what was found."""

    def __init__(self, graph: Graph, facts: Facts) -> None:
        self.graph = graph
        self.facts = facts
        self.before: dict[str, list[Any]] = {}
        self.made: dict[tuple[str, ...], str] = {}
        self.new: list[Any] = []
        self.count = 0

    def write(self, one: Attention) -> None:
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
        if one.emptied:
            row = self._add("Squeeze", [one.emptied, self._constant(np.array([1], np.int64))], self._name("emptied"))
            fused = self._add("Where", [row, self._zero(), fused], self._name("emptied"))
        if one.turned:
            fused = self._add("Transpose", [fused], self._name("turned"), perm=[1, 0, 2])
        self._give(fused, one)

    def _give(self, fused: str, one: Attention) -> None:
        """Make the tensor that the graph goes on with."""
        before, shape = attended(one.query, one.value, not one.turned), self.facts.shape(one.output) or ()
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

    def _constant(self, array: Array) -> str:
        return self.graph.add_value(self._name("constant"), array)

    def _zero(self) -> str:
        return self._once(("zero",), lambda: self._constant(np.zeros(1, np.float32)))

    def _once(self, key: tuple[str, ...], make: Callable[[], str]) -> str:
        """A tensor that several attentions share; the first of them makes it."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def _straight(self, side: Side) -> str:
        if not side.steps_first:
            return side.source

        def make() -> str:
            return self._add("Transpose", [side.source], self._name("turned"), perm=[1, 0, 2])

        return self._once(("turned", side.source), make)

    def _added(self, one: Attention) -> str:
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

    def _mask(self, one: Attention) -> str:
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

    def _any_key(self, one: Attention) -> str:
        """Whether a query may read any key, as (batch, queries, 1)."""
        added = self._added(one)

        def make() -> str:
            axis = self._constant(np.array([1], np.int64))
            highest = self._add("ReduceMax", [added], self._name("any"), axes=[3], keepdims=1)
            lowest = self._constant(np.array(-np.inf, np.float32))
            found = self._add("Greater", [highest, lowest], self._name("any"))
            return self._add("Squeeze", [found, axis], self._name("any"))

        return self._once(("any", *one.mask), make)
