"""INT8 graphs for processors: near FP32, fused into integer kernels, exact where they are computed as written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the networks are written in PyTorch")
onnx = pytest.importorskip("onnx", reason="graphs are quantised with onnx")
import msgspec
import onnxruntime

from taemi_edge.calibration.graph_sessions import open_graph, runner_of
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.unsigned_qdq import quantise_for_hosts
from taemi_edge.errors import CalibrationError
from taemi_edge.runtime.processor import kernels_are_exact
from tests.calibration.graphs.host_models import NETWORKS, Bytes, exported, feeds_of, graph_of, nn, plan_of, torch

FLAVOURS = ("int8-u8", "int8-dynamic")


def values(graph: Graph, feeds: list[dict[str, np.ndarray]]) -> np.ndarray:
    session = open_graph(graph.bytes())
    return np.concatenate([session.run(None, feed)[0].ravel() for feed in feeds])


def kernels(graph: Graph, folder: Path) -> Counter[str]:
    """The operators that ONNX Runtime rewrites a graph to, before it lays weights out for one processor."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(graph.bytes(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_stays_near_fp32_in_standard_operators(name, tmp_path):
    graph = graph_of(name)
    plan, feeds = plan_of(graph, feeds_of(name)), feeds_of(name, 4, first=100)
    want = values(graph, feeds)
    for flavour in FLAVOURS:
        made = quantise_for_hosts(graph, plan, flavour)
        onnx.checker.check_model(made.model, full_check=True)
        assert {node.domain for node in made.nodes} <= {"", "ai.onnx"}
        found = values(made, feeds)
        assert np.corrcoef(want, found)[0, 1] > 0.99, flavour
        assert made.bytes() == quantise_for_hosts(graph, plan, flavour).bytes()
        fused = kernels(made, tmp_path)
        convolutions = sum(node.op_type == "Conv" for node in graph.nodes)
        assert (fused["QLinearConv"], fused["Conv"]) == (convolutions, 0)
        linears = sum(layer.is_linear for layer in graph.layers())
        assert fused["MatMulIntegerToFloat"] + fused["DynamicQuantizeMatMul"] == linears
        weights = [made.value(name) for name in made.initialisers if name.endswith("/s8")]
        assert len(weights) == convolutions + linears
        assert all((w.dtype, w.min() >= -127) == (np.int8, True) for w in weights)  # -128 overflows on ARM


@pytest.mark.skipif(not kernels_are_exact(), reason="the integer kernels saturate on this processor")
@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("name", ["plain", "mobile", "sound", "after"])
def test_integer_kernels_give_what_the_graph_says_but_for_ties_in_rounding(name, flavour):
    graph = graph_of(name)
    made = quantise_for_hosts(graph, plan_of(graph, feeds_of(name)), flavour).bytes()
    feed = feeds_of(name, 1, first=200)[0]
    one = {key: value[:1] for key, value in feed.items()}
    fused, written = runner_of(made, flavour)(one), open_graph(made).run(None, one)
    assert np.corrcoef(next(iter(fused.values())).ravel(), written[0].ravel())[0, 1] > 0.9999


def test_query_key_and_value_share_one_dynamic_range_and_one_smoothing():
    graph = graph_of("after")
    made = quantise_for_hosts(graph, plan_of(graph, feeds_of("after")), "int8-dynamic")
    kinds = Counter(node.op_type for node in made.nodes)
    assert kinds["DynamicQuantizeLinear"] == 4  # of six Linears
    assert len(made.readers["x/smoothed"]) == 1


def test_a_picture_of_bytes_reaches_the_kernels_as_it_is(tmp_path):
    graph = graph_of("bytes")
    made = quantise_for_hosts(graph, plan_of(graph, feeds_of("bytes")), "int8-u8")
    assert not {"Cast", "Sub", "Div", "QuantizeLinear"}.intersection(kernels(made, tmp_path))
    scale, zero = (made.value(f"/Div_output_0/u8_{what}") for what in ("scale", "zero_point"))
    assert (float(scale), int(zero)) == (1 / 128, 127)


def test_pictures_that_are_scaled_by_channel_are_quantised_like_any_tensor():
    class Colours(Bytes):
        def forward(self, x):
            means = torch.tensor([123.0, 116.0, 103.0]).reshape(1, 3, 1, 1)
            return self.b(torch.relu(self.a((x.permute(0, 3, 1, 2).float() - means) / 58.0))).flatten(1)

    graph = exported(Colours().eval(), torch.from_numpy(feeds_of("bytes", 1)[0]["x"]))
    feeds = feeds_of("bytes")
    made = quantise_for_hosts(graph, plan_of(graph, feeds), "int8-u8")
    assert np.corrcoef(values(graph, feeds), values(made, feeds))[0, 1] > 0.999


def test_rows_of_one_call_share_a_dynamic_range_and_no_range_from_clips():
    graph = graph_of("before")
    plan, feed = plan_of(graph, feeds_of("before")), feeds_of("before", 1, first=300)[0]["x"]
    loud = np.concatenate([feed[:1], 10 * feed[1:]])
    moved = {}
    for flavour in FLAVOURS:
        session = open_graph(quantise_for_hosts(graph, plan, flavour).bytes())
        alone, beside = (session.run(None, {"x": x})[0][0] for x in (feed[:1], loud))
        moved[flavour] = np.abs(alone - beside).max() / np.abs(alone).max()
    assert moved["int8-u8"] < 1e-5
    assert 1e-4 < moved["int8-dynamic"] < 0.1
    apart = runner_of(quantise_for_hosts(graph, plan, "int8-dynamic").bytes(), "int8-dynamic")
    name = graph.outputs[0]
    np.testing.assert_array_equal(apart({"x": loud})[name][:1], apart({"x": feed[:1]})[name])


def test_a_block_that_is_left_out_keeps_its_numbers():
    graph = graph_of("plain")
    plan = plan_of(graph, feeds_of("plain"))
    made = quantise_for_hosts(graph, plan, "int8-u8", ["b", "out"])
    kept = {node.name: node for node in made.nodes}
    assert (kept["/b/Conv"].input[1], kept["/out/Gemm"].op_type) == ("b.weight", "Gemm")
    assert made.initialisers["b.weight"].data_type == onnx.TensorProto.FLOAT
    nothing = quantise_for_hosts(graph, plan, "int8-u8", ["a", "b", "out"])
    assert not nothing.is_quantised
    np.testing.assert_allclose(values(nothing, feeds_of("plain")), values(graph, feeds_of("plain")), atol=1e-5)


def test_a_channel_without_weights_does_not_overflow_its_bias():
    graph = graph_of("plain")
    weight = graph.value("b.weight").copy()
    weight[0] = 0
    graph.set_value("b.weight", weight)
    graph.set_value("b.bias", np.linspace(100, 1, 12, dtype=np.float32))
    feeds = feeds_of("plain")
    made = quantise_for_hosts(graph, plan_of(graph, feeds), "int8-u8")
    np.testing.assert_allclose(values(made, feeds), values(graph, feeds), atol=1.0)


def test_a_tensor_that_is_zero_throughout_is_quantised_without_a_complaint():
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.b(torch.relu(self.a(x) - 1e4)) + x.mean()

    feeds = feeds_of("residual")
    graph = exported(Dead().eval(), torch.from_numpy(feeds[0]["x"]))
    made = quantise_for_hosts(graph, plan_of(graph, feeds), "int8-u8")
    np.testing.assert_allclose(values(made, feeds), values(graph, feeds), atol=0.05)


def test_plans_of_another_graph_or_without_the_ranges_are_refused():
    graph = graph_of("plain")
    plan = plan_of(graph, feeds_of("plain"))
    with pytest.raises(CalibrationError, match="calibrate anew, or pass --set host=false"):
        quantise_for_hosts(graph, msgspec.structs.replace(plan, host=None), "int8-u8")
    with pytest.raises(CalibrationError, match="got others: calibrate anew"):
        quantise_for_hosts(graph_of("residual"), plan, "int8-u8")
    with pytest.raises(CalibrationError, match="expected an FP32 graph"):
        quantise_for_hosts(quantise_for_hosts(graph, plan, "int8-u8"), plan, "int8-u8")
    few = msgspec.structs.replace(plan.host, tensors=plan.host.tensors[:1])
    with pytest.raises(CalibrationError, match="expected a range for processors, these ranges have none"):
        quantise_for_hosts(graph, msgspec.structs.replace(plan, host=few), "int8-u8")


def test_a_gemm_with_factors_and_a_bias_that_is_no_constant_keeps_its_value(tmp_path):
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w", "c"], ["h"], name="/a/Gemm", alpha=0.5, beta=2.0),
        onnx.helper.make_node("ReduceMean", ["h"], ["m"], name="/mean", axes=[0], keepdims=0),
        onnx.helper.make_node("Gemm", ["h", "v", "m"], ["y"], name="/b/Gemm", transB=1, beta=3.0),
    ]
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(16, 8)), "c": rng.normal(size=8), "v": rng.normal(size=(8, 8))}
    made = onnx.helper.make_graph(
        nodes,
        "gemm",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 16])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 8])],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()],
    )
    graph = Graph(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9))
    feeds = [{"x": rng.normal(size=(3, 16)).astype(np.float32)} for _ in range(5)]
    for flavour in FLAVOURS:
        written = quantise_for_hosts(graph, plan_of(graph, feeds), flavour)
        assert np.corrcoef(values(graph, feeds), values(written, feeds))[0, 1] > 0.999
        assert not kernels(written, tmp_path)["Gemm"]
