"""Layers and blocks are found by the names of nodes; a file that is no graph is refused."""

from __future__ import annotations

import pytest

onnx = pytest.importorskip("onnx", reason="graphs are written with onnx")

from onnx import helper

from taemi_edge.calibration.graphs.graph import Graph, block_of
from taemi_edge.errors import BundleError
from tests.calibration.graphs.small_graph import linear_model


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


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match="expected an ONNX graph"):
        Graph.load(tmp_path / "x.onnx")
