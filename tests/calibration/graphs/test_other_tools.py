"""Graphs that other tools made: what is unknown is left alone, and what is the same is found."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are written with onnx")

from onnx import TensorProto, helper, numpy_helper

from taemi_edge.calibration.graph_sessions import open_graph, runner_of_all_tensors
from taemi_edge.calibration.graphs.fp16 import convert_to_fp16, find_islands
from taemi_edge.calibration.graphs.graph import Graph, block_of
from taemi_edge.calibration.graphs.ranges import collect_statistics
from taemi_edge.errors import CalibrationError

RNG = np.random.default_rng(0)


def graph_of(nodes: list, weights: dict[str, np.ndarray], shape: tuple = ("b", "t", 4)) -> Graph:
    """A graph from x to y."""
    made = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return Graph(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def weight(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_nodes_without_names_get_some_and_names_that_come_twice_are_told_apart():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"], name="twice"),
        helper.make_node("MatMul", ["b", "v"], ["y"], name="twice"),
    ]
    graph = graph_of(nodes, {"w": weight(4, 4), "v": weight(4, 4)})
    names = [node.name for node in graph.nodes]
    assert all(names)
    assert len(set(names)) == 3
    assert [layer.weight for layer in graph.layers()] == ["w", "v"]


def test_what_has_no_constant_weight_of_its_own_is_left_alone():
    nodes = [
        helper.make_node("MatMul", ["x", "shared"], ["a"], name="a"),
        helper.make_node("MatMul", ["a", "shared"], ["b"], name="b"),
        helper.make_node("MatMul", ["left", "b"], ["c"], name="c"),
        helper.make_node("MatMul", ["query", "w"], ["q"], name="q"),  # the inputs do not change what it reads
        helper.make_node("Einsum", ["c", "w2"], ["d"], name="d", equation="btd,de->bte"),
        helper.make_node("Add", ["d", "q"], ["y"], name="y"),
    ]
    weights = {
        "shared": weight(4, 4),
        "left": weight(3, 3),
        "query": weight(1, 4),
        "w": weight(4, 4),
        "w2": weight(4, 4),
    }
    assert graph_of(nodes, weights).layers() == []


def test_a_gemm_whose_rows_are_the_features_is_left_alone():
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], name="g", transA=1)]
    assert graph_of(nodes, {"w": weight(5, 3)}, (5, "n")).layers() == []


def test_a_weight_that_a_branch_reads_too_is_not_changed():
    inner = helper.make_node("MatMul", ["x", "w"], ["z"])
    branch = helper.make_graph([inner], "branch", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="a"),
        helper.make_node("If", ["yes"], ["b"], name="if", then_branch=branch, else_branch=branch),
        helper.make_node("Add", ["a", "b"], ["y"], name="y"),
    ]
    assert graph_of(nodes, {"w": weight(4, 4), "yes": np.array(True)}).layers() == []


def test_blocks_follow_the_scopes_that_dynamo_writes_beside_a_node():
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="node_MatMul_3")
    written = node.metadata_props.add()
    written.key = "pkg.torch.onnx.name_scopes"
    written.value = "['', 'encoder', 'encoder.layers.0', 'encoder.layers.0.attn', 'linear_2']"
    assert block_of(node) == "layers.0/attn"
    written.value = "no list"
    assert block_of(node) == "node_MatMul_3"


def test_a_norm_that_is_written_out_keeps_its_squares_in_fp32():
    nodes = [
        helper.make_node("Pow", ["x", "two"], ["sq"], name="square"),
        helper.make_node("ReduceMean", ["sq"], ["m"], name="mean", axes=[-1]),
        helper.make_node("Sqrt", ["m"], ["r"], name="root"),
        helper.make_node("Div", ["x", "r"], ["y"], name="divide"),
    ]
    islands = find_islands(graph_of(nodes, {"two": np.array(2, np.float32)}), {}, (), 2.0)
    assert set(islands) == {"square", "mean"}


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_recurrences_in_fp16_are_computed_in_fp32(kind: str):
    rows = 5 * {"GRU": 3, "LSTM": 4, "RNN": 1}[kind]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], name="t", perm=[1, 0, 2]),
        helper.make_node(kind, ["t", "w", "r"], ["s"], name="r", hidden_size=5),
        helper.make_node("Squeeze", ["s", "one"], ["q"], name="q"),
        helper.make_node("Transpose", ["q"], ["u"], name="u", perm=[1, 0, 2]),
        helper.make_node("MatMul", ["u", "v"], ["y"], name="y"),
    ]
    weights = {"w": weight(1, rows, 4), "r": weight(1, rows, 5), "v": weight(5, 3), "one": np.array([1])}
    graph = graph_of(nodes, weights)
    fp16 = convert_to_fp16(graph, {})
    assert fp16.initialisers["w"].data_type == TensorProto.FLOAT
    assert fp16.initialisers["v"].data_type == TensorProto.FLOAT16
    x = weight(2, 7, 4)
    want, got = (open_graph(each.bytes()).run(None, {"x": x})[0] for each in (graph, fp16))
    assert np.abs(want - got).max() < 1e-2


def test_nan_that_nothing_reads_in_the_end_is_no_fault_and_in_an_output_it_is():
    nodes = [
        helper.make_node("Sqrt", ["x"], ["n"], name="n"),  # NaN below zero
        helper.make_node("IsNaN", ["n"], ["bad"], name="bad"),
        helper.make_node("Where", ["bad", "x", "n"], ["y"], name="y"),
    ]
    graph = graph_of(nodes, {})
    feeds = [{"x": weight(1, 3, 4)}]
    found = collect_statistics(runner_of_all_tensors(graph), feeds, {}, rows=2, outputs=graph.outputs)
    assert np.isfinite(found.amax["n"])
    with pytest.raises(CalibrationError, match="n: expected finite activations, got NaN"):
        collect_statistics(runner_of_all_tensors(graph), feeds, {}, rows=2, outputs=["n"])
