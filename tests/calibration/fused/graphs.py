"""Graphs for tests, written node by node, and a way to run any graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.graphs.graph import Graph

FLOAT, WHOLE, BYTE = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
Inputs = Mapping[str, tuple[int, Sequence[str | int]]]


def node(operator: str, inputs: str, output: str, **attributes: Any) -> Any:
    """A node that reads the names in a string and is called like its output."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(operator, names, output.split(), name=output.split()[0], **attributes)


def model(
    nodes: Sequence[Any], inputs: Inputs, output: str = "out", rank: int | None = None, **constants: Array
) -> bytes:
    """The content of an ONNX file.

    Args:
        nodes: in topological order.
        inputs: the type and shape of each input.
        rank: how many axes the output has, which is called out; ONNX's own rules want it.
        constants: by name.
    """
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, dtype, list(shape)) for name, (dtype, shape) in inputs.items()],
        [helper.make_tensor_value_info("out", FLOAT, rank and [f"out_{axis}" for axis in range(rank)])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return content


def graph_of(content: bytes) -> Graph:
    """A graph to change."""
    return Graph.of_bytes(content, "part")


def operators(content: bytes | Graph) -> Counter[str]:
    """How many nodes of each operator a graph has."""
    found = content if isinstance(content, Graph) else graph_of(content)
    return Counter(n.op_type for n in found.nodes)


def run(content: bytes | Graph, feeds: Mapping[str, Array]) -> Array:
    """Run a graph with ONNX Runtime and give its only output."""
    content = content.bytes() if isinstance(content, Graph) else content
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    made: Array = session.run(None, dict(feeds))[0]
    return made


def dynamic(graph: Graph) -> bytes:
    """Quantise what every product with a constant reads, in each run anew, as the INT8 graphs for processors do."""
    nodes: list[Any] = []
    for part in graph.nodes:
        if part.op_type == "MatMul" and part.input[1] in graph.initialisers:
            source = part.input[0]
            made = [f"{part.name}/{word}" for word in ("q", "s", "z")]
            nodes.append(helper.make_node("DynamicQuantizeLinear", [source], made, name=f"{part.name}/Quantize"))
            nodes.append(helper.make_node("DequantizeLinear", made, [f"{part.name}/d"], name=f"{part.name}/Dequantize"))
            part.input[0] = f"{part.name}/d"
        nodes.append(part)
    made_model = onnx.ModelProto()
    made_model.CopyFrom(graph.model)
    del made_model.graph.node[:]
    made_model.graph.node.extend(nodes)
    content: bytes = made_model.SerializeToString()
    return content
