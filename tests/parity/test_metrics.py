"""The field's figures, against numpy's and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.parity.metrics import mean_pearson, paired_interval, pearson_of, score


def drawn(seed: int, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random((count, 6))
    return labels + 0.5 * rng.standard_normal(labels.shape), labels


def test_pearson_is_numpys():
    predicted, labels = drawn(0)
    assert pearson_of(predicted[:, 0], labels[:, 0]) == pytest.approx(np.corrcoef(predicted[:, 0], labels[:, 0])[0, 1])


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_pearson_does_not_mind_scale_and_offset(scale: float, offset: float):
    predicted, labels = drawn(1)
    assert mean_pearson(predicted * scale + offset, labels) == pytest.approx(mean_pearson(predicted, labels))


def test_it_is_over_the_whole_split_and_not_a_mean_over_batches():
    predicted, labels = drawn(2)
    order = np.argsort(labels[:, 0])
    batches = [mean_pearson(predicted[order[i : i + 8]], labels[order[i : i + 8]]) for i in range(0, 200, 8)]
    assert score(predicted, labels).mean_pearson > np.mean(batches) + 0.03


def test_an_undefined_correlation_is_none_and_left_out_of_the_mean():
    predicted, labels = drawn(3)
    predicted[:, 2] = 0.4
    found = score(predicted, labels)
    assert found.pearson["determination"] is None
    assert found.mean_pearson == pytest.approx(np.mean([v for v in found.pearson.values() if v is not None]))
    nothing = score(np.full((5, 6), 0.3), labels[:5])
    assert (nothing.mean_pearson, nothing.interval, nothing.slope) == (None, None, None)
    empty = score(np.zeros((0, 6)), np.zeros((0, 6)))
    assert (empty.mean_pearson, empty.mse, empty.clips) == (None, None, 0)


def test_the_interval_holds_the_figure_and_narrows_with_more_clips():
    few, many = score(*drawn(4, 60)), score(*drawn(4, 2000))
    for found in (few, many):
        assert found.interval.low < found.mean_pearson < found.interval.high
    assert many.interval.high - many.interval.low < 0.5 * (few.interval.high - few.interval.low)
    assert score(*drawn(4, 60)) == few  # seeded


def test_the_slope_is_1_where_an_intensity_means_what_it_says():
    _, labels = drawn(5)
    assert score(labels, labels).slope == pytest.approx(1.0)
    assert score(labels * 0.5, labels).slope == pytest.approx(2.0)


def test_a_paired_interval_of_few_seeds_is_students():
    found = paired_interval(np.array([0.1, 0.2, 0.3]))
    assert (found.low, found.high) == pytest.approx((0.2 - 0.2484, 0.2 + 0.2484), abs=1e-3)
