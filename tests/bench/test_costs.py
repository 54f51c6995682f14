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
