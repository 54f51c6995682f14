"""BF16 graphs: what is BF16, at which opset, and that the emulation computes what such a graph says."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graphs are written with onnx")
ml_dtypes = pytest.importorskip("ml_dtypes", reason="the reference is ml_dtypes'")

from onnx import TensorProto, helper, numpy_helper

from taemi_edge.calibration.graphs.bf16 import convert_to_bf16, emulate_bf16
from taemi_edge.calibration.graphs.graph import Graph
from tests.calibration.graphs.small_graph import X, linear_model, run
from tests.calibration.graphs.test_fp16 import types_of

FLOAT, BF16 = TensorProto.FLOAT, TensorProto.BFLOAT16


def bf16(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)


def model(nodes: list, weights: dict[str, np.ndarray], shapes: tuple[list, list]) -> Graph:
    ends = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in zip("xy", shapes, strict=True)]
    values = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], values)
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def test_linears_are_bf16_and_norms_and_outputs_are_fp32():
    made = convert_to_bf16(linear_model(), [])
    onnx.checker.check_model(made.model, full_check=True)
    types = types_of(made)
    norm = next(node for node in made.nodes if node.op_type == "LayerNormalization")
    assert (types["a"], types["b"], types[norm.output[0]]) == (BF16, BF16, FLOAT)
    assert made.opset == 17  # every operator of it takes BF16 already
    assert TensorProto.FLOAT16 not in {*types.values(), *(tensor.data_type for tensor in made.initialisers.values())}
    last = made.producers["y"]
    assert last.op_type == "Mul"  # as it came from FP32, with no rounding behind it
    np.testing.assert_allclose(run(emulate_bf16(made)), run(linear_model()), rtol=5e-2, atol=5e-2)


def test_weights_are_rounded_once_and_may_be_larger_than_fp16_holds():
    weight = np.array([[1.00390625 + 2**-12, 1e6, 1e-12]], np.float32)
    graph = model([helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], {"w": weight}, (["n", 1], ["n", 3]))
    made = convert_to_bf16(graph, [])
    (held,) = [tensor for tensor in made.initialisers.values() if tensor.data_type == BF16]
    np.testing.assert_array_equal(numpy_helper.to_array(held).astype(np.float32), bf16(weight))


def test_the_emulation_rounds_wherever_the_graph_holds_bf16():
    rng = np.random.default_rng(0)
    w, b, x = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=(5, 4))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="m"),
        helper.make_node("Add", ["m", "b"], ["s"], name="s"),
        helper.make_node("Tanh", ["s"], ["t"], name="t"),
        helper.make_node("MatMul", ["t", "v"], ["y"], name="last"),
    ]
    weights = {"w": w.astype(np.float32), "b": b.astype(np.float32), "v": np.eye(3, dtype=np.float32)}
    emulated = emulate_bf16(convert_to_bf16(model(nodes, weights, (["n", 4], ["n", 3])), []))
    want = bf16(np.tanh(bf16(bf16(bf16(x) @ bf16(w)) + bf16(b))))
    np.testing.assert_array_equal(run(emulated, x.astype(np.float32)), want)


def test_convolutions_raise_the_opset_and_what_never_takes_bf16_is_an_island():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("CumSum", ["c", "axis"], ["s"], name="sum"),
        helper.make_node("NonZero", ["s"], ["i"], name="where"),
        helper.make_node("Relu", ["s"], ["y"], name="relu"),
    ]
    weights = {"w": np.ones((2, 1, 3), np.float32), "axis": np.array(2, np.int64)}
    made = convert_to_bf16(model(nodes, weights, (["n", 1, 8], ["n", 2, "m"])), ["sum"])
    assert made.opset == 22
    onnx.checker.check_model(made.model, full_check=True)
    x = X.reshape(1, 1, 8)
    np.testing.assert_allclose(run(emulate_bf16(made), x), np.cumsum(bf16(run_conv(x)), 2).clip(0), rtol=1e-2)


def run_conv(x: np.ndarray) -> np.ndarray:
    sums = x[..., :-2] + x[..., 1:-1] + x[..., 2:]
    return np.repeat(sums, 2, axis=1)


def test_branches_are_bf16_and_emulated_too():
    def branch(factor: float) -> object:
        scale = numpy_helper.from_array(np.array(factor, np.float32), f"factor{factor}")
        out = helper.make_tensor_value_info(f"out{factor}", FLOAT, ["n", 4])
        node = helper.make_node("Mul", ["x2", f"factor{factor}"], [f"out{factor}"], name=f"mul{factor}")
        return helper.make_graph([node], f"by{factor}", [], [out], [scale])

    nodes = [
        helper.make_node("Mul", ["x", "one"], ["x2"], name="first"),
        helper.make_node("ReduceMax", ["x"], ["most"], name="most", keepdims=0),
        helper.make_node("Greater", ["most", "one"], ["large"], name="large"),
        helper.make_node("If", ["large"], ["z"], name="if", then_branch=branch(1.1), else_branch=branch(2.0)),
        helper.make_node("MatMul", ["z", "eye"], ["y"], name="last"),
    ]
    weights = {"one": np.array(1.0, np.float32), "eye": np.eye(4, dtype=np.float32)}
    made = convert_to_bf16(model(nodes, weights, (["n", 4], ["n", 4])), [])
    assert b"float16" not in onnx.printer.to_text(made.model).replace("bfloat16", "").encode()
    np.testing.assert_array_equal(run(emulate_bf16(made)), bf16(bf16(X) * bf16(1.1)))
