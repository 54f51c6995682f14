"""Operations and bytes, against what can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are counted with onnx")

import onnx
from onnx import TensorProto, helper, numpy_helper

from taemi_edge.bench.costs import count_cost
from taemi_edge.bench.feeds import Feeds
from taemi_edge.bundle.folder import Bundle
from taemi_edge.calibration.fp16_cast import cast_part
from taemi_edge.calibration.graphs.graph import Graph


def graph_of(nodes, constants: dict[str, np.ndarray], shape, output, file: Path) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(file))
    return file


def test_a_linear_is_two_operations_for_each_weight_and_row(tmp_path: Path):
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    file = graph_of([node], {"w": np.zeros((8, 5), np.float32)}, ["rows", 8], "y", tmp_path / "m.onnx")
    cost = count_cost(Graph.load(file), {"x": np.zeros((3, 8), np.float32)})
    assert cost.operations == 2 * 3 * 8 * 5
    assert cost.weight_bytes == 8 * 5 * 4
    assert cost.seam_bytes == 3 * 8 * 4 + 3 * 5 * 4


def test_attention_counts_the_length_that_was_run(tmp_path: Path):
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]), helper.make_node("MatMul", ["x", "t"], ["y"])]
    file = graph_of(nodes, {}, ["steps", 8], "y", tmp_path / "a.onnx")
    assert count_cost(Graph.load(file), {"x": np.zeros((10, 8), np.float32)}).operations == 2 * 10 * 10 * 8


def test_a_convolution_counts_its_groups(tmp_path: Path):
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3], pads=[1, 1], group=4)
    file = graph_of([node], {"w": np.zeros((4, 1, 3), np.float32)}, ["n", 4, 16], "y", tmp_path / "c.onnx")
    assert count_cost(Graph.load(file), {"x": np.zeros((2, 4, 16), np.float32)}).operations == 2 * (2 * 4 * 16) * 3


def test_a_recurrence_counts_both_matrices_at_every_step(tmp_path: Path):
    node = helper.make_node("LSTM", ["x", "w", "r"], ["", "y"], hidden_size=5)
    weights = {"w": np.zeros((1, 4 * 5, 8), np.float32), "r": np.zeros((1, 4 * 5, 5), np.float32)}
    file = graph_of([node], weights, ["steps", "rows", 8], "y", tmp_path / "l.onnx")
    cost = count_cost(Graph.load(file), {"x": np.zeros((7, 2, 8), np.float32)})
    assert cost.operations == 2 * 7 * 2 * 4 * 5 * (8 + 5)


def test_half_precision_weights_are_half_the_bytes(tiny: Bundle, tmp_path: Path):
    feeds, _ = Feeds(tiny).part("text", 1)
    cast_part(tiny, "text", "fp16", tmp_path / "half.onnx")
    single, half = (count_cost(Graph.load(file), feeds) for file in (tiny.part_file("text"), tmp_path / "half.onnx"))
    assert half.operations == single.operations
    assert half.weight_bytes < 0.62 * single.weight_bytes


U8, S8 = np.dtype(np.uint8), np.dtype(np.int8)
#: What of a graph's operations is done in whole numbers: a node, its constants, the inputs, and what is counted.
INTEGER_NODES = {
    "QLinearMatMul": (
        helper.make_node("QLinearMatMul", ["x", "s", "z", "w", "s", "wz", "s", "z"], ["y"]),
        {"w": np.ones((8, 5), S8), "wz": np.zeros((), S8), "z": np.zeros((), U8), "s": np.float32(0.1)},
        np.ones((3, 8), U8),
        2 * 3 * 8 * 5,
    ),
    "MatMulInteger": (
        helper.make_node("MatMulInteger", ["x", "w"], ["y"]),
        {"w": np.ones((8, 5), S8)},
        np.ones((3, 8), U8),
        2 * 3 * 8 * 5,
    ),
    "QLinearConv": (
        helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "wz", "s", "z"], ["y"], pads=[1, 1], group=4),
        {"w": np.ones((4, 1, 3), S8), "wz": np.zeros((), S8), "z": np.zeros((), U8), "s": np.float32(0.1)},
        np.ones((2, 4, 16), U8),
        2 * (2 * 4 * 16) * 3,
    ),
    "DynamicQuantizeMatMul": (
        helper.make_node("DynamicQuantizeMatMul", ["x", "w", "s"], ["y"], domain="com.microsoft"),
        {"w": np.ones((8, 5), S8), "s": np.float32(0.1)},
        np.ones((3, 8), np.float32),
        2 * 3 * 8 * 5,
    ),
    "MatMulIntegerToFloat": (
        helper.make_node("MatMulIntegerToFloat", ["x", "w", "s", "s"], ["y"], domain="com.microsoft"),
        {"w": np.ones((8, 5), S8), "s": np.float32(0.1)},
        np.ones((3, 8), U8),
        2 * 3 * 8 * 5,
    ),
    "QGemm": (
        helper.make_node("QGemm", ["x", "s", "z", "w", "s", "wz"], ["y"], domain="com.microsoft", transB=1),
        {"w": np.ones((5, 8), S8), "wz": np.zeros((), S8), "z": np.zeros((), U8), "s": np.float32(0.1)},
        np.ones((3, 8), U8),
        2 * 3 * 8 * 5,
    ),
    "QAttention": (
        helper.make_node("QAttention", ["x", "w", "b", "s", "s"], ["y"], domain="com.microsoft", num_heads=2),
        {"w": np.ones((8, 24), S8), "b": np.zeros(24, np.float32), "s": np.float32(0.1)},
        np.ones((1, 5, 8), U8),
        2 * (5 * 8 * 24) + 2 * (2 * 5 * 5 * 8),
    ),
}
FP32_NODES = {
    "FusedMatMul": (
        helper.make_node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft", transB=1),
        {"w": np.ones((5, 8), np.float32)},
        np.ones((3, 8), np.float32),
        2 * 3 * 8 * 5,
    ),
    "FusedConv": (
        helper.make_node("FusedConv", ["x", "w"], ["y"], domain="com.microsoft", activation="Relu"),
        {"w": np.ones((6, 4, 3, 3), np.float32)},
        np.ones((1, 4, 5, 5), np.float32),
        2 * (6 * 3 * 3) * (4 * 3 * 3),
    ),
    "Attention": (
        helper.make_node("Attention", ["x", "w", "b"], ["y"], domain="com.microsoft", num_heads=2),
        {"w": np.ones((8, 24), np.float32), "b": np.zeros(24, np.float32)},
        np.ones((1, 5, 8), np.float32),
        2 * (5 * 8 * 24) + 2 * (2 * 5 * 5 * 8),
    ),
    "MultiHeadAttention": (
        helper.make_node("MultiHeadAttention", ["x", "k", "k"], ["y"], domain="com.microsoft", num_heads=2),
        {"k": np.ones((1, 7, 8), np.float32)},
        np.ones((1, 5, 8), np.float32),
        2 * (2 * 5 * 7 * 8),
    ),
}


@pytest.mark.parametrize("name", [*INTEGER_NODES, *FP32_NODES])
def test_products_that_onnx_runtime_names_are_counted(name: str):
    """`build-engine` leaves them in graphs; the counts are worked out by hand."""
    node, constants, given, expected = {**INTEGER_NODES, **FP32_NODES}[name]
    kind = helper.np_dtype_to_tensor_dtype(given.dtype)
    kept = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    seams = [helper.make_tensor_value_info("x", kind, given.shape)], [onnx.ValueInfoProto(name="y")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "g", *seams, kept), opset_imports=opsets, ir_version=8)
    cost = count_cost(Graph(model), {"x": given})
    assert cost.operations == expected
    assert cost.integer_operations == (expected if name in INTEGER_NODES else 0)
