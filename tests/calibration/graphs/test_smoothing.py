"""Smoothing changes no product, takes outliers out of activations, and is chosen by the error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="graphs are read with onnx")

from taemi_edge.calibration.graphs.grids import GRIDS, MIN_SCALE
from taemi_edge.calibration.graphs.ranges import METHODS
from taemi_edge.calibration.graphs.smoothing import (
    choose_scaling,
    fake_quantise,
    smoothing_vector,
    weight_scale,
)
from tests.calibration.graphs.test_ranges import seen_of


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.5, 0.9]))
def test_smoothing_changes_no_product(seed: int, alpha: float):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(5, 8)), rng.normal(size=(8, 3))
    x[:, 0] *= 50
    s = smoothing_vector(np.abs(x).max(0), [w], alpha)
    np.testing.assert_allclose((x / s) @ (w * s[:, None]), x @ w, rtol=1e-5, atol=1e-5)
    assert np.isclose(np.log(s).mean(), 0, atol=1e-4)


def test_an_outlier_channel_is_smoothed_and_the_error_falls():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(2000, 32)).astype(np.float32)
    rows[:, 7] *= 60
    weight = rng.normal(size=(32, 16)).astype(np.float32)
    plain = choose_scaling(seen_of(rows), [weight], (), ("minmax",), 99.99)
    smoothed = choose_scaling(seen_of(rows), [weight], (0.5, 0.7), ("minmax",), 99.99)
    assert smoothed.alpha in (0.5, 0.7)
    assert smoothed.error < plain.error / 2
    assert smoothed.held_out_error == pytest.approx(smoothed.error, rel=0.3)


@pytest.mark.parametrize("method", METHODS)
def test_ranges_of_fp8_are_found_by_each_method(method):
    """E4M3 keeps small values beside large ones, where INT8 loses them to an outlier or cuts the outlier off."""
    rows = np.random.default_rng(5).normal(size=(400, 8)).astype(np.float32)
    rows[7, 3] = 300
    weight = np.random.default_rng(6).normal(size=(8, 4)).astype(np.float32)
    chosen = choose_scaling(seen_of(rows), [weight], (), (method,), 100.0, GRIDS["fp8"])
    assert chosen.method == method
    assert chosen.error < 0.1
    small = rows[:7]
    lost = {name: np.abs(fake_quantise(small, 300.0, grid) - small).mean() for name, grid in GRIDS.items()}
    assert lost["fp8"] < lost["int8"] / 10


def test_without_weights_the_tensor_itself_is_judged():
    chosen = choose_scaling(seen_of(np.eye(8, dtype=np.float32)), [], (0.5,), METHODS, 99.99)
    assert chosen.alpha is None


def test_int8_is_symmetric_and_never_divides_by_zero():
    assert np.abs(fake_quantise(np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), 1.0)).max() == pytest.approx(128 / 127)
    assert weight_scale(np.zeros((4, 3), np.float32), axis=1).min() == np.float32(MIN_SCALE)
