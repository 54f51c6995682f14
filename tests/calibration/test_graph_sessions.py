"""Graphs of the tests run on ONNX Runtime: their outputs, or every tensor."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are written with onnx")

from taemi_edge.calibration.graph_sessions import runner_of, runner_of_all_tensors
from tests.calibration.graphs.small_graph import X, linear_model


def test_a_runner_gives_outputs_and_the_other_every_tensor():
    graph = linear_model()
    outputs, tensors = runner_of(graph.bytes())({"x": X}), runner_of_all_tensors(graph)({"x": X})
    assert set(outputs) == {"y"}
    assert set(tensors) == {"n", "a", "b", "c", "y"}
    np.testing.assert_array_equal(outputs["y"], tensors["y"])
    np.testing.assert_allclose(tensors["c"], tensors["a"] * tensors["b"], rtol=1e-6)
