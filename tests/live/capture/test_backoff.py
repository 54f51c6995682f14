"""How long a failed connection waits."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.live.capture.backoff import Backoff


@given(seed=st.integers(0, 1000), first=st.floats(0.01, 1), cap=st.floats(0.01, 100))
def test_waits_grow_up_to_their_cap(seed: int, first: float, cap: float):
    backoff = Backoff(first, random.Random(seed))
    waits = [backoff.next_s(cap) for _ in range(12)]
    assert all(0 < wait <= 1.2 * cap for wait in waits)
    assert waits[-1] >= 0.8 * min(cap, first * 2**11)
    backoff.reset()
    assert backoff.next_s(cap) <= 1.2 * min(first, cap)
