"""The numbers that INT8, FP8 and BF16 can write: held against ONNX's own operators and ml_dtypes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="the references are onnx's")
ml_dtypes = pytest.importorskip("ml_dtypes", reason="the references are ml_dtypes'")

from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from taemi_edge.calibration.graph_sessions import runner_of
from taemi_edge.calibration.graphs.grids import (
    GRIDS,
    MIN_SCALE,
    bf16_bits,
    from_bf16_bits,
    round_to_e4m3,
)

_FLOATS = st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=64)
#: Around every edge of the grid: the smallest subnormal, the smallest normal, the largest number, and their neighbours.
_EDGES = np.array(
    [0.0, 2**-11, 2**-10, 1.5 * 2**-9, 2**-9, 7 * 2**-9, 2**-6, 240, 432, 440, 448, 464, 465, 1e30, 3.3e38], "f4"
)


def pair(kind: int) -> bytes:
    """A model that quantises with a scale of 1 and goes back."""
    zero = helper.make_tensor("zero", kind, [], b"\0", raw=True)
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "pair", ends[:1], ends[1:], [zero, one])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9).SerializeToString()


_RUNTIME = {kind: runner_of(pair(number)) for kind, number in (("int8", 3), ("fp8", TensorProto.FLOAT8E4M3FN))}
_REFERENCE = ReferenceEvaluator(onnx.load_model_from_string(pair(TensorProto.FLOAT8E4M3FN)))


@settings(max_examples=25, deadline=None)
@given(_FLOATS)
def test_e4m3_is_what_onnx_and_onnx_runtime_round_to(values: list[float]):
    x = np.concatenate([np.array(values, np.float32), _EDGES, -_EDGES, np.array([np.nan, np.inf, -np.inf], np.float32)])
    rounded = round_to_e4m3(x)
    np.testing.assert_array_equal(rounded, _RUNTIME["fp8"]({"x": x})["y"])
    finite = x[np.isfinite(x)]
    (reference,) = _REFERENCE.run(None, {"x": finite})
    np.testing.assert_array_equal(round_to_e4m3(finite), reference.astype(np.float32))
    inside = finite[np.abs(finite) <= 448]
    np.testing.assert_array_equal(
        round_to_e4m3(inside), inside.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    )  # beyond 448 ml_dtypes gives NaN, and ONNX saturates


def test_every_number_of_e4m3_stays_itself():
    codes = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    np.testing.assert_array_equal(round_to_e4m3(codes), codes)
    assert np.nanmax(codes) == GRIDS["fp8"].largest
    assert np.isnan(round_to_e4m3(np.array([np.nan]))).all()


@settings(max_examples=15, deadline=None)
@given(_FLOATS)
def test_int8_is_what_onnx_runtime_rounds_to(values: list[float]):
    x = np.array([v for v in values if np.isfinite(v)] or [0.0], np.float32).clip(-1e6, 1e6)
    np.testing.assert_array_equal(GRIDS["int8"].round(x), _RUNTIME["int8"]({"x": x})["y"])


@settings(max_examples=25, deadline=None)
@given(_FLOATS)
def test_bf16_is_what_ml_dtypes_rounds_to(values: list[float]):
    x = np.concatenate([np.array(values, np.float32), np.array([np.inf, -np.inf, 3.4e38, 1e-45, -0.0], np.float32)])
    np.testing.assert_array_equal(from_bf16_bits(bf16_bits(x)), x.astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS))
def test_the_levels_of_a_range_never_fall_and_no_scale_is_zero(grid):
    for steps in (128, 160, 2048):
        levels = grid.levels(steps)
        assert len(levels) == steps
        assert set(np.diff(levels)) <= {0, 1}
    assert grid.scale(0.0) == MIN_SCALE
    assert grid.scale(grid.largest) == 1.0
