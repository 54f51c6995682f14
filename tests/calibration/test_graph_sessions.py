"""Graphs of the tests run on ONNX Runtime: their outputs, or every tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are written with onnx")

from onnx import TensorProto, helper, numpy_helper

from taemi_edge.bundle.values import PartSpec, TensorSpec
from taemi_edge.calibration.graph_sessions import runner_of, runner_of_all_tensors
from taemi_edge.runtime.onnx_sessions import OrtSession, optimise
from tests.calibration.graphs.small_graph import X, linear_model


def test_a_runner_gives_outputs_and_the_other_every_tensor():
    graph = linear_model()
    outputs, tensors = runner_of(graph.bytes())({"x": X}), runner_of_all_tensors(graph)({"x": X})
    assert set(outputs) == {"y"}
    assert set(tensors) == {"n", "a", "b", "c", "y"}
    np.testing.assert_array_equal(outputs["y"], tensors["y"])
    np.testing.assert_allclose(tensors["c"], tensors["a"] * tensors["b"], rtol=1e-6)


@pytest.mark.parametrize("op", ["Relu", "Clip"])
def test_what_stands_before_a_pair_of_fp8_is_computed(op: str, tmp_path: Path):
    """ONNX Runtime 1.32 takes a ReLU out there; the files that are built for a processor keep it as well."""
    zero = helper.make_tensor("zero", TensorProto.FLOAT8E4M3FN, [], b"\0", raw=True)
    numbers = {"scale": 0.01, "low": 0.0, "high": 6.0}
    constants = [numpy_helper.from_array(np.float32(value), name) for name, value in numbers.items()]
    nodes = [
        helper.make_node(op, ["x", "low", "high"] if op == "Clip" else ["x"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "pair", ends[:1], ends[1:], [zero, *constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9).SerializeToString()
    optimise(model, tmp_path / "built.onnx", in_fp8=True)
    tensors = [TensorSpec(name=name, dtype="float32", shape=("n",)) for name in ("x", "y")]
    spec = PartSpec(
        file="built.onnx", inputs=(tensors[0],), outputs=(tensors[1],), precision="fp8", opset=19, parameters=0
    )
    x = np.array([-3.0, -1.0, 0.5], np.float32)
    for run in (runner_of(model), OrtSession.from_file(tmp_path / "built.onnx", "part", spec, threads=1).run):
        np.testing.assert_allclose(run({"x": x})["y"], [0, 0, 0.48], rtol=1e-5)
