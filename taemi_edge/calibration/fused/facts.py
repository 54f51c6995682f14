"""What holds of each tensor of a graph whatever its inputs are: shape, small whole numbers, one value everywhere.

A shape that no rule gives has names of its own for its sizes, so nothing is ever assumed of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import helper, numpy_helper

from taemi_edge.calibration.fused.dims import ONE, Dim
from taemi_edge.calibration.fused.fact import MOST_VALUES, NOTHING, WHOLE, Fact, Rule, Shape
from taemi_edge.calibration.fused.shape_rules import SHAPE_RULES
from taemi_edge.calibration.fused.value_rules import VALUE_RULES
from taemi_edge.calibration.graphs.graph import Graph

#: A constant of at most so many elements may be a target or an axis, whose values inference reads.
_SMALL = 64
_RULES: Mapping[str, Rule] = {**SHAPE_RULES, **VALUE_RULES}


class Facts:
    """The facts of every tensor of a graph.

    Attributes:
        by_name: the fact of each tensor.
        shortest: names of sizes that are the smaller one of two, and those two.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.by_name: dict[str, Fact] = {}
        self.shortest: dict[str, tuple[Dim, int]] = {}
        self._declared = _declared(graph)
        self._of_inputs()
        for tensor in graph.initialisers.values():
            self.by_name[tensor.name] = _of_constant(tensor)
        for node in graph.nodes:
            for name, fact in zip(node.output, self._of_node(node), strict=False):
                self.by_name[name] = self._completed(name, fact)

    def __getitem__(self, name: str) -> Fact:
        return self.by_name.get(name, NOTHING)

    def shape(self, name: str) -> Shape | None:
        """The sizes of a tensor."""
        return self[name].shape

    def broadcast(self, *shapes: Shape | None) -> Shape | None:
        """The shape of what is computed element by element from tensors of these shapes."""
        if any(shape is None for shape in shapes):
            return None
        known = [shape for shape in shapes if shape is not None]
        rank = max(map(len, known), default=0)
        columns = zip(*([ONE] * (rank - len(shape)) + list(shape) for shape in known), strict=True)
        return tuple(self._common(column) for column in columns)

    def _common(self, column: Sequence[Dim]) -> Dim:
        different = {dim for dim in column if dim != ONE}
        for dim in list(different):
            longer, limit = self.shortest.get(dim.name or "", (dim, 0))
            if longer in different and limit > 1:
                different -= {dim} - {longer}  # shorter than the other, and not 1: the node would fail
        if len(different) <= 1:
            return next(iter(different), ONE)
        numbers = {dim.number for dim in different} - {None}
        if len(numbers) == 1:
            return Dim.of(int(numbers.pop() or 0))
        return Dim.named("|".join(sorted(map(str, different))))

    def _of_inputs(self) -> None:
        for value in self.graph.model.graph.input:
            tensor = value.type.tensor_type
            dims = [
                Dim.of(d.dim_value) if d.HasField("dim_value") else Dim.named(d.dim_param or f"{value.name}[{axis}]")
                for axis, d in enumerate(tensor.shape.dim)
            ]
            self.by_name[value.name] = Fact(tuple(dims) if tensor.HasField("shape") else None, dtype=tensor.elem_type)

    def _of_node(self, node: Any) -> tuple[Fact, ...]:
        rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        found = rule(self, node) if rule else NOTHING
        return found if isinstance(found, tuple) else (found, *([NOTHING] * (len(node.output) - 1)))

    def _completed(self, name: str, fact: Fact) -> Fact:
        """The fact with what ONNX's own inference knows, and with names for sizes that nobody knows."""
        dtype, declared = self._declared.get(name, (0, None))
        shape = fact.shape
        if shape is None and fact.values is not None:
            shape = (Dim.of(len(fact.values)),)
        if shape is None and declared is not None:
            shape = tuple(Dim.named(f"{name}[{axis}]") for axis in range(len(declared)))
        if shape is not None and declared is not None and len(declared) == len(shape):
            shape = tuple(dim if n is None else Dim.of(n) for dim, n in zip(shape, declared, strict=True))
        return Fact(shape, fact.values, fact.fill, fact.steps, dtype)


def _declared(graph: Graph) -> Mapping[str, tuple[int, list[int | None] | None]]:
    """The types and the constant sizes that ONNX's own inference finds."""
    try:
        model = onnx.shape_inference.infer_shapes(_without_weights(graph))
    except (RuntimeError, ValueError, onnx.checker.ValidationError):  # every rule can do without it
        return {}
    found = {}
    for value in (*model.graph.value_info, *model.graph.output):
        tensor = value.type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
        found[value.name] = (tensor.elem_type, sizes if tensor.HasField("shape") else None)
    return found


def _without_weights(graph: Graph) -> Any:
    """The model with weights as inputs: inference copies what it is given, and needs their shapes alone."""
    model = onnx.ModelProto(ir_version=graph.model.ir_version, opset_import=graph.model.opset_import)
    model.graph.name = graph.model.graph.name
    model.graph.node.extend(graph.nodes)
    model.graph.input.extend(graph.model.graph.input)
    model.graph.output.extend(graph.model.graph.output)
    model.graph.value_info.extend(graph.model.graph.value_info)
    for tensor in graph.model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            model.graph.initializer.append(tensor)
        else:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return model


def _of_constant(tensor: Any) -> Fact:
    shape = tuple(Dim.of(size) for size in tensor.dims)
    if tensor.data_type not in WHOLE:
        return Fact(shape, dtype=tensor.data_type)
    array = numpy_helper.to_array(tensor)
    values = tuple(Dim.of(int(v)) for v in array.ravel()) if array.ndim <= 1 and array.size <= MOST_VALUES else None
    fill = int(array.flat[0]) if array.size and (array == array.flat[0]).all() else None
    return Fact(shape, values, fill, dtype=tensor.data_type)
