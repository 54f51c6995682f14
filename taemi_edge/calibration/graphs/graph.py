"""An ONNX model with its nodes, constants and layers by name, and the edits that casting and quantising need."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import Array
from taemi_edge.errors import BundleError, CalibrationError, first_line

#: The operators whose weights are quantised, with the axis of the activation that their weight mixes.
_FEATURE_AXIS = {"MatMul": -1, "Gemm": -1, "Conv": 1}
#: The version of the file format that has the types of an opset: FP8 with 19.
_IR_VERSIONS = {19: 9, 22: 10}
#: Scopes that do not belong to a block's name: wrappers, and the list that holds the layers.
_WRAPPERS = ("backbone", "encoder", "")


@dataclass(frozen=True, eq=False)
class Layer:
    """A Linear or a convolution: a node with a constant weight.

    Attributes:
        node: its name.
        op: its operator: MatMul, Gemm or Conv.
        source: the tensor that it reads.
        weight: the initialiser's name.
        channel_axis: the axis of the weight that counts output channels; each has a scale of its own.
        block: the part of the network that it belongs to, such as `layers.3/fc1`.
    """

    node: str
    op: str
    source: str
    weight: str
    channel_axis: int
    block: str

    @property
    def is_linear(self) -> bool:
        """Whether it is a matrix product and not a convolution."""
        return self.op != "Conv"

    @property
    def feature_axis(self) -> int:
        """The axis of the activation that the weight mixes."""
        return _FEATURE_AXIS[self.op]


class Graph:
    """An ONNX model with its nodes and constants indexed by name.

    `Constant` nodes become initialisers, and a node without a name, or with one that another node has, gets its own.

    Attributes:
        model: the ONNX model; `nodes`, `replace_nodes` and the methods for values change it.
        initialisers: the constants by name.
        producers: the node that makes each tensor.
        readers: the nodes that read each tensor; a node reads what its branches and loop bodies read, too.
        outputs: the names of the graph's outputs.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._lift_constants()
        self._name_nodes()
        self.initialisers: dict[str, Any] = {tensor.name: tensor for tensor in model.graph.initializer}
        self.reindex()

    @classmethod
    def load(cls, file: Path) -> Graph:
        """Read an ONNX file.

        Raises:
            BundleError: the file is no ONNX model.
        """
        try:
            return cls(onnx.load(str(file)))
        except Exception as error:
            raise BundleError(f"{file}: expected an ONNX graph: {error}") from error

    @classmethod
    def of_part(cls, bundle: Bundle, part: str) -> Graph:
        """Read a part of a bundle from the bytes that were hashed.

        Raises:
            BundleError: the part is no ONNX model, or is another file by now.
        """
        return cls.of_bytes(bundle.read_part(part), str(bundle.part_file(part)))

    @classmethod
    def of_bytes(cls, content: bytes, where: str) -> Graph:
        """Read the content of an ONNX file.

        Args:
            content: of the file.
            where: what error messages call it.

        Raises:
            BundleError: it is no ONNX model.
        """
        try:
            return cls(onnx.load_model_from_string(content))
        except Exception as error:
            raise BundleError(f"{where}: expected an ONNX graph: {error}") from error

    def copy(self) -> Graph:
        """Give a graph that shares nothing with this one."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return Graph(model)

    def at_opset(self, least: int) -> Graph:
        """Give a graph of at least this opset that shares nothing with this one.

        Raises:
            CalibrationError: onnx cannot raise the opset of one of the operators.
        """
        if self.opset >= least:
            return self.copy()
        try:
            model = version_converter.convert_version(self.model, least)
        except Exception as error:
            raise CalibrationError(
                f"expected operators that onnx {onnx.__version__} can raise from opset {self.opset} to {least}: "
                f"{first_line(error)}: export the model at opset {least}, or make no precision that needs it"
            ) from error
        model.ir_version = max(model.ir_version, _IR_VERSIONS.get(least, 0))
        return Graph(model)

    def save(self, file: Path) -> None:
        """Check the graph and write it."""
        onnx.checker.check_model(self.model)
        onnx.save(self.model, str(file))

    def bytes(self) -> bytes:
        """The content of the ONNX file."""
        content: bytes = self.model.SerializeToString()
        return content

    @property
    def nodes(self) -> Sequence[Any]:
        """The nodes in topological order."""
        nodes: Sequence[Any] = self.model.graph.node
        return nodes

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators."""
        return next(int(o.version) for o in self.model.opset_import if o.domain in ("", "ai.onnx"))

    @property
    def is_quantised(self) -> bool:
        """Whether there are Q/DQ nodes."""
        return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in self.nodes)

    def reindex(self) -> None:
        """Find again which nodes make and read each tensor."""
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(names_read(node)):
                self.readers.setdefault(name, []).append(node)
        self.outputs = [value.name for value in self.model.graph.output]

    def value(self, name: str) -> Array:
        """The array of an initialiser."""
        array: Array = numpy_helper.to_array(self.initialisers[name])
        return array

    def add_value(self, name: str, array: Array) -> str:
        """Add an initialiser and give its name."""
        return self.add_tensor(numpy_helper.from_array(np.ascontiguousarray(array), name))

    def add_tensor(self, tensor: Any) -> str:
        """Add an initialiser of any type and give its name."""
        self.model.graph.initializer.append(tensor)
        name = str(tensor.name)
        self.initialisers[name] = self.model.graph.initializer[-1]
        return name

    def set_value(self, name: str, array: Array) -> None:
        """Replace the array of an initialiser."""
        self.initialisers[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))

    def drop_unread_values(self) -> None:
        """Take out the initialisers that nothing reads."""
        kept = [tensor for tensor in self.model.graph.initializer if tensor.name in {*self.readers, *self.outputs}]
        held = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del self.model.graph.initializer[:]
        self.model.graph.initializer.extend(held)
        self.initialisers = {tensor.name: tensor for tensor in self.model.graph.initializer}

    def replace_nodes(self, nodes: Sequence[Any]) -> None:
        """Replace all nodes by a new list, which is in topological order."""
        kept = list(nodes)
        del self.model.graph.node[:]
        self.model.graph.node.extend(kept)
        self.reindex()

    def layers(self) -> list[Layer]:
        """Find every MatMul, Gemm and Conv whose weight is a constant that nothing else reads, in topological order.

        Those that read a tensor which the graph's inputs do not change are left out: it needs no range.
        """
        found = []
        changing = self.changing()
        for node in self.nodes:
            axis = self._channel_axis(node)
            if axis is not None and len(self.readers[node.input[1]]) == 1 and node.input[0] in changing:
                found.append(Layer(node.name, node.op_type, node.input[0], node.input[1], axis, block_of(node)))
        return found

    def attention_matmuls(self) -> list[Any]:
        """Find the MatMul nodes that multiply two activations."""
        return [n for n in self.nodes if n.op_type == "MatMul" and not any(i in self.initialisers for i in n.input)]

    def _channel_axis(self, node: Any) -> int | None:
        if node.op_type not in _FEATURE_AXIS or node.input[1] not in self.initialisers:
            return None
        weight = self.initialisers[node.input[1]]
        if node.input[0] in self.initialisers or weight.data_type != onnx.TensorProto.FLOAT:
            return None
        if node.op_type == "Conv":
            return 0
        if node.op_type == "Gemm":
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if attributes.get("transA", 0):
                return None  # its rows are the features
            return 0 if attributes.get("transB", 0) else 1
        return 1 if len(weight.dims) == 2 else None

    def changing(self) -> set[str]:
        """The tensors that depend on an input of the graph."""
        found = {value.name for value in self.model.graph.input if value.name not in self.initialisers}
        for node in self.nodes:
            if found.intersection(names_read(node)):
                found.update(node.output)
        return found

    def _name_nodes(self) -> None:
        """Name every node as no other is called: graphs of other tools may leave names out."""
        taken: set[str] = set()
        for number, node in enumerate(self.model.graph.node):
            while not node.name or node.name in taken:
                node.name = f"{node.name or node.op_type}_{number}"
            taken.add(node.name)

    def _lift_constants(self) -> None:
        """Turn `Constant` nodes, and `Identity` nodes of constants, into initialisers: one kind is enough."""
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
    """Give the block of a node, from the scopes in its name.

    A block is a numbered layer with the scope below it, of a convolution the numbered layer alone. A node in no
    numbered layer belongs to its first scope. Where the exporter wrote scopes beside the node (PyTorch's dynamo does),
    these count.

    Example:
        >>> block_of(helper.make_node("MatMul", ["x", "w"], ["y"], name="/encoder/layer.0/attention/query/MatMul"))
        'layer.0/attention'
    """
    scopes = [scope for scope in _scopes(node) if scope not in _WRAPPERS]
    numbered = next((i for i, scope in enumerate(scopes) if re.search(r"\.\d+$", scope)), None)
    if numbered is None:
        return scopes[0] if scopes else str(node.name).strip("/")
    with_child = numbered + 1 < len(scopes) and node.op_type != "Conv"
    return "/".join(scopes[numbered : numbered + (2 if with_child else 1)])


def _scopes(node: Any) -> list[str]:
    """The modules that a node lies in, the outermost first: of its name, or of what dynamo wrote beside it."""
    if "/" in node.name:
        return str(node.name).split("/")[1:-1]
    written = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
    try:
        paths = [path for path in ast.literal_eval(written)[:-1] if path]
    except (ValueError, SyntaxError, TypeError):
        return []
    starts = ["", *(f"{path}." for path in paths)]  # each path begins with the one before
    return [path.removeprefix(start) for start, path in zip(starts, paths, strict=False)]


def names_read(node: Any) -> list[str]:
    """The tensors that a node reads, those that its branches and loop bodies take from outside among them."""
    names = list(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names += [name for inner in graph.node for name in names_read(inner)]
            names += [value.name for value in graph.output]
    return [name for name in names if name]


def blocks_of(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """Sort layers into blocks; both keep their order."""
    blocks: dict[str, list[Layer]] = {}
    for layer in layers:
        blocks.setdefault(layer.block, []).append(layer)
    return blocks


def with_all_outputs(graph: Graph) -> tuple[bytes, list[str]]:
    """Give the content of the graph with every tensor as an output, and their names in topological order."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    names = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in graph.outputs)
    return model.SerializeToString(), names


def weight_matrix(graph: Graph, layer: Layer) -> Array:
    """Give a Linear's weight as (inputs, outputs); some nodes hold it transposed."""
    weight = graph.value(layer.weight)
    return weight if layer.channel_axis == 1 else weight.T


def set_weight_matrix(graph: Graph, layer: Layer, matrix: Array) -> None:
    """Replace a Linear's weight by a matrix (inputs, outputs), transposed where the node holds it so."""
    graph.set_value(layer.weight, matrix if layer.channel_axis == 1 else matrix.T)


def groups_of(layers: Sequence[Layer]) -> Iterator[tuple[str, list[Layer]]]:
    """Group layers by the tensor that they read, such as query, key and value: they share its scale."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.source, []).append(layer)
    yield from groups.items()


def insert_after_producers(graph: Graph, new: Mapping[str, Sequence[Any]], at_start: Sequence[Any] = ()) -> None:
    """Insert nodes behind tensors.

    Args:
        graph: is changed.
        new: by the tensor's name, the nodes that come right after the one that makes it; at the front where it is an
            input of the graph.
        at_start: nodes that come before all others.
    """
    nodes = list(at_start)
    waiting = dict(new)

    def add(node: Any) -> None:
        nodes.append(node)
        for name in node.output:
            for behind in waiting.pop(name, ()):
                add(behind)

    for name in [name for name in new if name not in graph.producers]:
        for behind in waiting.pop(name, ()):
            add(behind)
    for node in list(graph.nodes):
        add(node)
    graph.replace_nodes(nodes)
