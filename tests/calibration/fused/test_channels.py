import numpy as np
import pytest

pytest.importorskip("onnx")

from taemi_edge.calibration.fused.channels import scale_rows
from tests.calibration.fused.graphs import BYTE, FLOAT, graph_of, model, node, operators, run

PIXELS = {"pixels": (BYTE, ("frames", 8, 6, 3))}
MEAN, DEVIATION = np.array([123.7, 116.3, 103.5], np.float32), np.array([58.4, 57.1, 57.4], np.float32)


def _quantised(first: bool) -> bytes:
    """Pictures that are scaled by channel, with the channels first or last, and quantised."""
    shape = (1, 3, 1, 1) if first else (3,)
    turn = [node("Transpose", "float", "turned", perm=[0, 3, 1, 2])] if first else [node("Identity", "float", "turned")]
    nodes = [
        node("Cast", "pixels", "float", to=FLOAT),
        *turn,
        node("Sub", "turned mean", "centred"),
        node("Div", "centred deviation", "scaled"),
        node("QuantizeLinear", "scaled step zero", "bytes"),
        node("DequantizeLinear", "bytes step zero", "out"),
    ]
    numbers = {"step": np.float32(0.02), "zero": np.uint8(120)}
    return model(nodes, PIXELS, mean=MEAN.reshape(shape), deviation=DEVIATION.reshape(shape), **numbers)


@pytest.mark.parametrize("first", [True, False])
def test_pictures_are_scaled_in_rows_with_the_same_values(first):
    content = _quantised(first)
    graph = graph_of(content)
    assert scale_rows(graph) == 1
    assert operators(graph)["Reshape"] == 2
    feeds = {"pixels": np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3)).astype(np.uint8)}
    assert np.array_equal(run(content, feeds), run(graph, feeds))


def test_pictures_of_a_graph_in_fp32_are_left_alone():
    nodes = [
        node("Cast", "pixels", "float", to=FLOAT),
        node("Transpose", "float", "turned", perm=[0, 3, 1, 2]),
        node("Sub", "turned mean", "out"),
    ]
    assert scale_rows(graph_of(model(nodes, PIXELS, mean=MEAN.reshape(1, 3, 1, 1)))) == 0


def test_widths_that_are_not_known_are_left_alone():
    nodes = [node("Sub", "x mean", "out")]
    assert scale_rows(graph_of(model(nodes, {"x": (FLOAT, ("frames", "height", "width", 3))}, mean=MEAN))) == 0
    assert scale_rows(graph_of(model(nodes, {"x": (FLOAT, ("steps", 3))}, mean=MEAN))) == 0
