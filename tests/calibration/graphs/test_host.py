"""INT8 graphs for processors: near FP32, fused into integer kernels, exact where they are computed as written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the networks are written in PyTorch")
onnx = pytest.importorskip("onnx", reason="graphs are quantised with onnx")
import onnxruntime

from taemi_edge.calibration.graph_sessions import open_graph
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.host import quantise_for_hosts
from tests.calibration.graphs.host_models import NETWORKS, feeds_of, graph_of, plan_of

FLAVOURS = ("int8-u8", "int8-dynamic")


def values(graph: Graph, feeds: list[dict[str, np.ndarray]]) -> np.ndarray:
    session = open_graph(graph.bytes())
    return np.concatenate([session.run(None, feed)[0].ravel() for feed in feeds])


def kernels(graph: Graph, folder: Path) -> Counter[str]:
    """The operators that ONNX Runtime rewrites a graph to, before it lays weights out for one processor."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(graph.bytes(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_stays_near_fp32_in_standard_operators(name, tmp_path):
    graph = graph_of(name)
    plan, feeds = plan_of(graph, feeds_of(name)), feeds_of(name, 4, first=100)
    want = values(graph, feeds)
    for flavour in FLAVOURS:
        made = quantise_for_hosts(graph, plan, flavour)
        onnx.checker.check_model(made.model, full_check=True)
        assert {node.domain for node in made.nodes} <= {"", "ai.onnx"}
        found = values(made, feeds)
        assert np.corrcoef(want, found)[0, 1] > 0.99, flavour
        assert made.bytes() == quantise_for_hosts(graph, plan, flavour).bytes()
        fused = kernels(made, tmp_path)
        convolutions = sum(node.op_type == "Conv" for node in graph.nodes)
        assert fused["QLinearConv"] == convolutions and not fused["Conv"]
        linears = sum(layer.is_linear for layer in graph.layers())
        assert fused["MatMulIntegerToFloat"] + fused["DynamicQuantizeMatMul"] == linears
        weights = [
            made.value(node.input[1].replace("dequantised", "s8")) for node in made.nodes if node.op_type == "Conv"
        ]
        assert all(w.dtype == np.int8 and w.min() >= -127 for w in weights)
