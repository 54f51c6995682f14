"""Takes computations of shapes out of a graph: what holds for every input is written into the graph as a constant.

An exporter writes `x.view(batch, tokens, heads, -1)` as a dozen nodes that read sizes and put them together. Most of
such targets need no size at run time: ONNX's Reshape copies an axis where it reads 0, and computes one where it reads
-1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.fused.dims import ONE, Dim, numbers_of, product_of
from taemi_edge.calibration.fused.fact import Fact, Shape, attributes
from taemi_edge.calibration.fused.facts import Facts
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.names import drop_unread, fresh_name, has_branches, is_random, kept_names

#: Each round sees the facts that the one before made simpler; the graphs that were tried need two.
_MOST_ROUNDS = 8
_TYPES = {onnx.TensorProto.INT64: np.int64, onnx.TensorProto.INT32: np.int32, onnx.TensorProto.BOOL: np.bool_}
#: A constant of at most so many elements is compared with the others.
_SMALL = 64
#: Operators that keep the order of all elements.
_KEEP_ORDER = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")


def fold(graph: Graph) -> int:
    """Replace what depends on no input, and nodes that change nothing, until nothing more is found.

    Args:
        graph: is changed.

    Returns:
        How many nodes are left out.
    """
    before = len(graph.nodes)
    for _ in range(_MOST_ROUNDS):
        if not _Round(graph).run():
            break
    return before - len(graph.nodes)


def target_of(before: Shape, after: Shape) -> list[int] | None:
    """The constant with which Reshape makes one shape of another, None where no constant does for every input.

    Example:
        >>> batch, tokens = Dim.named("batch"), Dim.named("tokens")
        >>> target_of((batch, tokens, Dim.of(384)), (batch, tokens, Dim.of(12), Dim.of(32)))
        [0, 0, 12, 32]
        >>> target_of((batch, tokens), (tokens, batch)) is None
        True
    """
    target: list[int | None] = []
    for axis, dim in enumerate(after):
        if dim.number is not None:
            target.append(dim.number)
        else:
            target.append(0 if axis < len(before) and before[axis] == dim else None)
    if 0 in (dim.number for dim in after) or target.count(None) > 1:
        return None
    return [-1 if size is None else size for size in target]


class _Round:
    """One pass over a graph, with the facts from before it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.facts = Facts(graph)
        self.renamed: dict[str, str] = {}
        self.changes = 0
        self.kept_names = kept_names(graph)
        self.made: dict[tuple[Any, ...], str] = {}
        self._merge_constants()

    def run(self) -> int:
        """Apply every rule to every node; say how many changes there were."""
        for node in list(self.graph.nodes):
            for place, name in enumerate(node.input):
                if name in self.renamed and not has_branches(node):
                    node.input[place] = self.renamed[name]
            if len(node.output) == 1 and node.domain in ("", "ai.onnx"):
                self._simplify(node)
        self.graph.reindex()
        drop_unread(self.graph)
        return self.changes

    def _simplify(self, node: Any) -> None:
        name = node.output[0]
        if name not in self.kept_names:
            constant = self._constant(self.facts[name])
            if constant is not None:
                self._rename(name, self._add(name, constant))
                return
            same = self._same_as(node)
            if same is not None:
                self._rename(name, same)
                return
            twin = self.made.setdefault(self._key(node), name)
            if twin != name and not is_random(node):
                self._rename(name, twin)
                return
        rewrite = _REWRITES.get(node.op_type)
        if rewrite is not None and rewrite(self, node):
            self.changes += 1

    def _key(self, node: Any) -> tuple[Any, ...]:
        """What two nodes have in common that compute the same: the sizes that they give, or all that they are."""
        fact = self.facts[node.output[0]]
        if fact.values is not None and fact.dtype:
            return (fact.values, fact.shape, fact.dtype)
        given = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        return (node.domain, node.op_type, *node.input, *given)

    def _merge_constants(self) -> None:
        """Let small constants that are equal be one, so that what is computed with them can be."""
        first: dict[tuple[Any, ...], str] = {}
        for name, tensor in self.graph.initialisers.items():
            if np.prod(tensor.dims, dtype=int) <= _SMALL and name not in self.kept_names and not tensor.data_location:
                key = (tensor.data_type, tuple(tensor.dims), self.graph.value(name).tobytes())
                if first.setdefault(key, name) != name:
                    self.renamed[name] = first[key]

    def _rename(self, name: str, to: str) -> None:
        self.renamed[name] = to
        self.changes += 1

    def _add(self, beside: str, array: Array) -> str:
        return self.graph.add_value(fresh_name(self.graph, f"{beside}/folded"), array)

    def _constant(self, fact: Fact) -> Array | None:
        numbers = None if fact.values is None else numbers_of(fact.values)
        if numbers is None or fact.dtype not in _TYPES or fact.shape is None:
            return None
        return np.array(numbers, _TYPES[fact.dtype]).reshape(numbers_of(fact.shape) or ())

    def _same_as(self, node: Any) -> str | None:
        """The tensor that a node's output is equal to, element by element."""
        source = node.input[0] if node.input else ""
        before, after = self.facts[source], self.facts[node.output[0]]
        if before.shape is None or after.shape is None:
            return None
        if node.op_type in _KEEP_ORDER:
            return self._of_same_shape(source, after.shape)
        alike = before.shape == after.shape
        if node.op_type == "Expand" or (node.op_type == "Cast" and before.dtype and before.dtype == after.dtype):
            return source if alike else None
        if node.op_type == "Transpose" and alike:
            return source if list(attributes(node).get("perm", ())) == sorted(range(len(after.shape))) else None
        if node.op_type in ("Mul", "Div") and self._is_one(node.input[1]):
            return source if alike else None
        if node.op_type == "And":
            sides = [self.facts[name] for name in node.input]
            for this, other in ((0, 1), (1, 0)):
                if sides[this].fill == 1 and self._may_stay_small(node, node.input[other]):
                    return str(node.input[other])
        return None

    def _of_same_shape(self, source: str, shape: Shape) -> str | None:
        """The tensor of this shape that lies behind a row of nodes that keep the order of elements."""
        seen: str | None = source
        while seen is not None:
            if self.facts.shape(seen) == shape:
                return seen
            made = self.graph.producers.get(seen)
            seen = made.input[0] if made is not None and made.op_type in _KEEP_ORDER and not made.domain else None
        return None

    def _is_one(self, name: str) -> bool:
        tensor = self.graph.initialisers.get(name)
        return (
            tensor is not None and not any(d != 1 for d in tensor.dims) and float(self.graph.value(name).flat[0]) == 1
        )

    def _may_stay_small(self, node: Any, name: str) -> bool:
        """Whether a tensor does in place of a node's output, which may be the same tensor repeated along axes.

        It does where the shapes are equal, and where every reader is an Expand that repeats it anyway.
        """
        shape, repeated = self.facts.shape(name), self.facts.shape(node.output[0])
        if shape is None or repeated is None:
            return False
        readers = self.graph.readers.get(node.output[0], [])
        return shape == repeated or all(
            reader.op_type == "Expand"
            and (target := self.facts[reader.input[1]].values) is not None
            and self.facts.broadcast(shape, target) == self.facts.shape(reader.output[0])
            for reader in readers
        )

    # what is changed in place

    def reshape(self, node: Any) -> bool:
        """Give a Reshape a constant target."""
        before, after = self.facts.shape(node.input[0]), self.facts.shape(node.output[0])
        if before is None or after is None or node.input[1] in self.graph.initialisers:
            return False
        target = target_of(before, after)
        if target is None or attributes(node).get("allowzero", 0):
            return False
        node.input[1] = self._add(node.output[0], np.array(target, np.int64))
        return True

    def gather(self, node: Any) -> bool:
        """Turn a Gather that reads all elements in their order into a Reshape, and one that reads one row into it."""
        return self._gather_in_order(node) or self._gather_one_row(node)

    def _gather_in_order(self, node: Any) -> bool:
        """Masks of recent transformers are read by an index of rows and columns, which is the mask itself."""
        source = self.graph.producers.get(node.input[0])
        index = self.facts[node.input[1]]
        if source is None or source.op_type not in ("Flatten", "Reshape") or attributes(node).get("axis", 0) != 0:
            return False
        shape, flat = self.facts.shape(source.input[0]), self.facts.shape(node.input[0])
        if shape is None or flat is None or flat[0] != product_of(shape) or index.steps is None or index.shape is None:
            return False
        steps, start = index.steps
        counted = [axis for axis, step in enumerate(steps) if step.terms]
        strides = [product_of(shape[axis + 1 :]) for axis in range(len(shape))]
        in_order = [index.shape[axis] for axis in counted] == list(shape) and [steps[a] for a in counted] == strides
        rest = all(index.shape[axis] == ONE for axis in range(len(steps)) if axis not in counted)
        target = target_of(shape, (*index.shape, *flat[1:]))
        if not in_order or not rest or start.terms or target is None:
            return False
        self._become(node, "Reshape", [source.input[0], self._add(node.output[0], np.array(target, np.int64))])
        return True

    def _gather_one_row(self, node: Any) -> bool:
        """An embedding of which one row is read, as types of tokens are, is a constant to those who add it."""
        table, fill = self.graph.initialisers.get(node.input[0]), self.facts[node.input[1]].fill
        if table is None or fill is None or node.input[1] in self.graph.initialisers:
            return False
        if attributes(node).get("axis", 0) != 0 or len(table.dims) != 2 or node.output[0] in self.kept_names:
            return False
        readers = self.graph.readers.get(node.output[0], [])
        row = (Dim.of(table.dims[1]),)
        for reader in readers:
            others = [self.facts.shape(name) for name in reader.input if name != node.output[0]]
            stays = self.facts.broadcast(row, *others) == self.facts.shape(reader.output[0])
            if reader.op_type not in ("Add", "Sub", "Mul", "Div") or not others or None in others or not stays:
                return False
        self.renamed[node.output[0]] = self._add(node.output[0], self.graph.value(node.input[0])[fill])
        return True

    def _become(self, node: Any, operator: str, inputs: Sequence[str]) -> None:
        new = helper.make_node(operator, list(inputs), list(node.output), name=node.name)
        node.CopyFrom(new)


_REWRITES: dict[str, Callable[[_Round, Any], bool]] = {"Reshape": _Round.reshape, "Gather": _Round.gather}
