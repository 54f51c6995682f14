"""Rows of a series on a grid: interpolated, with gaps left as gaps, whatever the pieces that they come in."""

from __future__ import annotations

import numpy as np
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


@given(st.lists(st.floats(0.01, 0.2), min_size=2, max_size=40), st.integers(1, 39))
def test_pieces_change_nothing(pauses: list[float], cut: int):
    times_s = np.cumsum(pauses)
    values = np.sin(times_s).astype(np.float32)[:, None]
    whole = placed(GridInterpolator(20.0), Values(times_s, values))
    pieces = placed(GridInterpolator(20.0), Values(times_s[:cut], values[:cut]), Values(times_s[cut:], values[cut:]))
    assert whole == pieces
