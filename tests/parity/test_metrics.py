"""The field's figures, against numpy's and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.parity.metrics import METRICS, average_precision_of, ccc_of, mean_pearson, paired_interval, pearson_of


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


def test_concordance_falls_with_scale_and_offset_where_pearson_does_not():
    x = np.array([0.1, 0.4, 0.2, 0.9])
    assert ccc_of(x, x) == pytest.approx(1.0)
    # by hand: covariance .09 over variances .09 + .09 and the square of the offset
    assert ccc_of(x, x + 0.3) == pytest.approx(2 * x.var() / (2 * x.var() + 0.09))
    assert pearson_of(x, x + 0.3) == pytest.approx(1.0)
    assert ccc_of(np.ones(3), np.ones(3)) is None


PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
CLASSES = np.array([[0.0], [1.0], [1.0], [2.0]])


def test_figures_of_classes_by_hand():
    accuracy, f1, precision = METRICS["accuracy"], METRICS["macro_f1"], METRICS["average_precision"]
    assert accuracy.value(PROBABILITIES, CLASSES) == 0.75
    assert accuracy.by_name(PROBABILITIES, CLASSES) == [1.0, 0.5, 1.0]
    assert f1.by_name(PROBABILITIES, CLASSES) == [pytest.approx(2 / 3), pytest.approx(2 / 3), 1.0]
    assert f1.value(PROBABILITIES, CLASSES) == pytest.approx(7 / 9)
    assert precision.by_name(PROBABILITIES, CLASSES)[0] == 1.0
    # of "1": the true rows have .8 and .3, and another row has .3 too: precision 1, then 2 of 3
    assert precision.by_name(PROBABILITIES, CLASSES)[1] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_classes_that_may_be_together_are_decided_one_by_one():
    predicted, true = np.array([[0.9, 0.6], [0.2, 0.7]]), np.array([[1.0, 1.0], [1.0, 1.0]])
    assert METRICS["accuracy"].value(predicted, true) == 0.5
    assert METRICS["accuracy"].by_name(predicted, true) == [0.5, 1.0]
    assert METRICS["average_precision"].value(predicted, 0 * true) is None


def test_the_mean_absolute_error_is_better_where_it_is_lower():
    assert METRICS["mae"].by_name(np.array([[1.0, 0.0]]), np.array([[0.5, 0.25]])) == [0.5, 0.25]
    assert [name for name, metric in METRICS.items() if not metric.higher_is_better] == ["mae"]


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_no_rows_are_undefined(metric):
    assert metric.value(np.zeros((0, 3)), np.zeros((0, 3))) is None


@given(st.integers(0, 10_000))
def test_average_precision_does_not_mind_the_order_of_rows_and_lies_in_0_to_1(seed: int):
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 4, 20) / 4, rng.random(20) < 0.5
    order = rng.permutation(20)
    found = average_precision_of(scores, positive)
    assert found is None or 0 < found <= 1
    assert found == average_precision_of(scores[order], positive[order])


def test_a_paired_interval_of_few_seeds_is_students():
    found = paired_interval(np.array([0.1, 0.2, 0.3]))
    assert (found.low, found.high) == pytest.approx((0.2 - 0.2484, 0.2 + 0.2484), abs=1e-3)
