"""Q/DQ and FP16 graphs: what is INT8, what is not, and that nothing but precision changed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graphs are written with onnx")

import msgspec
from onnx import TensorProto, helper, numpy_helper

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.spec import PARTS
from taemi_edge.calibration.graph_sessions import open_graph
from taemi_edge.calibration.graphs.fp16 import convert_to_fp16, find_islands
from taemi_edge.calibration.graphs.graph import Graph, block_of
from taemi_edge.calibration.graphs.qdq import PartPlan, ScaledTensor, is_excluded, quantise, weights_sha256
from taemi_edge.errors import BundleError, CalibrationError
from taemi_edge.parity.golden import load_cases


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


def test_layers_blocks_and_groups_are_found_by_name():
    layers = linear_model().layers()
    assert [(layer.block, layer.source, layer.channel_axis) for layer in layers] == [("layers.0/attn", "n", 1)] * 2


@pytest.mark.parametrize(
    ("name", "op", "block"),
    [
        ("/backbone/encoder/layer.11/attention/self/query/MatMul", "MatMul", "layer.11/attention"),
        ("/backbone/_blocks.3/_depthwise_conv/Conv", "Conv", "_blocks.3"),
        ("/frontend/Conv", "Conv", "frontend"),
        ("/layers.5/fc2/MatMul", "MatMul", "layers.5/fc2"),
        ("/attention.audio/key/MatMul", "MatMul", "attention.audio"),
        ("/head/head.4/Gemm", "Gemm", "head.4"),
        ("alone", "MatMul", "alone"),
    ],
)
def test_block_names(name, op, block):
    assert block_of(helper.make_node(op, ["x", "w"], ["y"], name=name)) == block


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


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match="expected an ONNX graph"):
        Graph.load(tmp_path / "x.onnx")


# ------------------------------------------------------------------------------------------------------------ FP16


def types_of(graph: Graph) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(graph.model, strict_mode=True)
    return {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}


def test_linears_are_fp16_and_layer_norm_is_not():
    made = convert_to_fp16(linear_model(), [])
    types = types_of(made)
    assert types["a"] == types["b"] == TensorProto.FLOAT16
    norm = next(node for node in made.nodes if node.op_type == "LayerNormalization")
    assert types[norm.output[0]] == TensorProto.FLOAT
    assert made.model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    np.testing.assert_allclose(run(made), run(linear_model()), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("amax", "constant", "kept", "islands"),
    [
        ({}, 1.0, (), {}),
        ({"c": 40_000.0}, 1.0, (), {"/layers.0/attn/Mul": "c reaches 4e+04", "/frontend/Mul": "c reaches 4e+04"}),
        ({}, 1e-10, (), {"/frontend/Mul": "the constant 1e-10 is none of FP16's"}),
        ({}, 1.0, ("/frontend/",), {"/frontend/Mul": "the recipe keeps /frontend/"}),
    ],
    ids=["none", "overflow", "lost constant", "recipe"],
)
def test_islands_are_what_was_measured(amax, constant, kept, islands):
    assert find_islands(linear_model(constant), amax, kept, margin=2.0) == islands


def test_neighbouring_islands_hand_fp32_to_each_other():
    """A cast to FP16 and back between two islands would lose what they are there for."""
    graph = linear_model(1e-10)
    made = convert_to_fp16(graph, ["/layers.0/attn/Mul", "/frontend/Mul"])
    last = next(node for node in made.nodes if node.name == "/frontend/Mul")
    assert made.producers[last.input[0]].name == "/layers.0/attn/Mul"
    norm = next(node for node in made.nodes if node.op_type == "LayerNormalization")
    assert norm.input[0] == "x"  # as it came, not rounded to FP16 on the way


def test_q_dq_in_fp16_is_opset_19_and_gives_what_q_dq_in_fp32_gives():
    graph = linear_model()
    quantised = quantise(graph, plan_of(graph, ScaledTensor(tensor="n", nodes=BOTH, amax=4.0, method="minmax")))
    made = convert_to_fp16(quantised, [])
    assert made.opset == 19
    scale = next(node.input[1] for node in made.nodes if node.op_type == "QuantizeLinear")
    assert made.initialisers[scale].data_type == TensorProto.FLOAT16
    np.testing.assert_allclose(run(made), run(quantised), rtol=5e-2, atol=5e-2)


# ---------------------------------------------------------------------------------------------- of a whole bundle


def test_a_calibrated_bundle_keeps_softmax_layer_norm_and_attention_out_of_int8(calibrated_folder):
    bundle = open_bundle(calibrated_folder)
    for part in PARTS:
        graph = Graph.load(bundle.part_file(part))
        from_int8 = {node.output[0] for node in graph.nodes if node.op_type == "DequantizeLinear"}
        readers = Counter(node.op_type for node in graph.nodes if from_int8 & set(node.input))
        assert set(readers) <= {"MatMul", "Gemm", "Conv"}, part
        exact = Graph.load(bundle.folder / bundle.manifest.graphs[part]["fp32"])
        names = {node.name for node in exact.attention_matmuls()}
        assert not any(from_int8 & set(node.input) for node in graph.nodes if node.name in names)


@pytest.mark.parametrize("part", PARTS)
def test_fp16_of_the_tiny_model_is_near_pytorch(calibrated: Bundle, part: str):
    session = open_graph(str(calibrated.folder / calibrated.manifest.graphs[part]["fp16"]))
    for case in load_cases(calibrated.golden_file):
        if case.part == part and case.pattern in (None, frozenset({"vision", "audio", "text"})):
            (want,) = (case.expected or {}).values()
            (got,) = session.run(None, dict(case.feeds))
            assert got.dtype == np.float32
            assert np.abs(got - want).max() < 2e-2
