"""Unsigned ranges, equalised channels and rounded weights, on arrays."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")

from taemi_edge.calibration.graphs.equalising import channel_factors, full_equaliser
from taemi_edge.calibration.graphs.ranges import collect_statistics
from taemi_edge.calibration.graphs.rounding import mean_error, round_to_steps
from taemi_edge.calibration.graphs.unsigned_qdq import unsigned_numbers
from taemi_edge.calibration.host_ranges import fake_unsigned, far_reaching_range, unsigned_range
from taemi_edge.errors import CalibrationError


@pytest.mark.parametrize(("low", "high"), [(-1.0, 4.0), (0.5, 2.0), (-3.0, -1.0), (0.0, 0.0), (-1e-30, 1e-30)])
def test_zero_is_written_exactly_whatever_the_range(low, high):
    scale, zero = unsigned_numbers(low, high)
    assert np.isfinite(scale)
    assert scale > 0
    assert fake_unsigned(np.zeros(3, np.float32), min(low, 0.0), max(high, 0.0)).tolist() == [0, 0, 0]
    ends = (0 - float(zero)) * scale, (255 - float(zero)) * scale
    assert ends[0] - scale <= min(low, 0.0)
    assert ends[1] + scale >= max(high, 0.0)


def test_the_range_between_convolutions_is_the_one_with_the_least_error():
    rows = np.abs(np.random.default_rng(0).normal(size=(512, 64))).astype(np.float32)
    rows[:8, :8] *= 1.5  # many that are a little larger: rougher steps for all of them cost more than these
    low, high, _ = unsigned_range(rows, 0.0, float(rows.max()))
    errors = [
        ((fake_unsigned(rows, 0.0, end) - rows) ** 2).sum() for end in (high, rows.max(), np.percentile(rows, 99.9))
    ]
    assert low == 0.0
    assert errors[0] <= min(errors) * 1.001


def test_the_range_of_what_linears_read_keeps_outliers_but_not_the_farthest():
    rows = np.abs(np.random.default_rng(0).normal(size=(512, 64))).astype(np.float32)
    assert far_reaching_range(rows, 0.0, 5.0) == (0.0, 5.0, "minmax")
    low, high, method = far_reaching_range(rows, 0.0, 500.0)
    assert (low, method, 5.0 < high < 8.0) == (0.0, "percentile", True)


def test_weights_are_rounded_to_keep_the_sum_of_each_filter_and_are_never_128():
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(6, 4, 3, 3)).astype(np.float32)
    scale = (np.abs(weight).max(axis=(1, 2, 3)) / 127).astype(np.float32)
    steps = round_to_steps(weight, scale, 0)
    lost = steps.sum((2, 3), dtype=np.int64) - (weight / scale.reshape(-1, 1, 1, 1)).sum((2, 3))
    assert np.abs(lost).max() <= 0.5 + 1e-3
    assert np.abs(steps - weight / scale.reshape(-1, 1, 1, 1)).max() <= 1.0
    assert steps.min() >= -127


def test_what_rounding_adds_on_average_is_found_for_groups_and_for_depthwise():
    rng = np.random.default_rng(2)
    for outputs, inputs, channels in ((6, 4, 4), (6, 2, 4), (4, 1, 4)):
        weight = rng.normal(size=(outputs, inputs, 1, 1))
        mean = rng.normal(size=channels)
        groups = channels // inputs
        spread = np.repeat(mean.reshape(groups, inputs), outputs // groups, axis=0)
        np.testing.assert_allclose(mean_error(weight, weight + 0.1, mean), 0.1 * spread.sum(1), atol=1e-12)
        np.testing.assert_array_equal(channel_factors(weight, mean)[:, :, 0, 0], spread)


def test_dead_channels_and_very_quiet_ones_are_stretched_no_further_than_is_safe():
    assert full_equaliser(np.array([6.0, 0.001, 0.0])).tolist() == [1.0, 1 / 16, 1.0]
    assert full_equaliser(np.zeros(3)).tolist() == [1.0, 1.0, 1.0]


def test_a_constant_tensor_is_refused_unless_it_may_be_one_and_nan_always_is():
    feeds = [{"x": np.ones((2, 3), np.float32)}]
    with pytest.raises(CalibrationError, match="x: expected activations that vary"):
        collect_statistics(lambda feed: {}, feeds, {"x": -1}, 4)
    seen = collect_statistics(lambda feed: {}, feeds, {"x": -1}, 4, may_be_constant={"x"}).watched["x"]
    assert (seen.low, seen.high, seen.channel_low.tolist()) == (1.0, 1.0, [1.0, 1.0, 1.0])
    damaged = [{"x": np.array([[np.nan, 1.0, 2.0]], np.float32)}]
    with pytest.raises(CalibrationError, match="x: expected finite activations, got NaN"):
        collect_statistics(lambda feed: {}, damaged, {"x": -1}, 4, may_be_constant={"x"})
