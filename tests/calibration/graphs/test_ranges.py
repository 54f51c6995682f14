"""Ranges of activations whose answer is known; a seed fixes what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are read with onnx")

from taemi_edge.calibration.graphs.ranges import TensorStatistics, collect_statistics, range_by
from taemi_edge.errors import CalibrationError


def seen_of(rows: np.ndarray, capacity: int = 512) -> TensorStatistics:
    seen = TensorStatistics(-1, capacity, np.random.default_rng(0))
    for at in range(0, len(rows), 100):
        seen.add(rows[at : at + 100])
    return seen


def test_extremes_are_exact_and_rows_are_an_even_sample():
    rows = np.arange(40_000, dtype=np.float32).reshape(10_000, 4)
    seen = seen_of(rows)
    assert seen.amax == 39_999
    assert list(seen.channel_amax) == [39_996, 39_997, 39_998, 39_999]
    assert seen.rows.shape == (512, 4)
    assert abs(seen.rows[:, 0].mean() / rows[:, 0].mean() - 1) < 0.1


def test_memory_does_not_grow_with_what_comes():
    seen = seen_of(np.random.default_rng(1).normal(size=(50_000, 8)).astype(np.float32))
    assert seen.rows.nbytes == 512 * 8 * 4
    assert seen.rows.base is None


@pytest.mark.parametrize(
    ("method", "low", "high"), [("minmax", 100, 100), ("percentile", 3, 6), ("entropy", 2, 20)], ids=str
)
def test_each_method_treats_one_outlier_in_a_hundred_thousand_its_own_way(method, low, high):
    rows = np.random.default_rng(2).normal(size=(1000, 100)).astype(np.float32)
    rows[3, 5] = 100
    assert low <= range_by(method, rows, 100.0, 99.99) <= high


def test_a_feature_map_is_read_along_its_channels():
    values = np.zeros((2, 3, 4, 5), np.float32)
    values[:, 1] = 7
    seen = TensorStatistics(1, 512, np.random.default_rng(0))
    seen.add(values)
    assert list(seen.channel_amax) == [0, 7, 0]
    assert seen.rows.shape == (40, 3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[1.0, np.nan]], np.float32), "/layer/out: expected finite activations, got NaN"),
        (np.array([[1.0, np.inf]], np.float32), "/layer/out: expected finite activations, got infinity"),
        (np.array([[3.0, 3.0]], np.float32), "/layer/out: expected activations that vary, got 3 throughout"),
    ],
    ids=["nan", "infinity", "constant"],
)
def test_activations_that_no_range_fits_are_named_by_their_tensor(values, words):
    with pytest.raises(CalibrationError, match=words):
        collect_statistics(lambda _: {"/layer/out": values}, [{}], {"/layer/out": -1}, 16)
