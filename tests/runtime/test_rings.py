"""Rings of features: what they hold, and what they forget."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.runtime.rings import RingIndex


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(1, 30))
def test_a_ring_holds_what_a_list_would(counts: list[int], window: int):
    ring, features, everything = RingIndex(window), np.zeros(window), np.zeros(0)
    now = 0
    for count in counts:
        times = np.arange(now + 1, now + count + 1, dtype=np.float64)
        now += count
        rows = ring.push(times)
        assert len({*rows[rows >= 0]}) == min(count, window)
        features[rows[rows >= 0]] = times[rows >= 0]
        everything = np.concatenate([everything, times])
        np.testing.assert_array_equal(features[ring.window(now - window, now)], everything[max(0, now - window) :])


def test_a_ring_forgets_all_but_what_it_is_told():
    ring = RingIndex(4)
    ring.push(np.array([1.0, 2.0]))
    rows = ring.push(np.array([3.0]))
    ring.keep_only(rows)
    assert ring.window(0.0, 9.0).tolist() == rows.tolist()
