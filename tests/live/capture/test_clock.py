"""Timestamps of any kind are placed on the clock of the session."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.live.capture.clock import JUMP_S, SessionClock, StreamClock


@given(
    start=st.floats(-1e6, 1e9),
    delays=st.lists(st.floats(0, 0.4), min_size=2, max_size=60),
    drift=st.floats(0.98, 1.02),
)
def test_a_stream_is_placed_in_the_past_and_near_its_arrival(start: float, delays: list[float], drift: float):
    clock, now_s = StreamClock(), 0.0
    for index, delay in enumerate(delays):
        sent_s = index * 0.2
        now_s = max(now_s, 5.0 + sent_s + delay)
        time_s = clock.place(start + sent_s * drift, now_s)
        assert time_s <= now_s + 1e-5
        assert now_s - time_s < 0.4 + 0.02 * sent_s + 1e-5


@pytest.mark.parametrize("jump_s", [-1000.0, -5.0, 5.0, 86_400.0])
def test_a_clock_that_jumps_is_followed_at_once(jump_s: float):
    clock = StreamClock()
    before = [clock.place(100 + i * 0.04, 1 + i * 0.04) for i in range(50)]
    after = [clock.place(102 + jump_s + i * 0.04, 3 + i * 0.04) for i in range(50)]
    assert before == pytest.approx([1 + i * 0.04 for i in range(50)])
    assert after == pytest.approx([3 + i * 0.04 for i in range(50)])


def test_a_clock_that_runs_fast_does_not_lead_into_the_past():
    clock = StreamClock()
    for index in range(0, 60_000, 40):  # a minute, two per cent fast
        now_s = index / 1e3
        time_s = clock.place(now_s * 1.02, now_s)
        assert abs(now_s - time_s) < 0.02 * 11 + 0.01


def test_what_comes_late_after_a_hang_lies_where_it_was_sent():
    clock = StreamClock()
    for index in range(25):
        clock.place(index * 0.04, 10 + index * 0.04)
    assert clock.place(1.0, 16.0) == pytest.approx(11.0)
    assert clock.lag_s == pytest.approx(5.0)
    assert JUMP_S >= 1


def test_times_of_the_wall_clock_are_placed_by_their_age(monkeypatch):
    import taemi_edge.live.capture.clock as module

    clock = SessionClock()
    monkeypatch.setattr(module.time, "time", lambda: 2e9)
    assert clock.of_unix(2e9 - 3) == pytest.approx(clock.now_s() - 3, abs=0.1)
