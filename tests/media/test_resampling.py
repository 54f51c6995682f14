"""Rows of a series on a grid: interpolated, with gaps left as gaps, whatever the pieces that they come in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.media.hops import Values
from taemi_edge.media.resampling import GridInterpolator


def placed(grid: GridInterpolator, *pieces: Values) -> dict[int, float]:
    """The first channel by the index of the grid."""
    return {index + i: float(value) for index, values in grid.convert(pieces) for i, value in enumerate(values[:, 0])}


def rows(times_s: list[float], values: list[float]) -> Values:
    return Values(np.array(times_s), np.array(values, np.float32)[:, None])


def test_points_between_rows_are_interpolated():
    assert placed(GridInterpolator(10.0), rows([0.0, 0.2], [0.0, 2.0])) == {0: 0.0, 1: 1.0, 2: 2.0}


def test_nothing_is_interpolated_over_a_gap():
    found = placed(GridInterpolator(10.0), rows([0.0, 0.1, 0.2, 5.0], [0, 1, 2, 50]))
    assert sorted(found) == [0, 1, 2, 50]


def test_a_sensor_that_is_slower_than_the_grid_has_no_gaps():
    found = placed(GridInterpolator(50.0), rows([0.0, 0.1, 0.2, 0.3], [0, 1, 2, 3]))
    assert sorted(found) == list(range(16))


def test_nan_and_rows_that_go_backwards_are_left_out_and_counted():
    grid = GridInterpolator(10.0)
    found = placed(grid, rows([0.0, 0.1, 0.05, 0.2], [0, float("nan"), 9, 2]))
    assert grid.left_out == 1
    assert found[0] == 0
    assert placed(grid, rows([0.1], [7])) == {}
    assert grid.left_out == 2


def test_a_leap_of_years_takes_no_memory():
    years_s = 3e8
    grid = GridInterpolator(200.0)
    found = placed(grid, rows([0.0, 0.005, years_s, years_s + 0.005], [0, 1, 2, 3]), rows([2 * years_s], [4]))
    assert sorted(found) == [0, 1, 60_000_000_000, 60_000_000_001, 120_000_000_000]
    assert placed(grid, rows([1e300], [5])) == {}
    assert grid.left_out == 1


def test_the_first_pause_of_a_fast_series_may_be_a_gap_and_that_of_a_slow_one_is_none():
    assert sorted(placed(GridInterpolator(10.0), rows([0.0, 30.0], [0, 1]))) == [0, 300]
    assert len(placed(GridInterpolator(10.0), rows([0.0, 1.0, 2.0], [0, 1, 2]))) == 21
    # after the first pause of five seconds it is known that this series is slow
    assert len(placed(GridInterpolator(10.0), rows([0.0, 5.0, 10.0, 15.0], [0, 1, 2, 3]))) == 102
    assert sorted(placed(GridInterpolator(0.01), rows([0.0, 100.0, 300.0], [0, 1, 3]))) == [0, 1, 2, 3]


def test_a_series_that_starts_between_two_points_has_the_one_before():
    assert placed(GridInterpolator(10.0), rows([0.05, 0.15, 0.25], [1, 2, 3])) == {0: 1.0, 1: 1.5, 2: 2.5}


@given(
    st.lists(st.floats(0.01, 0.2) | st.sampled_from([0.0, 1e-9, 0.05, 0.3, 3.0, 100.0]), min_size=2, max_size=40),
    st.integers(1, 39),
)
def test_pieces_change_nothing(pauses: list[float], cut: int):
    times_s = np.cumsum(pauses)
    values = np.sin(times_s).astype(np.float32)[:, None]
    whole = placed(GridInterpolator(20.0), Values(times_s, values))
    pieces = placed(GridInterpolator(20.0), Values(times_s[:cut], values[:cut]), Values(times_s[cut:], values[cut:]))
    assert whole == pieces


@pytest.mark.parametrize("lost", [0.2, 0.5, 0.8, 0.95])
def test_rows_of_which_many_are_lost_one_by_one_have_no_gaps(lost: float):
    """A best-effort topic of 200 Hz: the rows that came tell how far rows lie apart."""
    random = np.random.default_rng(0)
    times_s = np.arange(0, 20, 1 / 200)[random.random(4000) >= lost]
    grid = GridInterpolator(200.0)
    found = list(grid.convert([Values(times_s, times_s[:, None].astype(np.float32))]))
    settled = [(index, len(values)) for index, values in found if index > 400]
    given = sum(len(values) for _, values in found)
    assert given > 0.97 * 4000
    assert len(settled) <= 1
