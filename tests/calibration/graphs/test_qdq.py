"""Q/DQ graphs: what is INT8, what is not, and that nothing but precision changes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graphs are written with onnx")

import msgspec
from onnx import TensorProto

from taemi_edge.calibration.graphs.fp16 import convert_to_fp16
from taemi_edge.calibration.graphs.grids import GRIDS
from taemi_edge.calibration.graphs.qdq import ScaledTensor, is_excluded, quantise
from taemi_edge.calibration.graphs.smoothing import fake_quantise, fake_quantise_weight
from taemi_edge.errors import CalibrationError
from tests.calibration.graphs.small_graph import BOTH, X, linear_model, plan_of, run


def test_q_dq_is_symmetric_int8_with_fp32_weights_and_a_scale_a_channel():
    graph = linear_model()
    made = quantise(graph, plan_of(graph, ScaledTensor(tensor="n", nodes=BOTH, amax=4.0, method="minmax")))
    onnx.checker.check_model(made.model, full_check=True)
    kinds = Counter(node.op_type for node in made.nodes)
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"]) == (3, 3)  # the shared input and two weights
    assert made.value("n/scale") == np.float32(4 / 127)
    assert made.value("w1/scale").shape == (3,)
    assert made.initialisers["w1"].data_type == TensorProto.FLOAT
    zeros = [made.value(name) for name in made.initialisers if name.endswith("zero_point")]
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    np.testing.assert_allclose(run(made), run(graph), rtol=0.03)


def test_fp8_is_e4m3_at_opset_19_in_fp32_and_in_fp16():
    graph = linear_model()
    scaled = ScaledTensor(tensor="n", nodes=BOTH, amax=4.0, method="minmax")
    made = quantise(graph, msgspec.structs.replace(plan_of(graph, scaled), precision="fp8"))
    onnx.checker.check_model(made.model, full_check=True)
    assert (made.opset, made.model.ir_version >= 9) == (19, True)
    assert made.value("n/scale") == np.float32(4 / 448)
    assert made.value("w1/scale").shape == (3,)
    zeros = {tensor.data_type for name, tensor in made.initialisers.items() if name.endswith("zero_point")}
    assert zeros == {TensorProto.FLOAT8E4M3FN}
    half = convert_to_fp16(made, [])
    assert half.initialisers["n/scale"].data_type == TensorProto.FLOAT16
    want = fake_quantise(layer_norm(), 4.0, GRIDS["fp8"])
    products = [want @ fake_quantise_weight(graph.value(name), GRIDS["fp8"]) for name in ("w1", "w2")]
    np.testing.assert_allclose(run(made), products[0] * products[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run(half), run(made), rtol=0.1, atol=0.1)
    assert graph.opset == 17


def layer_norm() -> np.ndarray:
    """What the LayerNorm of the small graph gives for its input."""
    graph, centred = linear_model(), X - X.mean(1, keepdims=True)
    return centred / np.sqrt(X.var(1, keepdims=True) + 1e-5) * graph.value("gain") + graph.value("shift")


def test_a_plan_of_int8_is_written_as_before_there_was_fp8():
    """So that an older version reads it; with FP8 it says so."""
    plan = plan_of(linear_model())
    assert "precision" not in msgspec.to_builtins(plan)
    assert msgspec.to_builtins(msgspec.structs.replace(plan, precision="fp8"))["precision"] == "fp8"


def test_smoothing_goes_into_a_layer_norm_that_nobody_else_reads():
    graph = linear_model()
    scaled = ScaledTensor(tensor="n", nodes=BOTH, amax=1e9, method="minmax", alpha=0.5, smoothing=(4.0, 1.0, 0.5, 0.5))
    made = quantise(graph, plan_of(graph, scaled))
    assert not any(node.name.endswith("/Smooth") for node in made.nodes)
    np.testing.assert_allclose(made.value("w1"), graph.value("w1") * np.array([[4], [1], [0.5], [0.5]]))
    one = quantise(graph, plan_of(graph, msgspec.structs.replace(scaled, nodes=BOTH[:1], amax=8.0)))
    assert sum(node.name.endswith("/Smooth") for node in one.nodes) == 1  # the other Linear reads the tensor itself
    np.testing.assert_allclose(run(one), run(graph), rtol=0.05)


def test_blocks_that_are_left_out_stay_as_they_are():
    graph = linear_model()
    plan = plan_of(graph, ScaledTensor(tensor="n", nodes=BOTH, amax=4.0, method="minmax"))
    assert not quantise(graph, plan, ["layers.0"]).is_quantised
    assert is_excluded("layers.0/attn", ["layers.0"])
    assert not is_excluded("layers.01/attn", ["layers.0"])


def test_a_plan_serves_only_its_own_weights():
    graph, other = linear_model(), linear_model()
    other.set_value("w1", other.value("w1") + 1)
    with pytest.raises(CalibrationError, match="expected the weights that the ranges were made for"):
        quantise(other, plan_of(graph))
    made = quantise(graph, plan_of(graph, ScaledTensor(tensor="n", nodes=BOTH, amax=4.0, method="minmax")))
    with pytest.raises(CalibrationError, match="expected an FP32 graph, got one with Q/DQ nodes"):
        quantise(made, plan_of(graph))
