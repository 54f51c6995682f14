"""A graph of five nodes for the tests: LayerNorm, two Linears that share its output, and their product."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graphs are written with onnx")

from onnx import TensorProto, helper, numpy_helper

from taemi_edge.calibration.graph_sessions import open_graph
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import PartPlan, ScaledTensor, weights_sha256


def plan_of(graph: Graph, *tensors: ScaledTensor) -> PartPlan:
    return PartPlan(weights_sha256=weights_sha256(graph), tensors=tensors, excluded={}, islands={})


def linear_model(constant: float = 1.0) -> Graph:
    """x -> LayerNorm -> two Linears that share it -> their product; every weight a ramp."""
    weights = {
        "gain": np.linspace(0.5, 2, 4, dtype=np.float32),
        "shift": np.linspace(-1, 1, 4, dtype=np.float32),
        "w1": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3),
        "w2": np.linspace(1, -2, 12, dtype=np.float32).reshape(4, 3),
        "small": np.array(constant, np.float32),
    }
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gain", "shift"], ["n"], name="/layers.0/norm/LayerNormalization"),
        helper.make_node("MatMul", ["n", "w1"], ["a"], name="/layers.0/attn/q/MatMul"),
        helper.make_node("MatMul", ["n", "w2"], ["b"], name="/layers.0/attn/k/MatMul"),
        helper.make_node("Mul", ["a", "b"], ["c"], name="/layers.0/attn/Mul"),
        helper.make_node("Mul", ["c", "small"], ["y"], name="/frontend/Mul"),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


X = np.array([[1, 2, 3, 5], [-4, 0, 2, 1]], np.float32)


BOTH = ("/layers.0/attn/q/MatMul", "/layers.0/attn/k/MatMul")


def run(graph: Graph, x: np.ndarray = X) -> np.ndarray:
    return open_graph(graph.bytes()).run(None, {"x": x})[0]
