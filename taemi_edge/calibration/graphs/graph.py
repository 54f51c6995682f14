"""An ONNX file in, its layers, blocks and tensors by name out; and the few edits that casting and quantising need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from taemi_edge.bundle.spec import Array
from taemi_edge.errors import BundleError

#: The nodes whose weights are quantised, with the axis of an activation that meets the weight's rows.
_CHANNEL_AXIS = {"MatMul": -1, "Gemm": -1, "Conv": 1}
#: Scopes that say nothing: a wrapper's name, or the list that holds the layers.
_DULL = ("backbone", "encoder", "")


@dataclass(frozen=True, eq=False)
class Layer:
    """A Linear or a convolution: a node with a constant weight.

    Attributes:
        source: the tensor that it reads.
        weight: the initialiser's name.
        channel_axis: of the weight, where a scale a channel belongs (the outputs).
        block: the part of the network it belongs to, such as `layers.3/fc1`.
    """

    node: str
    op: str
    source: str
    weight: str
    channel_axis: int
    block: str

    @property
    def is_linear(self) -> bool:
        return self.op != "Conv"

    @property
    def feature_axis(self) -> int:
        """Of the activation: the axis of the features that the weight mixes."""
        return _CHANNEL_AXIS[self.op]


class Graph:
    """One ONNX model with its nodes and constants indexed by name; `Constant` nodes become initialisers."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._lift_constants()
        self.initialisers: dict[str, Any] = {tensor.name: tensor for tensor in model.graph.initializer}
        self.reindex()

    @classmethod
    def load(cls, file: Path) -> Graph:
        """Read an ONNX file.

        Raises:
            BundleError: it is not one.
        """
        try:
            return cls(onnx.load(str(file)))
        except Exception as error:
            raise BundleError(f"{file}: expected an ONNX graph: {error}") from error

    def copy(self) -> Graph:
        """Another graph of its own."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return Graph(model)

    def save(self, file: Path) -> None:
        """Check the graph and write it."""
        onnx.checker.check_model(self.model)
        onnx.save(self.model, str(file))

    def bytes(self) -> bytes:
        """The file's content."""
        content: bytes = self.model.SerializeToString()
        return content

    @property
    def nodes(self) -> Sequence[Any]:
        nodes: Sequence[Any] = self.model.graph.node
        return nodes

    @property
    def opset(self) -> int:
        return next(int(o.version) for o in self.model.opset_import if o.domain in ("", "ai.onnx"))

    @property
    def is_quantised(self) -> bool:
        return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in self.nodes)

    def reindex(self) -> None:
        """Look again who makes and who reads each tensor."""
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        self.outputs = [value.name for value in self.model.graph.output]

    def value(self, name: str) -> Array:
        """The array of an initialiser."""
        array: Array = numpy_helper.to_array(self.initialisers[name])
        return array

    def add_value(self, name: str, array: Array) -> str:
        """A new initialiser; gives its name."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        self.model.graph.initializer.append(tensor)
        self.initialisers[name] = self.model.graph.initializer[-1]
        return name

    def set_value(self, name: str, array: Array) -> None:
        """Put another array under an initialiser's name."""
        self.initialisers[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))

    def replace_nodes(self, nodes: Sequence[Any]) -> None:
        """Put a new list of nodes, in topological order, in the place of the old one."""
        kept = list(nodes)
        del self.model.graph.node[:]
        self.model.graph.node.extend(kept)
        self.reindex()

    def layers(self) -> list[Layer]:
        """Every MatMul, Gemm and Conv whose weight is a constant that nothing else reads, in their order."""
        found = []
        for node in self.nodes:
            axis = self._channel_axis(node)
            if axis is not None and len(self.readers[node.input[1]]) == 1:
                found.append(Layer(node.name, node.op_type, node.input[0], node.input[1], axis, block_of(node)))
        return found

    def attention_matmuls(self) -> list[Any]:
        """The MatMul nodes of two activations."""
        return [n for n in self.nodes if n.op_type == "MatMul" and not any(i in self.initialisers for i in n.input)]

    def _channel_axis(self, node: Any) -> int | None:
        if node.op_type not in _CHANNEL_AXIS or node.input[1] not in self.initialisers:
            return None
        if node.input[0] in self.initialisers:
            return None
        if node.op_type == "Conv":
            return 0
        if node.op_type == "Gemm":
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            return 0 if attributes.get("transB", 0) else 1
        return 1 if len(self.initialisers[node.input[1]].dims) == 2 else None

    def _lift_constants(self) -> None:
        """`Constant` nodes and names for equal constants (Identity) as initialisers: one way to hold one is enough."""
        constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        kept = []
        for node in self.model.graph.node:
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Identity":
                value = constants.get(node.input[0])
            if node.op_type in ("Constant", "Identity") and value is not None:
                tensor = self.model.graph.initializer.add()
                tensor.CopyFrom(value)
                tensor.name = node.output[0]
                constants[tensor.name] = tensor
            else:
                kept.append(node)
        del self.model.graph.node[:]
        self.model.graph.node.extend(kept)


def block_of(node: Any) -> str:
    """The block of a node, from the scopes in its name.

    `/backbone/encoder/layer.0/attention/self/query/MatMul` belongs to `layer.0/attention`, a convolution of
    `/_blocks.3/...` to `_blocks.3`, and what is in no numbered layer to its first scope.
    """
    scopes = [scope for scope in node.name.split("/")[1:-1] if scope not in _DULL]
    numbered = next((i for i, scope in enumerate(scopes) if re.search(r"\.\d+$", scope)), None)
    if numbered is None:
        return scopes[0] if scopes else str(node.name).strip("/")
    with_child = numbered + 1 < len(scopes) and node.op_type != "Conv"
    return "/".join(scopes[numbered : numbered + (2 if with_child else 1)])


def blocks_of(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """The layers of each block, in their order."""
    blocks: dict[str, list[Layer]] = {}
    for layer in layers:
        blocks.setdefault(layer.block, []).append(layer)
    return blocks


def with_all_outputs(graph: Graph) -> tuple[bytes, list[str]]:
    """The same graph giving every tensor that a node makes, and their names in the order of computing."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    names = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in graph.outputs)
    return model.SerializeToString(), names


def weight_matrix(graph: Graph, layer: Layer) -> Array:
    """A Linear's weight as (inputs, outputs), whichever way the node holds it."""
    weight = graph.value(layer.weight)
    return weight if layer.channel_axis == 1 else weight.T


def set_weight_matrix(graph: Graph, layer: Layer, matrix: Array) -> None:
    """Put (inputs, outputs) back the way the node holds it."""
    graph.set_value(layer.weight, matrix if layer.channel_axis == 1 else matrix.T)


def groups_of(layers: Sequence[Layer]) -> Iterator[tuple[str, list[Layer]]]:
    """The layers that read the same tensor (query, key and value, say): they share its scale."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.source, []).append(layer)
    yield from groups.items()


def insert_after_makers(graph: Graph, new: Mapping[str, Sequence[Any]], at_start: Sequence[Any] = ()) -> None:
    """Insert nodes right after the one that makes a tensor, or at the front where it is an input of the graph."""
    nodes = list(at_start)
    for name, inserted in new.items():
        if name not in graph.maker:
            nodes += inserted
    for node in graph.nodes:
        nodes.append(node)
        for name in node.output:
            nodes += new.get(name, ())
    graph.replace_nodes(nodes)
