"""Computes what an exporter wrote as nodes though no input changes it: numbers, axes and targets, not weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.names import drop_unread, has_branches, is_random, kept_names
from taemi_edge.runtime.onnx_sessions import session_options

#: What is larger stays as it is: ONNX Runtime folds it when it opens the graph, and a file should not grow.
_MOST_ELEMENTS = 4096
#: Operators that keep weights small.
_LEFT_ALONE = ("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear")


def fold_constants(graph: Graph) -> None:
    """Replace small constants that are computed by their values.

    Args:
        graph: is changed.
    """
    constant = set(graph.initialisers)
    nodes = []
    for node in graph.nodes:
        plain = node.domain in ("", "ai.onnx") and not has_branches(node) and not is_random(node)
        if plain and node.op_type not in _LEFT_ALONE and all(name in constant for name in node.input if name):
            constant.update(node.output)
            nodes.append(node)
    kept = kept_names(graph)
    wanted = [name for node in nodes for name in node.output if name and name not in kept]
    values = _values(graph, nodes, wanted) if wanted else {}
    small = {name for name, value in values.items() if isinstance(value, np.ndarray) and value.size <= _MOST_ELEMENTS}
    done = {node.name for node in nodes if all(name in small for name in node.output if name)}
    for node in nodes:
        for name in node.output if node.name in done else ():
            if name:
                graph.add_value(name, values[name])
    graph.replace_nodes([node for node in graph.nodes if node.name not in done])
    drop_unread(graph)


def _values(graph: Graph, nodes: list[Any], wanted: list[str]) -> dict[str, Any]:
    """Compute tensors of constants; none where ONNX Runtime cannot."""
    read = {name for node in nodes for name in node.input}
    constants = [tensor for name, tensor in graph.initialisers.items() if name in read]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    part = helper.make_graph(nodes, "constants", [], outputs, initializer=constants)
    model = helper.make_model(part, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)
    options = session_options(1, as_written=True)
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(wanted, session.run(wanted, {}), strict=True))
    except Exception:  # noqa: BLE001  # ONNX Runtime raises Exception itself; the nodes stay then
        return {}
