"""Rings of features: what they hold, and what they forget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.runtime.rings import RingIndex, Span


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(1, 30))
def test_a_ring_holds_what_a_list_would(counts: list[int], window: int):
    ring, features, everything = RingIndex(window), np.zeros(window), np.zeros(0)
    now = 0
    for count in counts:
        times = np.arange(now + 1, now + count + 1, dtype=np.float64)
        now += count
        rows = ring.push(times.tolist()).rows(window)
        assert len({*rows}) == len(rows) == min(count, window)
        features[rows] = times[count - len(rows) :]
        everything = np.concatenate([everything, times])
        found = ring.window(now - window, now)
        np.testing.assert_array_equal(features[found.rows(window)], everything[max(0, now - window) :])
        assert np.concatenate([np.arange(window)[piece] for piece in found.slices(window)]).tolist() == [
            *found.rows(window)
        ]


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=8), st.integers(1, 12))
def test_no_two_inputs_that_are_encoded_together_share_a_row(calls: list[list[int]], capacity: int):
    """Whatever the order in which they are written, the ring holds what one input after the other leaves there."""
    together, alone, now = RingIndex(capacity), RingIndex(capacity), 0
    features, expected = np.zeros(capacity), np.zeros(capacity)
    for counts in calls:
        each = []
        for count in counts:
            each.append([float(now + 1 + i) for i in range(count)])
            now += count
        spans = together.push_each(each)
        for span, times_s in reversed(list(zip(spans, each, strict=True))):
            features[span.rows(capacity)] = times_s[len(times_s) - span.count :]
        for times_s in each:
            kept = alone.push(times_s)
            expected[kept.rows(capacity)] = times_s[len(times_s) - kept.count :]
        assert sum(span.count for span in spans) == min(sum(counts), capacity)
        found = together.window(-1.0, now)
        assert found == alone.window(-1.0, now)
        np.testing.assert_array_equal(features[found.rows(capacity)], expected[found.rows(capacity)])


def test_a_time_that_goes_back_counts_as_that_of_the_feature_before_it():
    ring = RingIndex(8)
    ring.push([1.0, 2.0])
    ring.push([1.5, 2.5])
    assert ring.window(1.0, 2.0) == Span(1, 2)
    assert ring.window(2.0, 9.0) == Span(3, 1)


def test_what_was_overwritten_is_known_by_its_newest_time():
    ring = RingIndex(2)
    assert ring.overwritten_s == -np.inf
    ring.push([1.0, 2.0])
    ring.push([3.0])
    assert ring.overwritten_s == 1.0
    ring.push([4.0, 5.0, 6.0])
    assert ring.overwritten_s == 4.0


def test_a_ring_forgets_all_but_what_it_is_told():
    ring = RingIndex(4)
    ring.push([1.0, 2.0])
    rows = ring.push([3.0])
    ring.keep_newest(1)
    assert ring.window(0.0, 9.0) == rows == Span(2, 1)
    assert ring.push([4.0, 5.0]) == Span(3, 2)
    assert ring.window(0.0, 9.0) == Span(2, 3)
    ring.keep_newest(0)
    assert ring.window(0.0, 9.0).count == 0
    assert ring.push([6.0]) == Span(1, 1)


@pytest.mark.parametrize(("most", "expected"), [(5, Span(3, 4)), (3, Span(4, 3)), (1, Span(1, 1)), (0, Span(2, 0))])
def test_the_newest_rows_of_a_span_go_round_the_end_of_the_ring(most: int, expected: Span):
    assert Span(3, 4).newest(most, 5) == expected
