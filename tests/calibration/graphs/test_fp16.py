"""FP16 graphs: what is FP16, what stays in FP32, and that nothing but precision changes."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graphs are written with onnx")

from onnx import TensorProto

from taemi_edge.bundle.folder import Bundle
from taemi_edge.calibration.graph_sessions import open_graph
from taemi_edge.calibration.graphs.fp16 import convert_to_fp16, find_islands
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import ScaledTensor, quantise
from taemi_edge.parity.golden import load_cases
from taemi_edge.taemi.names import PARTS
from tests.calibration.graphs.small_graph import BOTH, linear_model, plan_of, run


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


@pytest.mark.parametrize("part", PARTS)
def test_fp16_of_the_tiny_model_is_near_pytorch(calibrated: Bundle, part: str):
    session = open_graph(str(calibrated.folder / calibrated.manifest.graphs[part]["fp16"]))
    for case in load_cases(calibrated.golden_file):
        if case.part == part and case.pattern in (None, frozenset({"vision", "audio", "text"})):
            (want,) = (case.expected or {}).values()
            (got,) = session.run(None, dict(case.feeds))
            assert got.dtype == np.float32
            assert np.abs(got - want).max() < 2e-2
